"""What a terminal shows of a run: short labelled lines from `report.json`, the most important first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deft_aoi.base import csv_text
from deft_aoi.base.console import command_line
from deft_aoi.base.paths import RunPaths
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.data.review_counts import count_review
from deft_aoi.report import words

Record = dict[str, Any]
_WIDTH = 13  # of a label
_DAMAGED = (AttributeError, KeyError, TypeError, ValueError)  # what a report.json of another shape ends in


def labelled(label: str, text: str) -> str:
    """One line of a table of two columns; an empty label goes on with the line above."""
    return f"{f'{label}:' if label else '':<{_WIDTH}}{text}"


def facts_on_disk(paths: RunPaths) -> Record:
    """`report.json` of a run; empty where it is missing or damaged: nothing depends on it, `deft report` renders it
    again."""
    try:
        found = parse_json(paths.report_facts.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def final_lines(paths: RunPaths, *, why: bool = False) -> list[str]:
    """Verdict, rates, model, caveats, what to do next, files; `why` adds the details behind each caveat."""
    facts = facts_on_disk(paths)
    try:
        lines = [
            *result_lines(facts),
            *caveat_lines(facts["caveats"], why=why),
            *_steps(facts["next_steps"]),
            *collect_lines(facts),
        ]
    except _DAMAGED:
        lines = _unreadable(paths)
    return [*lines, *file_lines(paths)]


def short_lines(paths: RunPaths) -> list[str]:
    """Verdict, rates and model of a finished run."""
    try:
        return result_lines(facts_on_disk(paths))
    except _DAMAGED:
        return _unreadable(paths)


def _unreadable(paths: RunPaths) -> list[str]:
    """A damaged file does not hide the end of a run."""
    return [labelled("report", f"missing or damaged; type: {command_line('report', '--results-dir', paths.root)}")]


def result_lines(facts: Record) -> list[str]:
    """The best model in four lines; a distance to the target is given, never a bare "not met"."""
    result = facts["result"]
    if result is None:
        return [labelled("verdict", "none: no model was evaluated")]
    opened = [one for one in facts["proof"]["acceptance"] if one["model"] == result["label"]]
    verdict, where = (opened[-1]["verdict"], "acceptance set") if opened else (result["verdict"], "KPI set")
    lines = [labelled("verdict", f"{verdict} on the {where}: {result['gap_text']} ({facts['kpi']['text']})")]
    calls = f"{result['false_calls']:,} of {result['n_pass']:,} good parts: FAR {words.pct(result['far_pct'])}"
    lines.append(labelled("false calls", calls + _at_most(result["far_upper_pct"], result.get("boards"))))
    if result["escapes"] is not None:
        missed = f"{result['escapes']:,} of {result['n_defect']:,} defects"
        lines.append(labelled("escapes", missed + _at_most(result["escape_upper_pct"], result.get("boards"))))
    others = [one for one in facts["proof"]["clauses"] if not one["text"].startswith(("FAR", "recall", "escape"))]
    lines += [labelled("also", f"{one['text']}: {one['value']}, {one['standing']}") for one in others]
    lines += [labelled("proof", one["sentence"]) for one in opened[-1:]]
    if result["verdict"] == "NOT PROVABLE" and not opened:
        lines.append(labelled("to prove it", _needed(result)))
    return [*lines, labelled("best model", f"{result['label']}, threshold {result['threshold']!r}")]


def _at_most(upper: float | None, boards: int | None) -> str:
    """The bound with the boards it rests on: parts of a board are alike, so few boards make it wide."""
    on = f": {boards:,} board{'' if boards == 1 else 's'}" if boards else ""
    return "" if upper is None else f", at most {words.pct(upper)} with 95% confidence{on}"


def _needed(result: Record) -> str:
    """What a sealed acceptance set must hold."""
    parts = ((result["further_pass_needed"], "good parts"), (result["further_defects_needed"], "defects"))
    sizes = [f"{count:,} {what}" for count, what in parts if count]
    boards = max((clause.get("further_boards") or 0 for clause in result["clauses"]), default=0)
    size = f" with at least {' and '.join(sizes)}" if sizes else ""
    where = f" on {boards:,} boards that nothing else uses" if boards else ", of boards that nothing else uses"
    return f"a sealed acceptance set{size}{where}" + (", all decided rightly" if sizes else "")


def collect_lines(facts: Record) -> list[str]:
    """What the last routing asks a person to collect, because the pool has too few."""
    last: Record = next((one for one in reversed(facts["iterations"]) if one.get("routing")), {})
    asked = [
        f"{one['rows']:,} {one['label']} (in {last['label']} the pool had {one['unused']:,} left)"
        for one in last.get("routing", {}).get("requests") or []
    ]
    return [labelled("collect", ", ".join(asked))] if asked else []


def caveat_lines(caveats: Sequence[Record], *, why: bool = False) -> list[str]:
    lines = []
    for place, one in enumerate(caveats):
        lines.append(labelled("" if place else "caveats", f"- {one['text']}"))
        lines += [labelled("", f"  {one['why']}")] if why else []
    return lines


def _steps(steps: Sequence[str]) -> list[str]:
    return [labelled("" if place else "do next", f"- {step}") for place, step in enumerate(steps[:3])]


def file_lines(paths: RunPaths) -> list[str]:
    """The files of a finished run that exist, and how many labels a person is asked to check."""
    named = (
        ("report", paths.report),
        ("model", paths.best_model),
        ("reference", paths.reference),
        ("inference", paths.inference_spec),
    )
    lines = [labelled(name, str(path)) for name, path in named if path.is_file()]
    counts = count_review([row.get("verdict") or "" for row in _review_rows(paths.label_review)])
    asked = f"{counts.rows + counts.systematic} rows: {counts.rows} for a person to check"
    asked += f", {counts.judged} of them with a verdict of spot check or person" if counts.judged else ""
    asked += f"; {counts.systematic} noted as systematic" if counts.systematic else ""
    return [*lines, labelled("labels", f"{paths.label_review} ({asked})")]


def _review_rows(path: Path) -> list[dict[str, str]]:
    """Rows of label_review.csv; none where it is absent or unreadable: `deft verify` and the stages say so."""
    try:
        return csv_text.records(path)
    except (OSError, ValueError, csv_text.Error):
        return []
