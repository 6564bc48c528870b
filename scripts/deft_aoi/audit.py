"""Check journal, artifacts and state against each other, and rebuild the state from the journal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from deft_aoi import journal, pipeline, state
from deft_aoi.errors import DeftError, InputError
from deft_aoi.fsio import sha256_file
from deft_aoi.paths import RunPaths


def verify(paths: RunPaths) -> list[str]:
    """Everything that is off, one line each; empty when nothing is. Journals without hashes are "unchained"."""
    entries = journal.read(paths.log)
    problems = chain_problems(paths)
    for number, entry in enumerate(entries, start=1):
        if entry["seq"] != number:
            problems.append(f"loop_log.jsonl, line {number}: seq is {entry['seq']}, expected {number}")
        try:
            pipeline.check_order(entries[number - 2] if number > 1 else None, entry)
        except InputError as error:
            problems.append(f"loop_log.jsonl, line {number}: {error}")
    problems += artifact_problems(paths, entries)
    try:
        snapshot = state.load(paths.state)
    except DeftError as error:
        return [*problems, str(error)]
    return problems + [f"deft_state.json: {text}" for text in differences(state.fold(snapshot, entries), snapshot)]


def chain_problems(paths: RunPaths) -> list[str]:
    """Lines whose `prev` is not the hash of the line before."""
    if not paths.log.is_file():
        return []
    content = paths.log.read_bytes()
    problems = [] if content.endswith(b"\n") or not content else ["loop_log.jsonl: the last line is torn"]
    before = ""
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        found = json.loads(line).get("prev")
        if found is not None and found != before:
            problems.append(
                f"loop_log.jsonl, line {number}: prev does not match line {number - 1}: a line before it was changed, "
                "removed or moved"
            )
        before = hashlib.sha256(line).hexdigest()
    return problems


def artifact_problems(paths: RunPaths, entries: list[journal.Entry]) -> list[str]:
    """Files that the journal vouches for and that are gone or changed. The newest record of a path counts."""
    newest = {item["path"]: (item, entry) for entry in entries for item in entry.get("artifacts", [])}
    problems = []
    for name, (item, entry) in newest.items():
        path = paths.root / name
        made = f"{entry['iter']}/{entry['stage']}"
        if not path.is_file():
            problems.append(f"{name}: missing; {made} made it")
        elif path.stat().st_size != item["bytes"] or sha256_file(path) != item["sha256"]:
            problems.append(f"{name}: changed since {made} made it")
    return problems


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """Dotted places where two JSON values differ."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        names = [*expected, *[name for name in found if name not in expected]]
        return [
            text
            for name in names
            for text in (
                differences(expected[name], found[name], f"{where}{name}.")
                if name in expected and name in found
                else [f"{where}{name} is {'unexpected' if name in found else 'missing'}"]
            )
        ]
    if expected != found:
        return [f"{where.rstrip('.')} is {found!r}; the journal says {expected!r}"]
    return []


def rebuild(paths: RunPaths) -> state.State:
    """Write deft_state.json from preflight.json and the journal, and return it.

    A readable old snapshot keeps its start time and a pre-seeded baseline.
    """
    from deft_aoi.run import Plan, read_json
    from deft_aoi.stages.preflight import initial_state

    try:
        start: Mapping[str, Any] = state.load(paths.state)
    except InputError:
        record = read_json(paths.preflight)
        start = initial_state(Plan.from_json(record["plan"]), paths, approval=record["digest"])
        start = {**start, "started_at": record["created"]}
    folded = state.fold(start, journal.read(paths.log))
    state.save(paths.state, folded)
    return folded
