"""Exact nearest pool rows by cosine, a block of the pool at a time.

The pool may be a memory-mapped float16 file: a block at a time is brought to float32, so memory stays bounded by the
block whatever the pool's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deft_aoi.mining.select import Neighbours

BLOCK = 16_384  # rows that are in memory as float32 at a time
_SCORED = 512  # targets that are compared with a block at a time

METRICS = ("cosine", "euclidean", "manhattan")  # the first two order rows of length 1 alike

Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Stored = npt.NDArray[np.floating]  # (n, d) float16 or float32, may be memory-mapped


@dataclass(frozen=True)
class Scale:
    """Mean and spread of the pool's vectors, taken out before vectors are compared.

    Pooled trunk features share a large common part: without this nearly every pair of crops has cosine 0.95.
    """

    mean: Matrix
    spread: Matrix

    def __call__(self, vectors: Matrix) -> Matrix:
        """Standardised rows of length 1."""
        centred = vectors - self.mean
        centred /= self.spread
        centred /= np.maximum(np.sqrt(np.einsum("nd,nd->n", centred, centred)), 1e-12)[:, None]
        return np.asarray(centred, np.float32)


def unit(vectors: Matrix) -> Matrix:
    """Rows scaled to length 1; zero rows stay zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def blocks(pool: Stored, rows: Rows | None = None) -> Iterator[tuple[Rows, Matrix]]:
    """(row numbers, float32 vectors) of a block at a time; `rows` in rising order, None: all."""
    count = len(pool) if rows is None else len(rows)
    for first in range(0, count, BLOCK):
        if rows is None:
            chosen = np.arange(first, min(first + BLOCK, count))
            yield chosen, np.asarray(pool[first : first + BLOCK], np.float32)
        else:
            chosen = rows[first : first + BLOCK]
            whole = chosen[-1] - chosen[0] + 1 == len(chosen)  # a slice is read in place, picked rows are copied first
            taken = pool[chosen[0] : chosen[-1] + 1] if whole else pool[chosen]
            yield chosen, np.asarray(taken, np.float32)


def scale_of(pool: Stored, rows: Rows | None = None) -> Scale:
    """Mean and standard deviation of each column, in one pass."""
    total, squares, count = np.zeros(pool.shape[1]), np.zeros(pool.shape[1]), 0
    for chosen, block in blocks(pool, rows):
        count += len(chosen)
        total += block.sum(0, dtype=np.float64)
        squares += np.einsum("nd,nd->d", block, block, dtype=np.float64)
    mean = total / max(count, 1)
    spread = np.sqrt(np.maximum(squares / max(count, 1) - mean * mean, 0)) + 1e-6
    return Scale(mean.astype(np.float32), spread.astype(np.float32))


def nearest(
    asked: Matrix, pool: Stored, depth: int, *, rows: Rows | None = None, scale: Scale | None = None,
    manhattan: bool = False,
) -> Neighbours:  # fmt: skip
    """Exact: up to `depth` rows of `pool` for each target, the largest inner product first. Of rows with an equal one,
    as copies have, it takes always the same, not those of the lowest row numbers.

    `asked` (t, d) and `pool` (n, d) have unit rows; with `scale` both are compared standardised, and so is the
    `similarity` that comes back. `manhattan`: the negative sum of absolute differences takes the product's place.
    Missing neighbours have index -1 and similarity -inf.
    """
    asked = np.ascontiguousarray(asked if scale is None else scale(asked), np.float32)
    best = _Best(len(asked), depth)
    for chosen, block in blocks(pool, rows):
        vectors = block if scale is None else scale(block)
        for first in range(0, len(asked), _SCORED):
            some = asked[first : first + _SCORED]
            near = _minus_manhattan(some, vectors) if manhattan else some @ vectors.T
            best.add(first, near, chosen)
    return best.sorted()


def _minus_manhattan(one: Matrix, other: Matrix) -> Matrix:
    from scipy.spatial.distance import cdist  # here: a third of a second, and few metrics need it

    return -cdist(one, other, "cityblock").astype(np.float32)


class _Best:
    """The best `depth` scores of every target so far."""

    def __init__(self, targets: int, depth: int) -> None:
        self.score = np.full((targets, depth), -np.inf, np.float32)
        self.index = np.full((targets, depth), -1, np.int64)
        self.floor = np.full(targets, -np.inf, np.float32)

    def add(self, first: int, scores: Matrix, rows: Rows) -> None:
        """`scores` (some targets from `first` on, len(rows))."""
        depth = self.score.shape[1]
        if scores.shape[1] > 4 * depth and np.isneginf(self.floor[first]):
            # Nothing to beat yet: the block's own best are enough.
            part = np.argpartition(scores, -depth, axis=1)[:, -depth:]
            self._merge(np.arange(len(scores)) + first, np.take_along_axis(scores, part, 1), rows[part])
            return
        target, column = np.nonzero(scores > self.floor[first : first + len(scores), None])
        if len(target) == 0:
            return
        found, count = np.unique(target, return_counts=True)
        place = np.arange(len(target)) - np.repeat(np.cumsum(count) - count, count)
        line = np.repeat(np.arange(len(found)), count)
        score = np.full((len(found), count.max()), -np.inf, np.float32)
        index = np.full(score.shape, -1, np.int64)
        score[line, place], index[line, place] = scores[target, column], rows[column]
        self._merge(found + first, score, index)

    def _merge(self, targets: Rows, score: Matrix, index: Rows) -> None:
        score = np.concatenate([self.score[targets], score], 1)
        index = np.concatenate([self.index[targets], index], 1)
        depth = self.score.shape[1]
        order = np.argsort(-score, axis=1, kind="stable")[:, :depth]
        self.score[targets] = np.take_along_axis(score, order, 1)
        self.index[targets] = np.take_along_axis(index, order, 1)
        self.floor[targets] = self.score[targets, -1]

    def sorted(self) -> Neighbours:
        return Neighbours(self.index, self.score)
