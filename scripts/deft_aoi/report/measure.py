"""What the page draws from one inference CSV: operating points, histograms, FAR against recall, slider positions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyarrow import ArrowInvalid

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import PASS, SCORE, read_columns
from deft_aoi.kpi.bounds import lower_bound, upper_bound
from deft_aoi.kpi.sweep import RECALL_TOLERANCE, Sweep, at_threshold, auroc, operating_point, sweep

SOFT_RECALL = 0.995
CURVE_POINTS = 400
KNOTS = 2000
NEAR = 150
_LOGIT_EDGE = 1e-6
_NEAR_END = 0.03


@dataclass(frozen=True)
class Scored:
    """Labels and scores of one inference CSV (both of shape (n,)) and their sweep."""

    label: NDArray[np.str_]
    score: NDArray[np.float64]
    swept: Sweep

    @cached_property
    def passes(self) -> NDArray[np.float64]:
        """Scores of the PASS rows, the lowest first."""
        return np.sort(self.score[self.label == PASS])


@dataclass(frozen=True)
class Axis:
    """A score axis: `linear`, or `logit` for probabilities that crowd at 0 and 1. `low` and `high` are its ends."""

    kind: str
    low: float
    high: float

    def place(self, score: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Position of scores in 0..1 along the axis (clipped)."""
        low, high = self._bend(self.low), self._bend(self.high)
        return np.clip((self._bend(score) - low) / (high - low), 0.0, 1.0)

    def _bend(self, score: NDArray[np.float64] | float) -> NDArray[np.float64]:
        values = np.asarray(score, dtype=np.float64)
        if self.kind == "linear":
            return values
        inside = np.clip(values, self.low, self.high)
        return np.log(inside / (1 - inside))


@dataclass(frozen=True)
class Ridge:
    """Histogram of one label over equal steps of the axis, rows decided rightly and wrongly apart."""

    label: str
    right: tuple[int, ...]
    wrong: tuple[int, ...]


def load_scores(csv: Path) -> Scored:
    """Read labels and scores, and nothing else, of an inference CSV.

    Raises InputError where a column is absent or a score is no finite number.
    """
    try:
        table = read_columns(csv, ["label", SCORE], numbers=[SCORE])
    except (ArrowInvalid, KeyError) as error:
        raise InputError(f"{csv}: not an inference CSV with label and {SCORE} ({error})") from error
    score = table[SCORE].to_numpy().astype(np.float64)
    label = table["label"].to_numpy(zero_copy_only=False).astype(str)
    return Scored(label, score, sweep(label != PASS, score))


def figures(scored: Scored, recall: float, threshold: float | None = None) -> dict[str, Any]:
    """KPI figures (rates in percent) at the recorded `threshold`, or at the best one for `recall` (a fraction)."""
    swept = scored.swept
    point = operating_point(swept, recall) if threshold is None else at_threshold(swept, threshold)
    return {
        "far_pct": 100 * point.far,
        "far_lower_pct": 100 * lower_bound(point.fp, swept.n_pass),
        "far_upper_pct": 100 * upper_bound(point.fp, swept.n_pass),
        "far_995_pct": 100 * operating_point(swept, SOFT_RECALL).far,
        "auroc": auroc(swept),
        "threshold": point.threshold,
        "false_calls": point.fp,
        "escapes": point.fn,
        "n_pass": swept.n_pass,
        "n_defect": swept.n_defect,
    }


def steps(scored: Scored, threshold: float, score: float) -> int:
    """Distance of a score to the threshold in good parts: how many PASS rows score between the two, negative below."""
    at, cut = np.searchsorted(scored.passes, [score, threshold], side="right")
    return int(at - cut)


def near_threshold(csv: Path, scored: Scored, threshold: float) -> list[dict[str, Any]]:
    """The `NEAR` rows on either side of the threshold by rank: name, label, board and score, the lowest first."""
    ranked = np.argsort(scored.score, kind="stable")
    middle = int(np.searchsorted(scored.score[ranked], threshold, side="right"))
    rows = ranked[max(0, middle - NEAR) : middle + NEAR]
    wanted = ["object_name", "boardname"]
    table = read_columns(csv, wanted, absent=True).take(rows)
    names, boards = (table[name].to_pylist() for name in wanted)
    return [
        {"name": name, "label": str(scored.label[row]), "board": board or "", "score": float(scored.score[row])}
        for row, name, board in zip(rows, names, boards, strict=True)
    ]


def confusion(scored: Scored, threshold: float) -> list[dict[str, Any]]:
    """Per label, PASS first: rows, called PASS, called NO_PASS."""
    called = scored.score > threshold
    rows = []
    for name in ordered_labels(scored):
        mine = scored.label == name
        rows.append({
            "label": name, "rows": int(mine.sum()), "called_pass": int((mine & ~called).sum()),
            "called_no_pass": int((mine & called).sum()),
        })  # fmt: skip
    return rows


