"""Threshold sweep: confusion counts at every threshold that can change a decision, from one sort."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.errors import InputError

RECALL_TOLERANCE = 1e-12
Counts = NDArray[np.int64]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """Counts under the rule "NO_PASS when score > threshold", one entry per candidate threshold.

    Candidates ascend: one just below the smallest score, then every unique score. All arrays have the same length
    (unique scores + 1); tp + fn is the number of defects, fp + tn the number of PASS rows, both at least 1.
    """

    threshold: Reals
    tp: Counts
    fp: Counts
    tn: Counts
    fn: Counts

    @property
    def n_defect(self) -> int:
        return int(self.tp[0] + self.fn[0])

    @property
    def n_pass(self) -> int:
        return int(self.fp[0] + self.tn[0])

    @property
    def recall(self) -> Reals:
        return self.tp / self.n_defect

    @property
    def far(self) -> Reals:
        """False alarm rate FP / (FP + TN) as a fraction."""
        return self.fp / self.n_pass

    @property
    def precision(self) -> Reals:
        """TP / (TP + FP); 0 where nothing is called NO_PASS."""
        return self.tp / np.maximum(self.tp + self.fp, 1)

    @property
    def f1(self) -> Reals:
        return 2 * self.tp / np.maximum(2 * self.tp + self.fp + self.fn, 1)


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold and what it does on the swept set; rates are fractions."""

    threshold: float
    far: float
    recall: float
    precision: float
    f1: float
    tp: int
    fp: int
    tn: int
    fn: int


def sweep(defect: NDArray[np.bool_], score: Reals) -> Sweep:
    """Sweep `score` (shape (n,), finite) against `defect` (shape (n,), true for any label but PASS).

    Raises InputError for an empty set, for a NaN or infinite score (with its CSV line: the header is line 1) and
    where one class is absent.
    """
    defect = np.asarray(defect, dtype=bool)
    score = np.asarray(score, dtype=np.float64)
    _check(defect, score)
    unique, inverse = np.unique(score, return_inverse=True)
    defects_at = np.bincount(inverse[defect], minlength=unique.size)
    passes_at = np.bincount(inverse[~defect], minlength=unique.size)
    fn = np.concatenate([[0], np.cumsum(defects_at)]).astype(np.int64)
    tn = np.concatenate([[0], np.cumsum(passes_at)]).astype(np.int64)
    threshold = np.concatenate([[just_below(float(unique[0]))], unique])
    return Sweep(threshold, fn[-1] - fn, tn[-1] - tn, tn, fn)


def just_below(score: float) -> float:
    """A threshold that `score` exceeds in float32 too: TAO's scores and its eval_margin are float32."""
    with np.errstate(over="ignore"):
        below = float(np.nextafter(np.float32(score), np.float32(-np.inf)))
    return below if math.isfinite(below) and below < score else math.nextafter(score, -math.inf)


def operating_point(swept: Sweep, min_recall: float = 1.0) -> OperatingPoint:
    """The highest threshold whose recall is at least `min_recall` (a fraction): the lowest FAR at that recall.

    At recall 100 % this is the largest candidate below the lowest defect score.
    """
    return point_at(swept, int(np.flatnonzero(_keeps(swept, min_recall))[-1]))


def gap_point(swept: Sweep, min_recall: float = 1.0) -> OperatingPoint:
    """Gap analysis' choice among thresholds of enough recall: best F1, then precision, then threshold.

    Equal to :func:`operating_point` at recall 100 %; below that F1 may prefer a lower threshold.
    """
    kept = np.flatnonzero(_keeps(swept, min_recall))
    order = np.lexsort((swept.threshold[kept], swept.precision[kept], swept.f1[kept]))
    return point_at(swept, int(kept[order[-1]]))


def best_f1_point(swept: Sweep) -> OperatingPoint:
    """The threshold of the best F1 over all recalls; ties go to precision, then to the higher threshold."""
    order = np.lexsort((swept.threshold, swept.precision, swept.f1))
    return point_at(swept, int(order[-1]))


def point_at(swept: Sweep, index: int) -> OperatingPoint:
    """The candidate at `index` as plain numbers."""
    threshold, far, recall, precision, f1 = (
        float(column[index]) for column in (swept.threshold, swept.far, swept.recall, swept.precision, swept.f1)
    )
    tp, fp, tn, fn = (int(column[index]) for column in (swept.tp, swept.fp, swept.tn, swept.fn))
    return OperatingPoint(threshold, far, recall, precision, f1, tp, fp, tn, fn)


def at_threshold(swept: Sweep, threshold: float) -> OperatingPoint:
    """What any `threshold` does on the swept set: the counts of the largest candidate not above it."""
    index = max(int(np.searchsorted(swept.threshold, threshold, side="right")) - 1, 0)
    return dataclasses.replace(point_at(swept, index), threshold=threshold)


def far_at_recall(defect: NDArray[np.bool_], score: Reals, recall: float = 1.0) -> float:
    """Lowest false alarm rate (fraction) that keeps `recall` (fraction) of the defects."""
    return operating_point(sweep(defect, score), recall).far


def auroc(swept: Sweep) -> float:
    """Area under the ROC curve; a tie between a defect and a PASS counts half (Mann-Whitney)."""
    tp, fp = swept.tp, swept.fp
    doubled = int(((fp[:-1] - fp[1:]) * (tp[:-1] + tp[1:])).sum())
    return doubled / (2 * swept.n_defect * swept.n_pass)


def _keeps(swept: Sweep, min_recall: float) -> NDArray[np.bool_]:
    if not 0 < min_recall <= 1:
        raise InputError(f"recall {min_recall!r}: expected a fraction above 0 and at most 1, as 0.995 for 99.5 %")
    return np.asarray(swept.recall >= min_recall - RECALL_TOLERANCE)


def _check(defect: NDArray[np.bool_], score: Reals) -> None:
    if score.size == 0:
        raise InputError("no scored rows: FAR and recall need at least one PASS row and one defect")
    if defect.shape != score.shape:
        raise InputError(f"{defect.size} labels but {score.size} scores; expected one score per row")
    bad = ~np.isfinite(score)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"line {row + 2}: score {score[row]} is not a finite number ({int(bad.sum())} such rows); "
            "a row without a score would count as accepted. Run the inference again"
        )
    if not defect.any():
        raise InputError(
            f"all {score.size} rows are PASS: recall, FAR at recall, F1 and AUROC cannot be computed; "
            "add rows with a defect label"
        )
    if defect.all():
        raise InputError(
            f"all {score.size} rows are defects: FAR, precision and AUROC cannot be computed; add PASS rows"
        )
