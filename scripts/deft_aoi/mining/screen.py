"""Keep rows with doubtful labels out of training: what a model gets most wrong is often what is labelled wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deft_aoi.mining.select import Limits, Pick, Stock

_MARGIN = 1.5
_EVEN = 0.5
Policy = Callable[[Stock, Limits], list[Pick]]


@dataclass(frozen=True)
class Screened:
    """What goes into training, and what a person should look at instead: picks whose label is in doubt."""

    picks: list[Pick]
    review: list[Pick]


def screened(policy: Policy, stock: Stock, limits: Limits, doubtful: NDArray[np.bool_]) -> Screened:
    """Picks of `policy` without the doubtful rows, refilled; `review` are those that it would have taken otherwise."""
    review = [pick for pick in policy(stock, limits) if doubtful[pick.row]]
    return Screened(policy(replace(stock, free=stock.free & ~doubtful), limits), review)


def too_doubtful(doubt: NDArray[np.floating], likely: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows to keep out of training: the most doubted ones, half as many again as confident learning calls errors.

    `doubt` (n,) is the probability that a label is wrong, NaN where nobody judged it; `likely` (n,) are the errors of
    confident learning. Where it finds none, none is kept out: the rows in doubt are then the hard ones, which the
    training needs most.
    """
    doubt = np.where(np.isnan(doubt), 0.0, doubt)
    count = min(math.ceil(_MARGIN * int(likely.sum())), int((doubt > _EVEN).sum()))
    out = np.zeros(len(doubt), bool)
    out[np.argsort(-doubt, kind="stable")[:count]] = True
    return out
