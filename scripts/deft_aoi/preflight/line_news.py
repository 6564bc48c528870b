"""What came from the line since the last run, and whether that is worth a new loop: a part of the Summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.base.rows import PASS
from deft_aoi.kpi.bounds import lower_bound
from deft_aoi.record.feedback import ADDED, DEFECT, ESCAPE, FALSE_CALL, GOOD, Feedback, by_day, read_feedback
from deft_aoi.record.run import read_json

_SHOWN = 5


@dataclass(frozen=True)
class News:
    """`since`: name of the last started run, empty without one; `pool` its rows by label then; `found` all that came
    after it."""

    since: str
    pool: Mapping[str, int]
    found: Feedback


def line_news(workspace: Workspace) -> News | None:
    """None where nobody ever gave a verdict. Raises InputError where the record of verdicts is damaged."""
    found = read_feedback(workspace.root)
    if not found:
        return None
    started = [paths for run in workspace.runs() if (paths := RunPaths(run)).state.is_file()]
    if not started:
        return News("", {}, found)
    last = started[-1]
    then = read_json(last.preflight).get("dataset", {}).get("mining_pool", {}) if last.preflight.is_file() else {}
    return News(last.root.name, labels_of(then), found.since(str(read_json(last.state)["started_at"])))


def labels_of(counts: Mapping[str, Any]) -> dict[str, int]:
    """Rows by label of one set, as preflight.json counts them."""
    return {PASS: int(counts["pass"]), **counts["defects"]} if counts else {}


def news_lines(news: News, pool: Mapping[str, int], limit: float | None) -> list[str]:
    """Markdown: verdicts and new pool rows by type, and whether a new loop is worth it; `pool` its rows by label now,
    `limit` the FAR that the target allows (a fraction)."""
    after = f"since {news.since}" if news.since else "so far"
    lines = [f"| from the line {after} | false calls | real defects | escapes | good | added to the pool |"]
    lines += ["|---" * 6 + "|", *_table(news.found)]
    if news.since:
        grown = {name: count - news.pool.get(name, 0) for name, count in pool.items()}
        listed = ", ".join(f"{name} {more:+,}" for name, more in grown.items() if more) or "no change"
        lines += ["", f"- The mining pool {after}: {listed}."]
    return [*lines, f"- {advice(news.found, limit)}"]


def _table(found: Feedback) -> list[str]:
    count = Counter((one.label, one.verdict) for one in found.counted())
    added = Counter(one.label for one in found.verdicts if one.outcome == ADDED)
    labels = sorted({label for label, _ in count}, key=lambda label: (label != PASS, label))
    words = (FALSE_CALL, DEFECT, ESCAPE, GOOD)
    return [
        f"| {label} | {' | '.join(str(count[label, word]) for word in words)} | {added[label]} |" for label in labels
    ] or ["| nothing new | 0 | 0 | 0 | 0 | 0 |"]


def advice(found: Feedback, limit: float | None) -> str:
    """Whether a new loop is worth it, and why."""
    reasons = [*_escapes(found), *_drift(found), *_new_types(found), *_false_calls(found, limit)]
    added = sum(one.outcome == ADDED for one in found.verdicts)
    if not reasons:
        return (
            f"Nothing from the line asks for a new loop: {added:,} rows are new, no escape, no drift, no new part type"
            + (", and false calls are within the target." if limit is not None else ".")
        )
    learn = (
        f"{added:,} rows from it can be mined" if added else "but no row from it is in the pool: give verdicts first"
    )
    return f"**A new loop is worth it**: {'; '.join(reasons)}; {learn}."


def _escapes(found: Feedback) -> list[str]:
    kinds = Counter(one.label for one in found.counted() if one.verdict == ESCAPE)
    listed = ", ".join(f"{label} {count}" for label, count in sorted(kinds.items()))
    return [f"defects escaped ({listed})"] if kinds else []


def _drift(found: Feedback) -> list[str]:
    latest = {batch.key: batch for batch in found.batches}
    told = [f"{batch.images}: {batch.drift}" for batch in latest.values() if batch.drift]
    return told[-1:]


def _new_types(found: Feedback) -> list[str]:
    names = sorted({name for batch in found.batches for name in batch.components})
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"part types that the KPI set never had ({', '.join(names[:_SHOWN])}{more})"] if names else []


def _false_calls(found: Feedback, limit: float | None) -> list[str]:
    days: Sequence[Any] = by_day(found)
    calls = sum(day.false_calls for day in days)
    good = sum(day.parts - day.defects - day.escapes for day in days)
    if limit is None or good <= 0 or lower_bound(min(calls, good), good) <= limit:
        return []
    return [f"{calls:,} false calls on {good:,} parts ({calls / good:.2%}), where the target allows {limit:.2%}"]
