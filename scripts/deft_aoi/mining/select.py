"""Which pool rows to take: one pure function a policy. All are deterministic and never take a used row."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deft_aoi.contracts import PASS

NO_TARGET = -1


@dataclass(frozen=True)
class Pick:
    """One pool row taken: its index, the target that asked for it, its rank among the target's neighbours."""

    row: int
    target: int
    rank: int
    similarity: float
    reason: str


@dataclass(frozen=True)
class Limits:
    """Bounds of one selection: rows in all, rows for each target, the similarity floor."""

    rows: int
    per_target: int
    min_similarity: float


@dataclass(frozen=True)
class Neighbours:
    """Nearest pool rows of each target, best first: `index` and `similarity`, both (targets, k)."""

    index: NDArray[np.int64]
    similarity: NDArray[np.float32]


def knn(
    target_labels: Sequence[str],
    pool_labels: Sequence[str],
    near: Neighbours,
    used: Collection[int],
    limits: Limits,
) -> list[Pick]:
    """Nearest unused rows of the same label, the weakest target first, refilled after every filter.

    PASS and the defects share the rows half and half, the defects equally among themselves; what one label cannot
    fill goes to the others. Targets must come weakest first within each label.
    """
    taken = set(used)
    queues = {label: _queue(label, target_labels, pool_labels, near, limits) for label in dict.fromkeys(target_labels)}
    picks: list[Pick] = []
    by_label: Counter[str] = Counter()
    by_target: Counter[int] = Counter()
    for share in (_quotas(list(queues), limits.rows), dict.fromkeys(queues, limits.rows)):
        for label, queue in queues.items():
            while queue and by_label[label] < share[label] and len(picks) < limits.rows:
                pick = queue.popleft()
                if pick.row not in taken and by_target[pick.target] < limits.per_target:
                    taken.add(pick.row)
                    picks.append(pick)
                    by_label[label] += 1
                    by_target[pick.target] += 1
    return picks


def random_rows(pool_size: int, used: Collection[int], limits: Limits, seed: int) -> list[Pick]:
    """Unused rows drawn uniformly: the yardstick that every policy must beat."""
    free = np.setdiff1d(np.arange(pool_size), np.fromiter(used, dtype=np.int64, count=len(used)))
    chosen = np.random.default_rng(seed).permutation(free)[: limits.rows]
    return [Pick(int(row), NO_TARGET, 0, 0.0, "random") for row in chosen]


def _quotas(labels: Sequence[str], rows: int) -> dict[str, int]:
    defects = [label for label in labels if label != PASS]
    if not defects or PASS not in labels:
        return {label: -(-rows // max(len(labels), 1)) for label in labels}
    quota = {label: -(-(rows // 2) // len(defects)) for label in defects}
    quota[PASS] = rows - rows // 2
    return quota


def _queue(
    label: str, target_labels: Sequence[str], pool_labels: Sequence[str], near: Neighbours, limits: Limits
) -> deque[Pick]:
    """Candidates of one label, rank by rank over its targets (every target's first neighbour before any second)."""
    targets = [number for number, name in enumerate(target_labels) if name == label]
    offers: list[list[Pick]] = []
    for target in targets:
        same = [
            (int(row), float(similarity))
            for row, similarity in zip(near.index[target], near.similarity[target], strict=True)
            if row >= 0 and similarity >= limits.min_similarity and pool_labels[row].casefold() == label.casefold()
        ]
        offers.append([Pick(row, target, rank, s, "nearest of the same label") for rank, (row, s) in enumerate(same, 1)])
    depth = max(map(len, offers), default=0)
    return deque(offer[rank] for rank in range(depth) for offer in offers if rank < len(offer))
