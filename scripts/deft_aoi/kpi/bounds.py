"""What counts prove about a rate: one-sided exact (Clopper-Pearson) bounds, bounds by board, and sample sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from deft_aoi.base.errors import InputError

CONFIDENCE = 0.95
ALIKE = 0.1  # intra-board correlation that is assumed until the rows themselves show a smaller one
_MOST_BOARDS = 1 << 40


def upper_bound(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """One-sided upper Clopper-Pearson bound of a rate (fraction): the (events + 1, trials - events) beta quantile.

    1.0 where every trial is an event or there is no trial.
    """
    _check(events, trials, confidence)
    if events == trials:
        return 1.0
    return _beta_quantile(events + 1, trials - events, confidence)


def lower_bound(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """One-sided lower Clopper-Pearson bound of a rate (fraction); 0.0 without an event."""
    _check(events, trials, confidence)
    if events == 0:
        return 0.0
    return _beta_quantile(events, trials - events + 1, 1 - confidence)


def _beta_quantile(a: float, b: float, probability: float) -> float:
    from scipy.special import betaincinv  # a fifth of a second to import, and most commands ask for no bound

    return float(betaincinv(a, b, probability))


def samples_needed(limit: float, failures: int = 0, confidence: float = CONFIDENCE) -> int:
    """Smallest number of independent trials at which `failures` events still prove a rate of at most `limit`
    (fraction). Raises InputError unless 0 < limit < 1."""
    _check_limit(limit)

    def proven(trials: int) -> bool:
        return upper_bound(failures, trials, confidence) <= limit

    found = smallest(proven, failures + 1)
    assert found is not None  # the bound falls to zero with the number of trials
    return found


def boards_needed(limit: float, alike: float = ALIKE, confidence: float = CONFIDENCE) -> int:
    """Boards without an event below which no number of rows proves a rate of at most `limit` (fraction), where parts of
    a board may be as much alike as `alike`: the limit of :meth:`Tally.upper` for boards of endless rows."""
    _check_limit(limit)
    if alike == 0:
        return 1
    hit = limit / (alike * (1 - limit) + limit)
    return math.ceil(math.log(1 - confidence) / math.log1p(-hit))


def smallest(holds: Callable[[int], bool], first: int, most: int = _MOST_BOARDS) -> int | None:
    """Smallest number from `first` on at which `holds`, if it stays so from there on; None where none below `most`."""
    low, high = first - 1, first
    while not holds(high):
        low, high = high, max(1, 2 * high)
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Tally:
    """Events among rows that come in boards, as sums over the boards: all that the bound needs.

    `boards` have such rows, `hit` of them an event; `rows2`, `events2` and `cross` are the sums of rows squared, events
    squared and rows times events of each board.
    """

    rows: int
    events: int
    boards: int
    hit: int
    rows2: int
    events2: int
    cross: int

    @classmethod
    def of(cls, rows: ArrayLike, events: ArrayLike) -> Tally:
        """From `rows` and `events` of each board, both (b,); boards without a row are left out."""
        n, x = np.asarray(rows, np.int64), np.asarray(events, np.int64)
        n, x = n[n > 0], x[n > 0]
        sums = (n.sum(), x.sum(), n.size, (x > 0).sum(), n @ n, x @ x, n @ x)
        return cls(*(int(value) for value in sums))

    @classmethod
    def independent(cls, rows: int, events: int) -> Tally:
        """Rows that have nothing in common: every row is its own board."""
        _check(events, rows, CONFIDENCE)
        return cls(rows, events, rows, events, rows, events, events)

    def __post_init__(self) -> None:
        _check(self.events, self.rows, CONFIDENCE)

    @property
    def rate(self) -> float:
        return self.events / self.rows

    @property
    def per_board(self) -> int:
        """Rows of a usual board."""
        return max(1, round(self.rows / self.boards))

    @cached_property
    def design_effect(self) -> float:
        """How many rows count as one, by which the number of rows is divided.

        The larger of what the boards show (their between-board variance against the binomial one, with the t factor of
        Korn and Graubard, 1998, for few boards) and what they could hide: an intra-board correlation of :data:`ALIKE`,
        or the upper 95 % limit of the variance ratio, with a degree of freedom for each board that has an event, where
        that is lower. Without an event the boards show nothing and ALIKE decides.
        """
        size = self.rows2 / self.rows  # rows of the board that a row is on, in the mean
        assumed = 1 + (size - 1) * ALIKE
        if self.boards < 2:
            return size
        rate, spread = self.rate, self.rate * (1 - self.rate)
        if spread == 0:
            return assumed
        between = self.events2 - 2 * rate * self.cross + rate * rate * self.rows2
        shown = self.boards / (self.boards - 1) * between / (self.rows * spread)
        freedom = max(self.hit - 1, 1)
        from scipy.special import chdtri, ndtri, stdtrit

        possible = shown * freedom / float(chdtri(freedom, CONFIDENCE))
        few = float(stdtrit(self.boards - 1, CONFIDENCE) / ndtri(CONFIDENCE)) ** 2
        return min(max(shown * few, min(assumed, possible), 1.0), size)

    def upper(self, confidence: float = CONFIDENCE) -> float:
        """One-sided upper bound of the rate (fraction): Clopper-Pearson with rows and events divided by the design
        effect.

        Where the assumed correlation decides, at least the bound of no event at all, which holds for any distribution
        between boards: a board of n rows has an event with a chance of at least n p / ((1 - p) d + n p), d its design
        effect (Cauchy-Schwarz on the number of events). Rows that are all independent give the exact bound.
        """
        if self.events == self.rows:
            return 1.0
        effect = self.design_effect
        rows, events = self.rows / effect, self.events / effect
        bound = _beta_quantile(events + 1, rows - events, confidence)
        size = self.rows2 / self.rows
        assumed = 1 + (size - 1) * ALIKE
        if effect < assumed:
            return bound
        hit = 1 - (1 - confidence) ** (size / self.rows)
        return max(bound, hit * effect / (size * (1 - hit) + hit * effect))

    def with_clean(self, boards: int, size: int) -> Tally:
        """This and further boards of `size` rows without an event."""
        more = boards * size
        return replace(self, rows=self.rows + more, boards=self.boards + boards, rows2=self.rows2 + more * size)


def clean(boards: int, size: int) -> Tally:
    """Boards of `size` rows without an event."""
    return Tally(boards * size, 0, boards, 0, boards * size * size, 0, 0)


def _check(events: int, trials: int, confidence: float) -> None:
    if not 0 <= events <= trials:
        raise InputError(f"{events} events in {trials} trials: expected 0 <= events <= trials")
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence!r}: expected a fraction between 0 and 1")


def _check_limit(limit: float) -> None:
    if not 0 < limit < 1:
        raise InputError(f"limit {limit!r}: expected a fraction between 0 and 1, as 0.001 for 0.1 %")
