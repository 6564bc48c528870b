"""All rows of a line as points of a plane, and defects that nothing in training is like. Pure functions of vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deft_aoi.mining.index import Matrix, Stored, blocks, nearest, scale_of

_REFERENCE = 4000  # training rows, at most, that say how near neighbours usually are
QUANTILE = 0.99  # of the distance of a training defect to its nearest one of the same label


def plane(vectors: Stored) -> NDArray[np.float32]:
    """(n, 2) principal components of the standardised rows of `vectors` (n, d), scaled into -1..1.

    Deterministic: the sign of each axis is fixed by its largest loading. Reads a block at a time, so that the vectors
    may be a mapped file.
    """
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2), np.float32)
    scale = scale_of(vectors)
    inner = np.zeros((vectors.shape[1], vectors.shape[1]))
    total = np.zeros(vectors.shape[1])
    for _, block in blocks(vectors):
        unit = scale(block)
        inner += unit.T.astype(np.float64) @ unit
        total += unit.sum(0, dtype=np.float64)
    mean = total / len(vectors)
    _, axes = np.linalg.eigh(inner / len(vectors) - np.outer(mean, mean))
    axes = axes[:, ::-1][:, :2]
    axes *= np.sign(axes[np.abs(axes).argmax(0), range(axes.shape[1])])
    points = np.concatenate([(scale(block) - mean) @ axes for _, block in blocks(vectors)]).astype(np.float32)
    if points.shape[1] < 2:
        points = np.column_stack([points, np.zeros(len(points))]).astype(np.float32)
    reach = np.quantile(np.abs(points), 0.999, axis=0)  # a few far rows must not squeeze all others into a corner
    return np.asarray(np.clip(points / np.maximum(reach, 1e-9), -1.05, 1.05), np.float32)


def uncovered(
    asked: Matrix, asked_labels: Sequence[str], known: Stored, known_labels: Sequence[str]
) -> tuple[NDArray[np.bool_], NDArray[np.float32], float]:
    """(alone, similarity, limit): which of `asked` (k, d) have no row of their own label among `known` (n, d) as near
    as training defects usually are to each other; the similarity (cosine of standardised vectors, -1 where the label is
    absent) of the nearest one; and the limit, the 1 % quantile of that of known rows among themselves.
    """
    names, wanted = np.char.lower(np.array(known_labels, np.str_)), np.char.lower(np.array(asked_labels, np.str_))
    if not len(names):
        return np.ones(len(asked), bool), np.full(len(asked), -1.0, np.float32), -1.0
    scale = scale_of(known)
    best = np.full(len(asked), -1.0, np.float32)
    usual: list[NDArray[np.float32]] = []
    for label in np.unique(wanted):
        rows = np.flatnonzero(names == label)
        if not len(rows):
            continue
        mine = np.flatnonzero(wanted == label)
        best[mine] = nearest(asked[mine], known, 1, rows=rows, scale=scale).similarity[:, 0]
        some = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _REFERENCE)).astype(int))]
        if len(rows) > 1:  # the nearest is the row itself
            usual.append(
                nearest(np.asarray(known[some], np.float32), known, 2, rows=rows, scale=scale).similarity[:, 1]
            )
    limit = float(np.quantile(np.concatenate(usual), 1 - QUANTILE)) if usual else 0.0
    return best < limit, best, limit
