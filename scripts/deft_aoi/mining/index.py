"""Exact nearest neighbours within a label, by FAISS."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import faiss
import numpy as np

from deft_aoi.mining.embed import Matrix, standardise
from deft_aoi.mining.select import Neighbours


def same_label_neighbours(
    targets: Matrix,
    target_labels: Sequence[str],
    pool: Matrix,
    pool_labels: Sequence[str],
    used: Collection[int],
    depth: int,
) -> Neighbours:
    """Up to `depth` unused pool rows of the target's own label, nearest first.

    `targets` (t, d) and `pool` (n, d) have unit rows. Order comes from the standardised vectors, `similarity` is the
    plain cosine that the similarity floor is about. Missing neighbours have index -1 and similarity -1.
    """
    index = np.full((len(targets), depth), -1, np.int64)
    similarity = np.full((len(targets), depth), -1.0, np.float32)
    asked, stock = standardise(targets, pool), standardise(pool, pool)
    folded = np.array([label.casefold() for label in pool_labels])
    free = np.ones(len(pool), bool)
    free[list(used)] = False
    for label in dict.fromkeys(target_labels):
        mine = np.flatnonzero(np.array(target_labels) == label)
        rows = np.flatnonzero(free & (folded == label.casefold()))
        count = min(depth, len(rows))
        if count == 0:
            continue
        flat = faiss.IndexFlatIP(stock.shape[1])
        flat.add(stock[rows])
        _, found = flat.search(asked[mine], count)
        index[mine, :count] = rows[found]
        similarity[mine, :count] = np.einsum("td,tkd->tk", targets[mine], pool[rows[found]])
    return Neighbours(index, similarity)
