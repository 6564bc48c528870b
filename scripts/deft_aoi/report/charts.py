"""The charts of the page as static SVG, each drawn for a wide and for a narrow screen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from deft_aoi.base.rows import PASS
from deft_aoi.record.order import ANOMALYGEN, DATA_MINING, EVALUATE, TRAIN
from deft_aoi.report import words
from deft_aoi.report.measure import Axis, Ridge, axis_ticks
from deft_aoi.report.svg import Canvas, number

WHOLE, HALF, NARROW = 1060, 540, 360  # drawn at the size at which they are shown, so that all letters are alike
_RATE_TICKS = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 50, 75, 100)
STAGE_KINDS = {TRAIN: "heavy", EVALUATE: "judge", DATA_MINING: "mine", ANOMALYGEN: "make"}


def responsive(draw: Callable[[int], Markup], wide: int) -> Markup:
    """A chart for wide and for narrow screens; the style sheet shows the one that fits."""
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(draw(wide), draw(NARROW))


@dataclass(frozen=True)
class RateScale:
    """A vertical axis for rates in percent; square-root spaced where the values span too much to be read linearly."""

    top: float
    curved: bool
    y_top: float
    y_bottom: float

    @classmethod
    def over(cls, values: Sequence[float], y_top: float, y_bottom: float) -> RateScale:
        top = max([*values, 0.5]) * 1.08
        small = min((value for value in values if value > 0), default=top)
        return cls(min(top, 100.0) if max(values, default=0) <= 100 else top, top / small > 12, y_top, y_bottom)

    def y(self, rate: float) -> float:
        part = max(rate, 0.0) / self.top
        return self.y_bottom - (math.sqrt(part) if self.curved else part) * (self.y_bottom - self.y_top)

    def ticks(self) -> list[float]:
        """Round rates at least 24 units apart, zero always."""
        if not self.curved:
            step = 10.0 ** math.floor(math.log10(self.top / 3))
            step *= next(factor for factor in (1, 2, 5, 10) if self.top / (step * factor) <= 6)
            return [round(k * step, 10) for k in range(math.floor(self.top / step) + 1)]
        kept = [0.0]
        for rate in _RATE_TICKS[1:]:
            if rate <= self.top and self.y(kept[-1]) - self.y(rate) >= 24:
                kept.append(rate)
        return kept


def rate_grid(canvas: Canvas, scale: RateScale, left: float, right: float) -> None:
    for tick in scale.ticks():
        canvas.line(left, scale.y(tick), right, scale.y(tick), "axis" if tick == 0 else "grid")
        canvas.text(left - 8, scale.y(tick) + 4, f"{tick:g}%", "tick", "end")
    if scale.curved:
        canvas.text(left, scale.y_top - 8, "square-root scale", "tick")


def score_ridges(ridges: Sequence[Ridge], axis: Axis, threshold: float) -> Markup:
    """A histogram row for each label on one score axis (heights: square root of the count) and the threshold's line.

    The script moves the line: it reads the axis from the data attributes.
    """
    told = "; ".join(
        f"{r.label}: {sum(r.right) + sum(r.wrong):,} rows, {sum(r.wrong):,} decided wrongly" for r in ridges
    )
    alternative = f"Scores by label with the threshold {words.short(threshold)}. {told}."

    def draw(width: int) -> Markup:
        row, top = (46, 26) if width > 500 else (62, 26)
        height = top + row * len(ridges) + 30
        canvas = Canvas(width, height, alternative, "ridges")
        left, right = (168.0, width - 14.0) if width > 500 else (14.0, width - 10.0)
        written = -99.0
        for tick in axis_ticks(axis):
            x = left + float(axis.place(tick)) * (right - left)
            canvas.line(x, top, x, height - 26, "grid")
            if x - written < 46:
                continue
            written = x
            canvas.text(x, height - 10, score_words(tick), "tick", "middle")
        for index, ridge in enumerate(ridges):
            _ridge(canvas, ridge, left, right, top + row * (index + 1) - 6)
        _threshold_mark(canvas, axis, threshold, left, right, top, height)
        return canvas.markup()

    return responsive(draw, WHOLE)


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def score_words(tick: float) -> str:
    """A round score: tiny ones as a power of ten."""
    if 0 < tick < 0.001:
        return f"10{str(round(math.log10(tick))).translate(_SUPERSCRIPT)}"
    return f"{tick:.8f}".rstrip("0").rstrip(".")


def _ridge(canvas: Canvas, ridge: Ridge, left: float, right: float, base: float) -> None:
    kind = "pass" if ridge.label == PASS else "defect"
    both = [good + bad for good, bad in zip(ridge.right, ridge.wrong)]
    tallest = math.sqrt(max(both)) or 1.0
    step = (right - left) / len(both)
    canvas.line(left, base, right, base, "axis")
    for index, (rows, bad) in enumerate(zip(both, ridge.wrong)):
        if rows:
            tall = max(34 * math.sqrt(rows) / tallest, 2.0)
            x, amber = left + step * index + 0.5, tall * bad / rows
            canvas.rect(x, base - tall, step - 1, tall - amber, f"bar {kind}", f"{rows - bad:,} rows")
            canvas.rect(x, base - amber, step - 1, amber, "bar wrong", f"{bad:,} rows decided wrongly")
    said = f"{sum(both):,} rows"
    if left > 100:
        canvas.text(left - 12, base - 17, ridge.label, "name", "end", limit=19)
        canvas.text(left - 12, base - 3, said, "tick", "end")
    else:
        canvas.text(left, base - 40, f"{said} · {ridge.label}", "name halo", limit=34)


def _threshold_mark(
    canvas: Canvas, axis: Axis, threshold: float, left: float, right: float, top: float, height: float
) -> None:
    """The chosen threshold, and over it the group that the script moves: its line is drawn at x = 0."""
    x = left + float(axis.place(threshold)) * (right - left)
    canvas.line(x, top - 6, x, height - 26, "cut")
    canvas.open_group("threshold", f"translate({number(x)} 0)", left=left, right=right)
    canvas.line(0, top - 6, 0, height - 26, "probe")
    canvas.close_group()
    anchor = "end" if x > (left + right) / 2 else "start"
    canvas.text(x + (-6 if anchor == "end" else 6), 14, "threshold", "note cut-name", anchor)


@dataclass(frozen=True)
class Curve:
    """FAR against recall of one model, fractions, recall falling; `kind` picks the line's look."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]


