"""Keep rows with a suspected label error out of training: what a model gets most wrong is often what is labelled wrong.

A policy offers rows in blocks, the labels of each block are judged (`data.jury`), and so on until the selection holds
clean rows. Where that never happens, rows that were drawn by chance to judge fill the rest. Where nearly all defect
labels among those are suspect, the pool is at fault: what a policy wants of it are errors, so it is not asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.rows import PASS
from deft_aoi.data.jury import CLEAN
from deft_aoi.mining.select import Limits, Pick, Stock

_BLOCK = 4  # rows judged at a time, for each row that is wanted
MOST_ASKED = 20  # rows judged in all, for each row that is wanted
_HOPELESS = 0.95  # doubt from the score alone from which on a row is not looked at
FAULTY = 5 / 6  # share of suspect labels among the judges' defects above which the pool is not asked
_ENOUGH = 50  # judges labelled defect that can say so
Policy = Callable[[Stock, Limits], list[Pick]]


@dataclass(frozen=True)
class Screened:
    """What goes into training, and what a person should look at instead: picks whose label is suspect.

    `asked` rows were judged because they were offered, `suspect` of them are; `stopped`: asking ended before every
    class had its share, and judges filled the rest. `faulty` is the share of suspect defect labels among the judges,
    where it is so high that nothing was asked, else None.
    """

    picks: list[Pick]
    review: list[Pick]
    asked: int
    suspect: int
    stopped: bool
    faulty: float | None = None


class Offers:
    """What a policy wants of the pool, and what is known of its labels.

    `doubt` (n,) is the probability that a label is wrong, NaN where nobody has judged it: at first that of the judges,
    which were drawn by chance; the caller fills in the rest.
    `glance` (n,) is a first guess that needs no look at the row, or None.
    """

    def __init__(
        self, policy: Policy, stock: Stock, limits: Limits, doubt: NDArray[np.float64],
        glance: NDArray[np.float64] | None = None,
    ) -> None:  # fmt: skip
        self.policy, self.stock, self.limits, self.doubt = policy, stock, limits, doubt
        self.faulty = _faulty(stock, doubt)
        self.glance = np.zeros(len(stock)) if glance is None else glance
        self.hopeless = np.isnan(doubt) & (self.glance > _HOPELESS)
        self.wanted = policy(stock, limits)
        self.offered = np.zeros(len(stock), bool)

    def known_doubt(self) -> NDArray[np.float64]:
        """Doubt of every row: judged, else at a glance."""
        return np.where(np.isnan(self.doubt), self.glance, self.doubt)

    def clean(self) -> list[Pick]:
        """The selection among the offered rows that are known to be clean."""
        return self._choice(self.offered)

    def _choice(self, among: NDArray[np.bool_]) -> list[Pick]:
        free = self.stock.free & among & (self.doubt <= CLEAN)
        return self.policy(replace(self.stock, free=free), self.limits)

    def lacking(self) -> tuple[bool, bool]:
        """Whether the clean selection holds fewer (defects, PASS rows) than the policy wants."""
        wanted, held = self._classes(self.wanted), self._classes(self.clean())
        return held[0] < wanted[0], held[1] < wanted[1]

    def _classes(self, picks: list[Pick]) -> tuple[int, int]:
        good = sum(self.stock.labels[pick.row] == PASS for pick in picks)
        return len(picks) - good, good

    def widen(self) -> bool:
        """Let the policy offer another block of what is lacking; False where that is of no use."""
        left = MOST_ASKED * self.limits.rows - int(self.offered.sum())
        lacking = self.lacking()
        if self.faulty is not None or left <= 0 or not any(lacking):
            return False
        good = self.stock.labels == PASS
        of_use = (good & lacking[1]) | (~good & lacking[0])
        free = self.stock.free & ~self.offered & ~self.hopeless & of_use
        block = self.policy(
            replace(self.stock, free=free), replace(self.limits, rows=min(_BLOCK * self.limits.rows, left))
        )
        self.offered[[pick.row for pick in block]] = True
        return bool(block)

    def result(self) -> Screened:
        """The selection as it is now."""
        out = self.hopeless | (self.doubt > CLEAN)
        review = [pick for pick in self.wanted if out[pick.row]]
        suspect = int((self.offered & (self.doubt > CLEAN)).sum())
        stopped = any(self.lacking())
        picks = self._choice(~np.isnan(self.doubt)) if stopped else self.clean()
        return Screened(picks, review, int(self.offered.sum()), suspect, stopped, self.faulty)


def _faulty(stock: Stock, doubt: NDArray[np.float64]) -> float | None:
    """Share of suspect labels among the judges' defects, where it is above :data:`FAULTY`."""
    judges = doubt[~np.isnan(doubt) & (stock.labels != PASS)]
    if judges.size < _ENOUGH or (share := float((judges > 0.5).mean())) <= FAULTY:
        return None
    return share


def ask(offers: Offers) -> NDArray[np.int64]:
    """Offered rows to judge next, in rising order; empty where the selection is full, or asking on is of no use.

    The same doubts lead to the same questions, so a process that takes over asks nothing twice.
    """
    while True:
        unjudged = np.flatnonzero(offers.offered & np.isnan(offers.doubt))
        if unjudged.size or not offers.widen():
            return unjudged
