"""Which rows of a big pool a model scores: those that a glance calls hard, and rows by chance. Pure; deterministic.

Scoring a million rows with TAO takes hours, and a policy by score takes a few hundred of them. How far the coarse
picture of a part differs from that of its golden (`data/fingerprints.py` has both) costs nothing: the good
parts that a model calls falsely are nearly always among those that differ most, the defects that it misses among those
that differ least (benchmarks/results/shortlist.md). The rows by chance are there for what a glance cannot see, and
judge labels: rows that were chosen for looking hard must not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.rows import PASS
from deft_aoi.mining.select import UNLABELLED

SKIPPED, BY_GLANCE, BY_CHANCE = 0, 1, 2
_CHANCE = 0.2  # share of the rows that is drawn by chance, half of it defects
_OF_A_TYPE = 50  # rows of each defect type that chance gives, where there are as many
LEAST = 1000  # rows below which a shortlist is too short to judge labels by

Asked = NDArray[np.int8]


def shortlist(
    labels: NDArray[np.str_], free: NDArray[np.bool_], unlike: NDArray[np.float32], most: int, seed: int
) -> Asked:
    """(n,): how each row got on the list of at most `most` rows, or SKIPPED; rows that are not `free` are.

    `unlike` (n,): how far test and golden differ at a glance. Where the free rows are no more than `most`, or `most` is
    0, all of them are on it as if by chance. Defects get half, their types in equal parts, PASS and unlabelled rows the
    other half; what one cannot fill goes to the other.
    """
    asked = np.full(len(labels), SKIPPED, np.int8)
    rows = np.flatnonzero(free)
    if most == 0 or rows.size <= most:
        asked[rows] = BY_CHANCE
        return asked
    asked[_by_chance(labels, rows, round(_CHANCE * most / 2), seed)] = BY_CHANCE
    left = rows[asked[rows] == SKIPPED]
    defect = (labels[left] != PASS) & (labels[left] != UNLABELLED)
    defects, others = left[defect], left[~defect]
    hard_defects = defects[_in_turns(labels[defects], unlike[defects])]
    hard_others = others[np.argsort(-unlike[others], kind="stable")]
    room = max(most - int((asked == BY_CHANCE).sum()), 0)
    of_defects = min(len(hard_defects), max(room // 2, room - len(hard_others)))
    asked[hard_defects[:of_defects]] = BY_GLANCE
    asked[hard_others[: room - of_defects]] = BY_GLANCE
    return asked


def _by_chance(labels: NDArray[np.str_], rows: NDArray[np.int64], each: int, seed: int) -> NDArray[np.int64]:
    """As many of the defects as of the other rows, and some of each defect type."""
    order = np.random.default_rng(seed).permutation(rows)
    defect = (labels[order] != PASS) & (labels[order] != UNLABELLED)
    defects = order[defect]
    some = [defects[labels[defects] == name][:_OF_A_TYPE] for name in sorted(set(labels[defects].tolist()))]
    return np.unique(np.concatenate([order[~defect][:each], defects[:each], *some]))


def _in_turns(labels: NDArray[np.str_], unlike: NDArray[np.float32]) -> NDArray[np.int64]:
    """Order in which types take turns, each with what differs least from its golden first."""
    place = np.zeros(len(labels), np.int64)
    for name in set(labels.tolist()):
        mine = np.flatnonzero(labels == name)
        place[mine[np.argsort(unlike[mine], kind="stable")]] = np.arange(mine.size)
    return np.lexsort((labels, place))
