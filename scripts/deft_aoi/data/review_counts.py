"""How many rows of label_review.csv wait for a person: the one count that status, page and Summary show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SYSTEMATIC = "systematic"  # the verdict on a cause in the picture or the line, not in the label


@dataclass(frozen=True)
class ReviewCounts:
    """`rows` for a person to check, `judged` of them, and those noted as `systematic`: no question of labels."""

    rows: int
    judged: int
    systematic: int


def count_review(verdicts: Sequence[str]) -> ReviewCounts:
    systematic = sum(verdict == SYSTEMATIC for verdict in verdicts)
    return ReviewCounts(len(verdicts) - systematic, sum(map(bool, verdicts)) - systematic, systematic)
