"""Resampling by board: components of one board are not independent, so whole boards are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deft_aoi.kpi.bounds import CONFIDENCE, upper_bound
from deft_aoi.kpi.scored import Groups

DRAWS = 2000
_CELLS = 4_000_000  # weights in memory at once
_DEEP = 64  # boards that can set the threshold: all of these are left out once in e^64 draws
Ints = NDArray[np.int64]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class BoardCounts:
    """Counts of each board (b,) at one threshold. `order` (k,) are the boards with the lowest defects, the lowest
    first; `called_at` (b, k) the PASS rows of a board that are called once board `order[k]` sets the threshold."""

    n_pass: Ints
    n_defect: Ints
    false_calls: Ints
    misses: Ints
    order: Ints
    called_at: Ints


def board_counts(boards: Groups, defect: NDArray[np.bool_], score: Reals, threshold: float) -> BoardCounts:
    """Count rows by board; `defect` and `score` have the shape (n,) of the groups."""
    size, code = len(boards.names), boards.code
    called = score > threshold

    def count(rows: NDArray[np.bool_]) -> Ints:
        return np.bincount(code[rows], minlength=size).astype(np.int64)

    lowest = np.full(size, np.inf)
    np.minimum.at(lowest, code[defect], score[defect])
    order = np.argsort(lowest, kind="stable")[:_DEEP]
    order = order[np.isfinite(lowest[order])]
    reached = np.searchsorted(lowest[order], score[~defect], side="right")
    cells = np.bincount(code[~defect] * (order.size + 1) + reached, minlength=size * (order.size + 1))
    called_at = np.cumsum(cells.reshape(size, -1)[:, ::-1], axis=1)[:, ::-1][:, 1:]
    return BoardCounts(
        count(~defect), count(defect), count(~defect & called), count(defect & ~called), order, called_at
    )


@dataclass(frozen=True)
class Resampled:
    """One figure for each draw (d,): FAR and escape rate at the fixed threshold, FAR at recall 100 % with the threshold
    chosen anew. Draws without a PASS row or a defect are left out."""

    far: Reals
    escape: Reals
    far_full: Reals


def resample(counts: BoardCounts, *, seed: int = 0, draws: int = DRAWS) -> Resampled:
    """Draw as many boards as there are, with replacement; the same seed draws the same boards."""
    parts = [_figures(counts, weights) for weights in _weights(counts.n_pass.size, seed, draws)]
    return Resampled(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _weights(boards: int, seed: int, draws: int) -> Iterator[Ints]:
    generator = np.random.default_rng(seed)
    share = np.full(boards, 1 / boards)
    step = max(1, min(draws, _CELLS // boards))
    for start in range(0, draws, step):
        yield generator.multinomial(boards, share, size=min(step, draws - start))


def _figures(counts: BoardCounts, weights: Ints) -> tuple[Reals, Reals, Reals]:
    n_pass, n_defect = weights @ counts.n_pass, weights @ counts.n_defect
    usable = (n_pass > 0) & (n_defect > 0)
    weights, n_pass, n_defect = weights[usable], n_pass[usable], n_defect[usable]
    setter = np.argmax(weights[:, counts.order] > 0, axis=1)
    called = (weights @ counts.called_at)[np.arange(setter.size), setter]
    return weights @ counts.false_calls / n_pass, weights @ counts.misses / n_defect, called / n_pass


def board_record(counts: BoardCounts, *, seed: int = 0, draws: int = DRAWS) -> dict[str, Any]:
    """JSON-ready bounds by board; rates are fractions.

    `far_upper` and `escape_upper` are one-sided 95 %: the larger of the bootstrap's and the exact bound, which alone
    speaks where nothing was decided wrongly. `far_full` is the span (5 to 95 %) of FAR at recall 100 % had other boards
    of the same kind been drawn.
    """
    found = resample(counts, seed=seed, draws=draws)
    calls, misses = int(counts.false_calls.sum()), int(counts.misses.sum())
    tail = 100 * CONFIDENCE
    span = np.percentile(found.far_full, [100 - tail, tail])
    return {
        "boards": int(counts.n_pass.size),
        "draws": int(found.far.size),
        "far_upper": max(float(np.percentile(found.far, tail)), upper_bound(calls, int(counts.n_pass.sum()))),
        "escape_upper": max(float(np.percentile(found.escape, tail)), upper_bound(misses, int(counts.n_defect.sum()))),
        "far_full": [float(span[0]), float(span[1])],
    }
