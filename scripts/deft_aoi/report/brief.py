"""What a reporter needs of a run, as text: the facts that count, every figure it may quote, the pictures by key."""

from __future__ import annotations

from collections.abc import Sequence

from deft_aoi.report import words
from deft_aoi.report.closing import caveat_lines, collect_lines, labelled, result_lines
from deft_aoi.report.quoting import Record

_SHEETS = 2  # iterations whose contact sheet is worth a look


def brief_lines(facts: Record, pictures: Sequence[tuple[str, str]]) -> list[str]:
    """`facts`: report.json; `pictures`: key and words of each pair on the page."""
    run = facts["run"]
    lines = [labelled("run", f"{run['id']}, {run['status'].replace('_', ' ')}")]
    lines += [labelled("model", run["model"])] if run["model"] else []
    lines += [
        labelled("CHECK FAILED", f"{one['name']}: {one['detail']}") for one in facts["checks"] if one["ok"] is False
    ]
    lines += [*result_lines(facts), *caveat_lines(facts["caveats"], why=True)]
    lines += [labelled("" if place else "by rule", f"- {step}") for place, step in enumerate(facts["next_steps"])]
    lines += [*collect_lines(facts), *_iterations(facts)]
    lines += [labelled("look at", sheet) for sheet in _sheets(facts)]
    lines += ["", "figures, quoted as {{name}}:", *_figures(facts["figures"])]
    lines += ["", "pictures, by key:"]
    return lines + [f"  {key}  {text}" for key, text in pictures]


def _iterations(facts: Record) -> list[str]:
    """One line for each model, then what the last iteration found and took."""
    lines = []
    for one in facts["iterations"]:
        found = one["evaluate"]
        if found is None:
            continue
        calls = f"{found['false_calls']} false calls, " if found["false_calls"] is not None else ""
        rows = f"{one['train']['rows']} rows" if one["train"] and one["train"].get("rows") else "rows unknown"
        mined = f", {one['mining'].get('kept')} mined" if one["mining"] else ""
        best = ", best" if one["label"] == facts["best"] else ""
        lines.append(labelled(one["label"], f"FAR {words.pct(found['far_pct'])}, {calls}{rows}{mined}{best}"))
    if reference := facts["classical"]:
        lines.append(labelled("classical", f"FAR {words.pct(reference['far_pct'])} without any training"))
    analysed = next((one["rca"] for one in reversed(facts["iterations"]) if one["rca"]), None)
    if analysed:
        weak = ", ".join(f"{name} {count}" for name, count in (analysed.get("weak_by_label") or {}).items())
        lines.append(labelled("weak rows", f"{weak or 'none'} (model {analysed.get('analysed') or 'unknown'})"))
        lines.append(labelled("hardest", ", ".join(analysed.get("rca_target_defects") or []) or "none named"))
    taken = next((one["mining"] for one in reversed(facts["iterations"]) if one["mining"]), None)
    if taken and taken.get("by_label"):
        kept = ", ".join(f"{name} {part.get('kept', 0)}" for name, part in sorted(taken["by_label"].items()))
        lines.append(labelled("mined last", kept))
    return lines


def _sheets(facts: Record) -> list[str]:
    """Contact sheets of the last models analysed and of the best one: of each model the first, others are copies."""
    found: dict[str, str] = {}
    for one in facts["iterations"]:
        if one["rca"] and one["rca"].get("contact_sheet"):
            found.setdefault(one["rca"].get("analysed") or one["label"], one["rca"]["contact_sheet"])
    last = {one["rca"].get("analysed") or one["label"] for one in facts["iterations"][-_SHEETS:] if one["rca"]}
    if facts["result"] and facts["result"]["contact_sheet"]:
        found.setdefault(facts["best"], facts["result"]["contact_sheet"])
    return [f"{sheet} (weak rows of {model})" for model, sheet in found.items() if model in last | {facts["best"]}]


def _figures(figures: Record) -> list[str]:
    """`name value` pairs, those of one kind on a line."""
    kinds: dict[str, list[str]] = {}
    for name, figure in figures.items():
        kinds.setdefault(name.split(".")[0], []).append(f"{name} {figure['text']}")
    return [f"  {' · '.join(some)}" for some in kinds.values()]