def ordered_labels(scored: Scored) -> list[str]:
    """PASS, then the defects, the one with the lowest score first: it is the one that holds the threshold down."""
    lowest = {str(name): scored.score[scored.label == name].min() for name in np.unique(scored.label)}
    return sorted(lowest, key=lambda name: (name != PASS, lowest[name], name))


def score_axis(scored: Scored, threshold: float) -> Axis:
    """Linear, unless all scores are probabilities and most of them, or the threshold, crowd at the ends."""
    low, high = float(scored.score.min()), float(scored.score.max())
    crowded = float(np.mean((scored.score < _NEAR_END) | (scored.score > 1 - _NEAR_END)))
    if low >= 0 and high <= 1 and (crowded > 0.5 or not 0.12 <= threshold <= 0.88):
        return Axis("logit", min(max(low, _LOGIT_EDGE), 0.1), max(min(high, 1 - _LOGIT_EDGE), 0.9))
    pad = (high - low) * 0.01 or 0.5
    return Axis("linear", low - pad, high + pad)


def ridges(scored: Scored, axis: Axis, threshold: float, bins: int = 72, limit: int = 12) -> list[Ridge]:
    """Histograms by label; the defects beyond `limit` rows, those with the highest scores, become one row."""
    names = ordered_labels(scored)
    groups = [(name, scored.label == name) for name in names[:limit]]
    if len(names) > limit:
        groups.append((f"{len(names) - limit} other labels", np.isin(scored.label, names[limit:])))
    cell = np.minimum((axis.place(scored.score) * bins).astype(int), bins - 1)
    result = []
    for name, mine in groups:
        bad = mine & ((scored.score > threshold) == (name == PASS))
        right, wrong = (np.bincount(cell[some], minlength=bins).tolist() for some in (mine & ~bad, bad))
        result.append(Ridge(name, tuple(right), tuple(wrong)))
    return result


def far_against_recall(swept: Sweep, lowest: float = 0.9) -> list[tuple[float, float]]:
    """(recall, FAR) as fractions, recall falling from 1: the lowest FAR at each reachable recall."""
    last = np.flatnonzero(np.diff(swept.fn, append=swept.fn[-1] + 1))
    keep = last[swept.recall[last] >= lowest - RECALL_TOLERANCE]
    if keep.size > CURVE_POINTS:
        keep = keep[np.unique(np.linspace(0, keep.size - 1, CURVE_POINTS).astype(int))]
    return [(float(swept.recall[i]), float(swept.far[i])) for i in keep]


def slider(scored: Scored, threshold: float, recall: float) -> dict[str, Any]:
    """Thresholds and, for each label, how many rows are at or below each: exact counts at every position.

    All candidate thresholds up to `KNOTS`; of longer lists all those next to a defect (thinned too where they are
    many), the marked ones and an even share of the rest, so that the size does not grow with the number of rows.
    """
    swept = scored.swept
    marked = {
        "chosen": int(np.searchsorted(swept.threshold, threshold, side="right")) - 1,
        "full": _index_at(swept, recall),
        "soft": _index_at(swept, SOFT_RECALL),
    }
    index = np.arange(swept.threshold.size)
    if index.size > KNOTS:
        edges = np.flatnonzero(np.diff(swept.fn)) + 1
        edges = np.unique(np.concatenate([edges, edges - 1]))
        index = np.unique(np.concatenate([_thinned(edges), _thinned(index), np.array(list(marked.values()))]))
    at = swept.threshold[index]
    labels = []
    for name in ordered_labels(scored):
        below = np.searchsorted(np.sort(scored.score[scored.label == name]), at, side="right")
        labels.append(
            {"name": name, "n": int((scored.label == name).sum()), "steps": np.diff(below, prepend=0).tolist()}
        )
    position = {name: int(np.searchsorted(index, max(i, 0))) for name, i in marked.items()}
    return {"thresholds": at.tolist(), "labels": labels, "marks": position, "exact": bool(index.size == swept.fn.size)}


def _thinned(index: NDArray[np.intp]) -> NDArray[np.intp]:
    half = KNOTS // 2
    return index if index.size <= half else index[np.linspace(0, index.size - 1, half).astype(int)]


def _index_at(swept: Sweep, recall: float) -> int:
    return int(np.flatnonzero(swept.recall >= recall - RECALL_TOLERANCE)[-1])


def axis_ticks(axis: Axis) -> list[float]:
    """Round scores to write along the axis."""
    if axis.kind == "logit":
        marks = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
        return [mark for mark in marks if axis.low <= mark <= axis.high]
    span = axis.high - axis.low
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= 6)
    first = math.ceil(axis.low / step)
    return [round(k * step, 12) for k in range(first, math.floor(axis.high / step) + 1)]