def far_against_recall(curves: Sequence[Curve], limit: float | None) -> Markup:
    """Step lines of FAR (percent) over recall from 90 to 100 %; the target's limit as a line."""
    told = "; ".join(f"{c.name}: {words.pct(100 * c.points[0][1])} at full recall" for c in curves if c.points)
    alternative = f"False alarm rate against recall. {told}."

    def draw(width: int) -> Markup:
        canvas = Canvas(width, 330, alternative, "curve")
        left, right = 52.0, width - 16.0
        rates = [100 * far for curve in curves for _, far in curve.points]
        scale = RateScale.over([*rates, *([limit] if limit else [])], 24, 276)
        rate_grid(canvas, scale, left, right)
        for tick in (90, 92, 94, 96, 98, 100):
            x = left + (tick - 90) / 10 * (right - left)
            canvas.line(x, 24, x, 276, "grid")
            canvas.text(x, 295, f"{tick}%", "tick", "end" if tick == 100 else "middle")
        canvas.text((left + right) / 2, 318, "recall: share of defects caught", "tick", "middle")
        if limit is not None:
            canvas.line(left, scale.y(limit), right, scale.y(limit), "target")
        for curve in curves:
            canvas.path(_steps(curve, scale, left, right), f"line {curve.kind}")
        return canvas.markup()

    return responsive(draw, HALF)


def _steps(curve: Curve, scale: RateScale, left: float, right: float) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for recall, far in curve.points:
        x = left + (100 * recall - 90) / 10 * (right - left)
        if points:
            points.append((x, points[-1][1]))
        points.append((x, scale.y(100 * far)))
    return points


def provenance_bars(rows: Sequence[tuple[str, Sequence[tuple[str, int]]]]) -> Markup:
    """Training rows of each iteration as one bar, split by where they came from."""
    most = max((sum(amount for _, amount in parts) for _, parts in rows), default=1) or 1
    told = "; ".join(f"{label}: " + ", ".join(f"{n:,} {name}" for name, n in parts if n) for label, parts in rows)

    def draw(width: int) -> Markup:
        canvas = Canvas(width, 34 * len(rows) + 8, f"Training rows by provenance. {told}.", "bars")
        left, right = 78.0, width - 62.0
        for index, (label, parts) in enumerate(rows):
            y, x = 34.0 * index + 6, left
            canvas.text(left - 10, y + 16, label, "name", "end", limit=10)
            for name, amount in parts:
                wide = amount / most * (right - left)
                canvas.rect(x, y, max(wide - 1.5, 0), 23, f"part {name}", f"{label}, {name}: {amount:,} rows", radius=3)
                x += wide
            canvas.text(x + 6, y + 16, f"{sum(amount for _, amount in parts):,}", "value")
        return canvas.markup()

    return responsive(draw, WHOLE)


def duration_bars(entries: Sequence[dict[str, Any]]) -> Markup:
    """Each iteration as one bar of its stages, as long as they took."""
    labels = [*dict.fromkeys(entry["iter"] for entry in entries)]
    spent = {label: [e for e in entries if e["iter"] == label] for label in labels}
    most = max((sum(e["duration_sec"] for e in some) for some in spent.values()), default=1) or 1
    told = "; ".join(f"{label} {words.duration(sum(e['duration_sec'] for e in some))}" for label, some in spent.items())

    def draw(width: int) -> Markup:
        canvas = Canvas(width, 34 * len(labels) + 8, f"Time by iteration: {told}.", "bars")
        left, right = 78.0, width - 70.0
        for index, (label, some) in enumerate(spent.items()):
            y, x = 34.0 * index + 6, left
            canvas.text(left - 10, y + 16, label, "name", "end", limit=10)
            for entry in some:
                wide = entry["duration_sec"] / most * (right - left)
                kind = STAGE_KINDS.get(entry["stage"], "other")
                hint = f"{label}/{entry['stage']}: {words.duration(entry['duration_sec'])}"
                canvas.rect(x, y, max(wide - 1.5, 1), 23, f"part {kind}", hint, radius=3)
                if wide > 9 * len(entry["stage"]):
                    canvas.text(x + 7, y + 16, entry["stage"], f"inside {kind}-ink")
                x += max(wide, 1.5)
            canvas.text(x + 6, y + 16, words.duration(sum(e["duration_sec"] for e in some)), "value")
        return canvas.markup()

    return responsive(draw, HALF)
