"""False calls and escapes over time, from the verdicts that operators gave after the loop."""

from __future__ import annotations

from dataclasses import asdict

from markupsafe import Markup

from deft_aoi.record.feedback import CONTRADICTION, DayCount, by_day, log_path, read_feedback
from deft_aoi.report import words
from deft_aoi.report.charts import WHOLE, RateScale, rate_grid, responsive
from deft_aoi.report.source import Record, Source
from deft_aoi.report.svg import Canvas


def line_facts(source: Source) -> Record | None:
    """For `report.json`: counts by day; None where nobody gave a verdict. Raises InputError for a damaged record."""
    found = read_feedback(source.workspace)
    if not found:
        return None
    return {
        "days": [{**asdict(day), "false_call_pct": day.false_call_pct} for day in by_day(found)],
        "verdicts": len(found.verdicts),
        "contradictions": sum(one.outcome.startswith(CONTRADICTION) for one in found.verdicts),
        "source": source.shown(log_path(source.workspace)),
    }


def shown_line(facts: Record, focus: str | None) -> Record | None:
    """For the page of the whole run: the table's days and their chart."""
    found = facts["line"]
    if found is None or focus is not None:
        return None
    days = [DayCount(**{name: day[name] for name in DayCount.__dataclass_fields__}) for day in found["days"]]
    return {**found, "chart": rate_chart(days, facts["kpi"]["limit_pct"])}


def rate_chart(days: list[DayCount], limit: float | None) -> Markup | None:
    """False calls of the parts that are not known to be defects, by day; the target's limit as a line."""
    points = [(day, day.false_call_pct) for day in days if day.false_call_pct is not None]
    if len(points) < 2:
        return None
    told = "; ".join(f"{day.day} {words.pct(rate)}" for day, rate in points)

    def draw(width: int) -> Markup:
        canvas = Canvas(width, 240, f"False calls by day: {told}.", "line-days")
        left, right = 52.0, width - 16.0
        rates = [rate for _, rate in points if rate is not None]
        scale = RateScale.over([*rates, *([limit] if limit else [])], 24, 190)
        rate_grid(canvas, scale, left, right)
        if limit is not None:
            canvas.line(left, scale.y(limit), right, scale.y(limit), "target")
        step = (right - left) / len(points)
        at = [(left + step * (place + 0.5), scale.y(rate)) for place, rate in enumerate(rates)]
        canvas.path(at, "line far-line")
        every = max(1, round(86 / step))
        for place, ((x, y), (day, rate)) in enumerate(zip(at, points)):
            hint = f"{day.day}: {day.false_calls:,} false calls on {day.parts:,} parts ({words.pct(rate)})"
            canvas.circle(x, y, 4, "dot", hint)
            if place % every == 0:
                canvas.text(x, 214, day.day, "tick", "middle")
        return canvas.markup()

    return responsive(draw, WHOLE)
