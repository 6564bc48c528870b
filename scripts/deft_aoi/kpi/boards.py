"""Counts by board: components of one board are not independent, so bounds and comparisons go by whole boards."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deft_aoi.kpi.bounds import Tally
from deft_aoi.kpi.scored import Groups

DRAWS = 2000
_CELLS = 4_000_000  # of the matrix of draws
_DEEP = 64  # boards that can set the threshold: a half without any of them comes once in 2^64 draws
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


def halves(boards: int, seed: int = 0) -> NDArray[np.int8]:
    """(draws, boards): 1 for each board of a random half. The same seed draws the same halves; there are
    :data:`DRAWS` of them, fewer with thousands of boards.

    Halves drawn without replacement vary as samples of all boards do (for a mean, exactly). Unlike draws with
    replacement they leave the board with the lowest defect out every second time, so that the spread of FAR at recall
    100 %, which that one defect decides, is not too small.
    """
    draws = min(DRAWS, max(DRAWS // 10, _CELLS // boards))
    generator = np.random.default_rng(seed)
    order = generator.permuted(np.tile(np.arange(boards), (draws, 1)), axis=1)
    return np.asarray(order < boards // 2, np.int8)


@dataclass(frozen=True)
class Resampled:
    """One figure for each draw (d,): FAR at the fixed threshold, and FAR at recall 100 % with a threshold that the
    resampled boards set. NaN where a draw has no PASS row or no defect."""

    far: Reals
    far_full: Reals


def resample(counts: BoardCounts, drawn: NDArray[np.integer[Any]]) -> Resampled:
    """Figures of the boards that `drawn` (d, b) counts."""
    n_pass, n_defect = drawn @ counts.n_pass, drawn @ counts.n_defect
    setter = np.argmax(drawn[:, counts.order] > 0, axis=1)
    called = (drawn @ counts.called_at)[np.arange(setter.size), setter]
    with np.errstate(invalid="ignore", divide="ignore"):
        far, full = drawn @ counts.false_calls / n_pass, called / n_pass
    usable = (n_pass > 0) & (n_defect > 0)
    return Resampled(np.where(usable, far, np.nan), np.where(usable, full, np.nan))


def tallies(counts: BoardCounts) -> dict[str, Tally]:
    """What the boards say of the false alarm rate (`far`) and of the escape rate (`escape`)."""
    return {
        "far": Tally.of(counts.n_pass, counts.false_calls),
        "escape": Tally.of(counts.n_defect, counts.misses),
    }


def board_record(counts: BoardCounts) -> dict[str, Any]:
    """JSON-ready bounds by board; rates are fractions, bounds one-sided 95 % (:meth:`Tally.upper`).

    `tallies` hold the sums by board from which the bounds are computed again.
    """
    found = tallies(counts)
    return {
        "boards": int(counts.n_pass.size),
        "far_upper": found["far"].upper(),
        "escape_upper": found["escape"].upper(),
        "design_effect": {name: tally.design_effect for name, tally in found.items()},
        "tallies": {name: asdict(tally) for name, tally in found.items()},
    }
