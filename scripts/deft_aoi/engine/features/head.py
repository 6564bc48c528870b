"""The monotone head: logistic regression whose weights cannot be negative, so more difference never lowers a score.

It minimises the class-weighted cross-entropy plus a pull towards a prior head (the plain image differences, which need
no learning). The pull weakens with the number of rows: few rows stay near the classical method, many rows decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deft_aoi.engine.features.distances import feature_names

ANY_LIGHT = "any"
ITERATIONS_PER_EPOCH = 6
PRIOR_FEATURES = ("abs_box5.max", "tol1_box3.max")
_PRIOR_SUM = 10.0  # total prior weight on standardised numbers
_PRIOR_STRENGTH = 0.1  # pull towards the prior, in units of one balanced row
LINEAR = 6.0  # logits beyond this are compressed, so that float32 probabilities do not tie
TAIL = 2.0
_BLOCK = 4096  # rows that are in memory as float64 at a time

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """`score = sigmoid(weights . (log1p(x) - center) / scale + bias)`, weights >= 0, all float64 of one length."""

    lights: tuple[str, ...]
    center: Matrix
    scale: Matrix
    weights: Matrix
    bias: float

    def logits(self, values: npt.NDArray[np.float32]) -> Matrix:
        """(n,) from a table (n, lights, features)."""
        parts = [self._block(values[first : first + _BLOCK]) for first in range(0, len(values), _BLOCK)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _block(self, values: npt.NDArray[np.float32]) -> Matrix:
        # Row by row sums: a matrix product may add in another order for another number of rows.
        scaled = (columns(values) - self.center) / self.scale
        return np.asarray((scaled * self.weights).sum(1) + self.bias, np.float64)

    def scores(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """`siamese_score`, float32 in 0..1."""
        return probabilities(self.logits(values)).astype(np.float32)


def column_names(lights: Sequence[str]) -> list[str]:
    """Names of the head's inputs: each light's numbers, and their largest over the lights where there are several."""
    groups = [*lights, ANY_LIGHT] if len(lights) > 1 else list(lights)
    return [f"{group}:{name}" for group in groups for name in feature_names()]


def columns(values: npt.NDArray[np.float32]) -> Matrix:
    """(n, inputs) of log1p numbers, in the order of `column_names`."""
    table = np.log1p(np.maximum(values.astype(np.float64), 0))
    if table.shape[1] > 1:
        table = np.concatenate([table, table.max(1, keepdims=True)], 1)
    return np.asarray(table.reshape(len(table), -1))


def probabilities(logits: Matrix) -> Matrix:
    """Sigmoid with logarithmic tails: strictly rising, so strong scores keep their order in float32."""
    beyond = np.maximum(np.abs(logits) - LINEAR, 0)
    squeezed = np.sign(logits) * (np.minimum(np.abs(logits), LINEAR) + TAIL * np.log1p(beyond / TAIL))
    return np.asarray(1 / (1 + np.exp(-squeezed)))


def start_head(lights: Sequence[str], values: npt.NDArray[np.float32], defect: npt.NDArray[np.bool_]) -> Head:
    """The prior head on numbers standardised by these rows: each class counts half."""
    table = columns(values)
    share = row_weights(defect, (1.0, 1.0))
    center = np.median(table[~defect], axis=0)
    mean = share @ table
    scale = np.maximum(np.sqrt(share @ (table - mean) ** 2), 1e-3)
    return Head(tuple(lights), center, scale, prior_weights(lights), -_PRIOR_SUM)


def prior_weights(lights: Sequence[str]) -> Matrix:
    group = ANY_LIGHT if len(lights) > 1 else lights[0]
    chosen = {f"{group}:{name}" for name in PRIOR_FEATURES}
    named = np.array([name in chosen for name in column_names(lights)], np.float64)
    return np.asarray(named * _PRIOR_SUM / named.sum())


def carry_over(old: Head, new: Head) -> Head:
    """`old` written with the center and scale of `new`: the same function of the numbers."""
    weights = old.weights * new.scale / old.scale
    bias = old.bias + float(((new.center - old.center) / old.scale * old.weights).sum())
    return replace(new, weights=weights, bias=bias)


def row_weights(defect: npt.NDArray[np.bool_], cls_weight: tuple[float, float]) -> Matrix:
    """(n,), sum 1: classes balanced, then weighted by `cls_weight` (PASS, defect). One class alone gets everything."""
    counts = np.array([max(int((~defect).sum()), 1), max(int(defect.sum()), 1)], np.float64)
    each = np.asarray(cls_weight, np.float64) / counts
    weights = each[defect.astype(int)]
    return np.asarray(weights / weights.sum())


def cross_entropy(logits: Matrix, defect: npt.NDArray[np.bool_], weights: Matrix) -> float:
    """Weighted mean of -log p(label); `weights` sum to 1."""
    return float((weights * (np.logaddexp(0, logits) - defect * logits)).sum())


def fit(
    start: Head,
    values: npt.NDArray[np.float32],
    defect: npt.NDArray[np.bool_],
    *,
    epochs: int,
    cls_weight: tuple[float, float],
) -> list[Head]:
    """One head after each epoch (a fixed number of L-BFGS-B iterations); a converged fit repeats its last.

    Without randomness: the same rows in the same order give the same bytes.
    """
    from scipy.optimize import minimize  # takes a quarter of a second to import

    scaled = (columns(values) - start.center) / start.scale
    weights = row_weights(defect, cls_weight)
    target = defect.astype(np.float64)
    prior = prior_weights(start.lights)
    pull = _PRIOR_STRENGTH / len(defect)

    def loss(point: Matrix) -> tuple[float, Matrix]:
        logits = scaled @ point[:-1] + point[-1]
        offset = point[:-1] - prior
        slope = weights * (1 / (1 + np.exp(-np.clip(logits, -500, 500))) - target)
        value = cross_entropy(logits, defect, weights) + 0.5 * pull * float(offset @ offset)
        return value, np.append(slope @ scaled + pull * offset, slope.sum())

    path: list[Matrix] = []
    minimize(
        loss,
        np.append(start.weights, start.bias),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * len(prior) + [(None, None)],
        callback=lambda point: path.append(np.array(point)),
        options={"maxiter": epochs * ITERATIONS_PER_EPOCH, "ftol": 1e-9, "gtol": 1e-7},
    )
    path = path or [np.append(start.weights, start.bias)]
    snapshots = [path[min((epoch + 1) * ITERATIONS_PER_EPOCH, len(path)) - 1] for epoch in range(epochs)]
    return [replace(start, weights=np.maximum(p[:-1], 0), bias=float(p[-1])) for p in snapshots]
