"""What the report verified while it was made, one line each: the page says which figures can be relied on."""

from __future__ import annotations

import math
from typing import Any

from deft_aoi.base.files import sha256_file
from deft_aoi.record import journal
from deft_aoi.report.source import Record, Source
from deft_aoi.report.words import exact_pct, plural

_COMPARED = ("far_pct", "far_995_pct", "auroc", "false_calls", "n_pass", "n_defect")


def run_checks(source: Source, iterations: list[Record]) -> list[Record]:
    """`{name, ok, detail}`; `ok` is None where there is nothing to check (an old or an empty journal)."""
    return [
        check_chain(source),
        check_figures(iterations),
        check_hashes(source, iterations),
        check_recall(source, iterations),
    ]


def _check(name: str, ok: bool | None, detail: str) -> Record:
    return {"name": name, "ok": ok, "detail": detail}


def check_chain(source: Source) -> Record:
    """Each line of the journal names the hash of the one before, and the numbers run from 1."""
    name = "Journal chain"
    if not source.paths.log.is_file():
        return _check(name, None, "no journal yet")
    lines = source.log.lines
    chained = [entry for entry in source.entries if "prev" in entry]
    if not chained:
        return _check(name, None, f"{plural(len(lines), 'line')} without hashes (a journal of 7.0.x)")
    previous = ""
    for number, (line, entry) in enumerate(zip(lines, source.entries, strict=True), start=1):
        if entry["seq"] != number or ("prev" in entry and entry["prev"] != previous):
            return _check(name, False, f"line {number} does not follow the line before it")
        previous = journal.line_hash(line)
    head = ""
    for entry in source.entries:
        head = journal.head_after(head, entry)
    told = f"{plural(len(lines), 'line')}, each naming the hash of the one before; head {head[: journal.HEAD]}"
    return _check(name, True, f"{told}. Note it elsewhere: whoever can write this folder could rebuild the chain")


def check_figures(iterations: list[Record]) -> Record:
    """The journal's KPI figures against those computed again from the scores."""
    name, done = "KPI figures computed again from the scores", 0
    for one in iterations:
        found: Record | None = one["evaluate"]
        if not found or not found["recomputed"]:
            continue
        done += 1
        for key in _COMPARED:
            recorded: Any = found["recorded"].get(key)
            if recorded is not None and not math.isclose(recorded, found[key], rel_tol=1e-9, abs_tol=1e-9):
                detail = (
                    f"{one['label']}: {key} is {recorded} in the journal, {found[key]} from {found['inference_csv']}"
                )
                return _check(name, False, detail)
    return _check(name, True, f"{plural(done, 'model')} agree") if done else _check(name, None, "no scores on disk yet")


def check_hashes(source: Source, iterations: list[Record]) -> Record:
    """The inference CSVs that the page shows against the hashes in the journal."""
    name = "Score files match the hashes in the journal"
    recorded = {
        item["path"]: item["sha256"] for e in source.entries for item in e.get("artifacts") or [] if "sha256" in item
    }
    shown = {one["evaluate"]["inference_csv"] for one in iterations if one["evaluate"]}
    files = [path for path in sorted(shown) if path in recorded and (source.paths.root / path).is_file()]
    for path in files:
        if sha256_file(source.paths.root / path) != recorded[path]:
            return _check(name, False, f"{path} was changed after its stage had finished")
    return _check(name, True, plural(len(files), "file")) if files else _check(name, None, "no hash recorded")


def check_recall(source: Source, iterations: list[Record]) -> Record:
    """No defect of the KPI set is at or below a threshold, unless the target allows some."""
    name = f"Recall at the threshold is at least {exact_pct(100 * source.recall)}"
    scored = [one for one in iterations if one["evaluate"] and one["evaluate"]["escapes"] is not None]
    for one in scored:
        found = one["evaluate"]
        if 1 - found["escapes"] / found["n_defect"] < source.recall - 1e-12:
            return _check(name, False, f"{one['label']}: {found['escapes']} of {found['n_defect']} defects escape")
    return _check(name, True, plural(len(scored), "model")) if scored else _check(name, None, "nothing evaluated yet")
