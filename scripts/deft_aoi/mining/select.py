"""Which pool rows to take: one pure function a policy. All are deterministic and never take a used row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
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
    streams = {
        label: _rounds(_offers(label, target_labels, pool_labels, near, limits), taken, limits.per_target)
        for label in dict.fromkeys(target_labels)
    }
    picks: list[Pick] = []
    counts: Counter[str] = Counter()
    for share in (_quotas(list(streams), limits.rows), dict.fromkeys(streams, limits.rows)):
        for label, stream in streams.items():
            while counts[label] < share[label] and len(picks) < limits.rows and (pick := next(stream, None)):
                taken.add(pick.row)
                picks.append(pick)
                counts[label] += 1
    return picks


def weakest(pool_labels: Sequence[str], rows: Sequence[int], scores: Sequence[float], limits: Limits) -> list[Pick]:
    """The rows that the current model gets most wrong: defects of the lowest score, PASS of the highest, half and half.

    `rows` are the unused pool rows and `scores` their `siamese_score`, in the same order. What one half cannot fill
    goes to the other. This is gap analysis' weakness applied to the pool, so no KPI row takes part.
    """
    scored = list(zip(rows, scores, strict=True))
    passes = sorted((pair for pair in scored if pool_labels[pair[0]] == PASS), key=lambda p: (-p[1], p[0]))
    defects = sorted((pair for pair in scored if pool_labels[pair[0]] != PASS), key=lambda p: (p[1], p[0]))
    share = max(limits.rows - limits.rows // 2, limits.rows - len(passes))
    taken = defects[:share]
    taken += passes[: limits.rows - len(taken)]
    kinds = ["a highest-scoring PASS" if pool_labels[row] == PASS else "a lowest-scoring defect" for row, _ in taken]
    return [
        Pick(row, NO_TARGET, rank, 0.0, f"{kind}, score {score:.4g}")
        for rank, (kind, (row, score)) in enumerate(zip(kinds, taken, strict=True), 1)
    ]


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


def _offers(
    label: str, target_labels: Sequence[str], pool_labels: Sequence[str], near: Neighbours, limits: Limits
) -> list[list[Pick]]:
    """For each target of one label its similar neighbours of that label, nearest first."""
    offers: list[list[Pick]] = []
    for target, name in enumerate(target_labels):
        if name == label:
            same = [
                (int(row), float(similarity))
                for row, similarity in zip(near.index[target], near.similarity[target], strict=True)
                if row >= 0 and similarity >= limits.min_similarity and pool_labels[row].casefold() == label.casefold()
            ]
            offers.append(
                [Pick(r, target, rank, s, "nearest of the same label") for rank, (r, s) in enumerate(same, 1)]
            )
    return offers


def _rounds(offers: Sequence[Sequence[Pick]], taken: set[int], rounds: int) -> Iterator[Pick]:
    """Every target's nearest free row, then every target's next one, `rounds` times; `taken` grows meanwhile."""
    streams = [iter(offer) for offer in offers]
    for _ in range(rounds):
        for stream in streams:
            pick = next((offer for offer in stream if offer.row not in taken), None)
            if pick is not None:
                yield pick
