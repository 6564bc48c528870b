"""Heads of the features engine that part_types.py compares: what a head may know of the row's part type, and others.

A part type of n PASS rows weighs n against `k` pseudo-rows of the whole. A type that training never saw has the values
of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from deft_aoi.engine.features import head
from selection import Data, Rows, Scores

Flags = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.float64]
CONTRASTS = ((0, 1), (1, 2), (2, 3), (3, 4))  # pools whose difference counts: large in one place, small elsewhere


@dataclass(frozen=True)
class Arm:
    """`center`, `scale`, `quantile`, `top`: pseudo-rows k; `intercept`: its pull, in units of one balanced row."""

    center: float | None = None  # median of the type's PASS rows
    scale: float | None = None  # spread of the type's PASS rows, as a factor on the scale of the whole
    quantile: float | None = None  # the type's PASS distribution moved onto that of the whole
    top: float | None = None  # the type's largest PASS logit moved onto that of the whole
    intercept: float | None = None  # one number a type, fitted with the weights
    heads: int = 1  # mean of heads on resampled rows
    free: bool = False  # weights may be negative
    contrast: bool = False  # more inputs: differences between the pools of one map


ARMS = {
    "same loss": Arm(),  # as shipped; sums in another order
    "centre k 5": Arm(center=5), "centre k 20": Arm(center=20), "centre k 80": Arm(center=80),
    "scale k 5": Arm(scale=5), "scale k 40": Arm(scale=40), "scale k 80": Arm(scale=80),
    "centre and scale k 5": Arm(center=5, scale=5), "centre and scale k 20": Arm(center=20, scale=20),
    "quantiles k 20": Arm(quantile=20), "top of PASS k 20": Arm(top=20),
    "intercept": Arm(intercept=0.03), "intercept pull 0.1": Arm(intercept=0.1),
    "intercept and scale k 40": Arm(intercept=0.03, scale=40), "ten heads": Arm(heads=10),
    "any sign": Arm(free=True), "contrasts": Arm(contrast=True),
}  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """`score = weights . (moved - center) / scale + bias`; `types` holds what a part type has of its own."""

    center: Matrix
    scale: Matrix
    weights: Matrix
    bias: float
    good: Matrix  # PASS rows of the training, sorted by column
    types: dict[str, tuple[Matrix, Matrix, Matrix]]  # center, scale, sorted PASS rows
    offsets: dict[str, float] = field(default_factory=dict)


class Heads:
    """An arm on stored feature tables."""

    def __init__(self, data: Data, kinds: npt.NDArray[np.str_], arm: Arm) -> None:
        self.arm, self.kinds, self.table = arm, kinds, head.columns(np.asarray(data.features))
        self.prior = head.prior_weights([f"l{number}" for number in range(data.lights)])
        if arm.contrast:
            pools = self.table.reshape(len(self.table), -1, 5)
            more = np.concatenate([pools[..., one] - pools[..., other] for one, other in CONTRASTS], 1)
            self.table = np.concatenate([self.table, more], 1)
            self.prior = np.concatenate([self.prior, np.zeros(more.shape[1])])

    def fit(self, rows: Rows, defect: Flags, seed: int, start: list[Fitted] | None) -> list[Fitted]:
        if self.arm.heads == 1:
            return [self._fit(rows, defect, start[0] if start else None)]
        rng, found = np.random.default_rng([seed, 9]), []
        for number in range(self.arm.heads):
            drawn = np.concatenate([rng.choice(part, len(part)) for part in map(np.flatnonzero, (defect, ~defect))])
            found.append(self._fit(rows[drawn], defect[drawn], start[number] if start else None))
        return found

    def logits(self, model: list[Fitted], rows: Rows) -> Scores:
        return np.asarray(np.mean([self._logits(one, rows) for one in model], axis=0))

    def _logits(self, model: Fitted, rows: Rows) -> Matrix:
        own = np.array([model.offsets.get(kind, 0.0) for kind in self.kinds[rows]])
        return np.asarray((self._scaled(model, rows) * model.weights).sum(1) + model.bias + own)

    def _scaled(self, model: Fitted, rows: Rows) -> Matrix:
        table = self.table[rows]
        scaled = (table - model.center) / model.scale
        for kind, (center, scale, good) in model.types.items():
            own = self.kinds[rows] == kind
            moved = table[own]
            if self.arm.quantile is not None and own.any():
                share = len(good) / (len(good) + self.arm.quantile)
                moved = moved + share * (onto(moved, good, model.good) - moved)
            scaled[own] = (moved - center) / scale
        return np.asarray(scaled)

    def _begin(self, rows: Rows, defect: Flags) -> Fitted:
        """Center and scale as `head.start_head` has them, and each type's, shrunk to these."""
        table, kinds = self.table[rows], self.kinds[rows][~defect]
        share, good = head.row_weights(defect, (1.0, 1.0)), table[~defect]
        center, mean, spread = np.median(good, axis=0), share @ table, np.maximum(good.std(0), 1e-3)
        scale = np.maximum(np.sqrt(share @ (table - mean) ** 2), 1e-3)
        types = {}
        for kind in np.unique(kinds) if (self.arm.center, self.arm.scale, self.arm.quantile) != (None,) * 3 else ():
            own, middle, wide = good[kinds == kind], center, scale
            count = len(own)
            if (k := self.arm.center) is not None:
                middle = (count * np.median(own, axis=0) + k * center) / (count + k)
            if (k := self.arm.scale) is not None:
                wide = np.maximum(scale * np.sqrt((count * own.var(0) + k * spread**2) / (count + k)) / spread, 1e-3)
            types[str(kind)] = middle, wide, np.sort(own, axis=0)
        return Fitted(center, scale, self.prior, -10.0, np.sort(good, axis=0), types)

    def _fit(self, rows: Rows, defect: Flags, start: Fitted | None) -> Fitted:
        """`head.fit` with ten epochs, and an intercept for each part type where the arm has one."""
        begun = self._begin(rows, defect)
        if start is not None:
            bias = start.bias + float(((begun.center - start.center) / start.scale * start.weights).sum())
            begun = replace(begun, weights=start.weights * begun.scale / start.scale, bias=bias)
        kinds = np.unique(self.kinds[rows]) if self.arm.intercept is not None else np.empty(0, str)
        kinds = kinds if len(kinds) > 1 else kinds[:0]  # one type alone has the bias
        scaled = np.concatenate([self._scaled(begun, rows), self.kinds[rows][:, None] == kinds], 1)
        weights, size, extra = head.row_weights(defect, (1.0, 10.0)), len(self.prior), len(kinds)
        aim = np.concatenate([self.prior, np.zeros(extra)])
        pull = np.repeat([0.1, self.arm.intercept or 0.0], [size, extra]) / len(defect)

        def loss(point: Matrix) -> tuple[float, Matrix]:
            logits, apart = scaled @ point[:-1] + point[-1], point[:-1] - aim
            slope = weights * (1 / (1 + np.exp(-np.clip(logits, -500, 500))) - defect)
            value = head.cross_entropy(logits, defect, weights) + 0.5 * float(pull @ apart**2)
            return value, np.append(slope @ scaled + pull * apart, slope.sum())

        at = np.concatenate([begun.weights, np.zeros(extra), [begun.bias]])
        bounds = [(None if self.arm.free else 0, None)] * size + [(None, None)] * (extra + 1)
        options = {"maxiter": 10 * head.ITERATIONS_PER_EPOCH, "ftol": 1e-9, "gtol": 1e-7}
        found = minimize(loss, at, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
        offsets = dict(zip(kinds.tolist(), found[size:-1].tolist(), strict=True))
        done = replace(begun, weights=found[:size], bias=float(found[-1]), offsets=offsets)
        if (k := self.arm.top) is None:
            return done
        good, kinds = self._logits(done, rows[~defect]), self.kinds[rows[~defect]]
        tops = {str(kind): (int((kinds == kind).sum()), float(good[kinds == kind].max())) for kind in np.unique(kinds)}
        return replace(done, offsets={kind: n / (n + k) * (good.max() - top) for kind, (n, top) in tops.items()})


def onto(table: Matrix, good: Matrix, whole: Matrix) -> Matrix:
    """Each column's values at the same quantile of `whole` as they have in `good` (both sorted); beyond, as far out."""
    places, wide = np.linspace(0, 1, len(good)), np.linspace(0, 1, len(whole))
    moved = np.empty_like(table)
    for column in range(table.shape[1]):
        share = np.interp(table[:, column], good[:, column], places)
        moved[:, column] = np.interp(share, wide, whole[:, column])
    return np.asarray(moved + np.maximum(table - good[-1], 0) + np.minimum(table - good[0], 0))
