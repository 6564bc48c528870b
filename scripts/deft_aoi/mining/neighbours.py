"""Nearest pool rows of weak samples: exact up to a million rows, through an index file on disk beyond."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deft_aoi.mining.big_index import open_big
from deft_aoi.mining.index import METRICS, Matrix, Rows, Stored, nearest, scale_of
from deft_aoi.mining.select import Neighbours

EXACT_ROWS = 1_000_000


def cosines(asked: Matrix, pool: Stored, index: Rows) -> Matrix:
    """(t, k): plain cosine of every target to its neighbours; -1 where there is none."""
    found = np.full(index.shape, -1.0, np.float32)
    for target, row in enumerate(index):
        there = row >= 0
        found[target, there] = np.asarray(pool[row[there]], np.float32) @ asked[target]
    return found


def neighbours(
    asked: Matrix, asked_labels: Sequence[str], pool: Stored, pool_labels: npt.NDArray[np.str_],
    free: npt.NDArray[np.bool_], depth: int, *, same_label: bool, folder: Path | None = None,
    metric: str = METRICS[0],
) -> Neighbours:  # fmt: skip
    """Up to `depth` free pool rows for each target, nearest first; of its own label (without case) if `same_label`.

    Order comes from the standardised vectors, `similarity` is the plain cosine that the similarity floor is about.
    `metric`: one of METRICS. Exact; with `folder`, a pool of more than a million rows is searched through an index
    file there.
    """
    find = _finder(pool, folder, metric)
    index = np.full((len(asked), depth), -1, np.int64)
    folded, wanted = np.char.lower(pool_labels), np.char.lower(np.array(asked_labels, np.str_))
    for label in np.unique(wanted) if same_label else ("",):
        mine = np.flatnonzero(wanted == label) if same_label else np.arange(len(asked))
        rows = np.flatnonzero(free & (folded == label)) if same_label else np.flatnonzero(free)
        if len(rows) and len(mine):
            index[mine] = find(asked[mine], depth, rows).index
    return Neighbours(index, cosines(asked, pool, index))


def _finder(pool: Stored, folder: Path | None, metric: str) -> Callable[[Matrix, int, Rows], Neighbours]:
    manhattan = metric == "manhattan"
    if folder is not None and len(pool) > EXACT_ROWS and not manhattan:
        return open_big(pool, folder).nearest
    scale = scale_of(pool)
    return lambda asked, depth, rows: nearest(asked, pool, depth, rows=rows, scale=scale, manhattan=manhattan)
