"""The chart of FAR by iteration, whose points and labels never cover each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deft_aoi.report import words
from deft_aoi.report.charts import HALF, RateScale, rate_grid, responsive
from deft_aoi.report.svg import Canvas

_SOFT_SHIFT, _SAME = 14.0, 0.02  # of the second series; points this close (share of the FAR) are one
_LETTER, _LINE, _NAME = 8.2, 15.0, 58  # of a label: width of a character, height; width of a model's name


@dataclass(frozen=True)
class FarPoint:
    """One model of the chart of iterations; rates in percent."""

    label: str
    far: float
    low: float | None
    high: float | None
    soft: float | None
    champion: bool

    @property
    def shows_soft(self) -> bool:
        return self.soft is not None and abs(self.soft - self.far) > _SAME * max(self.far, 0.01)


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)

    @classmethod
    def around(cls, x: float, y: float, reach: float) -> Box:
        return cls(x - reach, y - reach, x + reach, y + reach)


def far_by_iteration(points: Sequence[FarPoint], classical: float | None, limit: float | None) -> Markup:
    """FAR of each model with its bounds, FAR at 99.5 % recall where it differs, the classical line, the target band."""
    told = "; ".join(f"{point.label} {words.pct(point.far)}" for point in points)
    alternative = f"False alarm rate by iteration: {told}."
    if classical is not None:
        alternative += f" Classical difference {words.pct(classical)}."

    def draw(width: int) -> Markup:
        canvas = Canvas(width, 320, alternative, "far")
        left, right = 52.0, width - 16.0
        rates = [value for p in points for value in (p.far, p.high or 0, p.soft or 0)]
        scale = RateScale.over([*rates, *([classical] if classical else []), *([limit] if limit else [])], 30, 276)
        if limit is not None:
            canvas.rect(left, scale.y(limit), right - left, scale.y(0) - scale.y(limit), "band")
        rate_grid(canvas, scale, left, right)
        if classical is not None:
            canvas.line(left, scale.y(classical), right, scale.y(classical), "reference")
        if limit is not None:
            canvas.line(left, scale.y(limit), right, scale.y(limit), "target")
        taken = _models(canvas, points, scale, left, right)
        if limit is not None:
            _label(
                canvas,
                taken,
                f"target {words.exact_pct(limit)}",
                "note good",
                _beside_line(left, right, scale.y(limit)),
            )
        return canvas.markup()

    return responsive(draw, HALF)


def _models(canvas: Canvas, points: Sequence[FarPoint], scale: RateScale, left: float, right: float) -> list[Box]:
    """Lines, whiskers and points, then as many values as find a free place; returns what is taken. Where many models
    share the width, points get smaller and the second series is its line alone."""
    step = (right - left) / len(points)
    at = [left + step * (index + 0.5) for index in range(len(points))]
    best = max((i for i, p in enumerate(points) if p.champion), default=0)
    shift = _SOFT_SHIFT if step > 3 * _SOFT_SHIFT else 0.0
    soft = [(x + shift, scale.y(p.soft)) for x, p in zip(at, points) if p.soft is not None and p.shows_soft]
    canvas.path(soft, "line soft")
    canvas.path([(x, scale.y(p.far)) for x, p in zip(at, points)], "line far-line")
    taken = [Box.around(x, y, 4) for x, y in soft] if shift else []
    for index, (x, point) in enumerate(zip(at, points)):
        y, size = scale.y(point.far), min(7.0 if index == best else 5.0, 0.4 * step)
        taken += [Box.around(x, y, size + 1), *_whisker(canvas, point, x, scale)]
        kind = "dot best" if index == best else "dot"
        canvas.circle(x, y, size, kind, f"{point.label}: FAR {words.pct(point.far)}")
        if shift and point.soft is not None and point.shows_soft:
            hint = f"{point.label}: FAR at 99.5% {words.pct(point.soft)}"
            canvas.circle(x + shift, scale.y(point.soft), 3.5, "dot soft", hint)
    for index in _named(len(points), best, step):
        kind = "tick strong" if index == best else "tick"
        canvas.text(at[index], 300, points[index].label, kind, "middle", limit=10)
    for index in dict.fromkeys((best, 0, len(points) - 1, *range(len(points)))):
        if len(points) <= 6 or index in (0, best, len(points) - 1):
            text, kind = words.pct(points[index].far), "value strong" if index == best else "value"
            places = _around_point(at[index], scale.y(points[index].far), shift)
            _label(canvas, taken, text, kind, places)
    return taken


def _named(count: int, best: int, step: float) -> list[int]:
    """Models whose names fit below the axis: the best one, and every few that are far enough from it."""
    every = max(1, math.ceil(_NAME / step))
    return [index for index in range(count) if index == best or (index % every == 0 and abs(index - best) >= every)]


def _whisker(canvas: Canvas, point: FarPoint, x: float, scale: RateScale) -> list[Box]:
    if point.low is None or point.high is None:
        return []
    low, high = scale.y(point.low), scale.y(point.high)
    for from_x, to_x, from_y, to_y in ((x, x, low, high), (x - 5, x + 5, high, high), (x - 5, x + 5, low, low)):
        canvas.line(from_x, from_y, to_x, to_y, "whisker")
    return [Box(x - 6, high - 2, x + 6, low + 2)]


Place = tuple[float, float, str]  # x and baseline of a text, and which of its ends is there


def _around_point(x: float, y: float, shift: float) -> list[Place]:
    near = shift + 8
    return [
        (x + near, y - 9, "start"), (x - 12, y - 9, "end"), (x + near, y + 20, "start"), (x - 12, y + 20, "end"),
        (x + 12, y - 24, "start"), (x - 12, y - 24, "end"), (x + 12, y + 34, "start"), (x - 12, y + 34, "end"),
    ]  # fmt: skip


def _beside_line(left: float, right: float, y: float) -> list[Place]:
    """Above and below a horizontal line, from its left end to its right one."""
    rows = (y - 5, y + 14)
    inner = [left + 6 + part * (right - left) / 12 for part in range(11)]
    return [*((x, row, "start") for row in rows for x in inner), *((right - 4, row, "end") for row in rows)]


def _label(canvas: Canvas, taken: list[Box], text: str, kind: str, places: Sequence[Place]) -> None:
    """Write `text` at the first place where it meets nothing; a value that finds none is left to its tooltip."""
    wide = _LETTER * len(text)
    for x, y, anchor in places:
        start = x - wide if anchor == "end" else x
        box = Box(start, y - _LINE + 3, start + wide, y + 3)
        if box.left >= 50 and box.right <= canvas.width and box.top >= 0 and not any(map(box.meets, taken)):
            canvas.text(x, y, text, kind, anchor)
            taken.append(box)
            return
