"""Check journal, artifacts and state against each other, and rebuild the state from the journal."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import DeftError, InputError
from deft_aoi.base.files import sha256_file
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.record import bank_runs, journal, order, state
from deft_aoi.record.locations import Places
from deft_aoi.record.order import EVALUATE
from deft_aoi.record.run import IMAGES_OF, Plan, approval_problem, read_json


def verify(paths: RunPaths) -> list[str]:
    """Everything that is off, one line each; empty when nothing is. Journals without hashes are "unchained"."""
    entries = journal.read(paths.log)
    problems = chain_problems(paths, entries)
    broken = bool(problems)
    for number, entry in enumerate(entries, start=1):
        try:
            order.check_order(entries[number - 2] if number > 1 else None, entry)
        except InputError as error:
            problems.append(f"loop_log.jsonl, line {number}: {error}")
    try:
        snapshot = state.load(paths.state)
        bank_runs.require_started(snapshot, paths)
    except DeftError as error:
        return [*problems, *artifact_problems(paths, entries), str(error)]
    problems += artifact_problems(paths, entries, replaced=bank_runs.FINAL_AUTOML in snapshot["iterations"])
    places = Places.of(paths, snapshot["config"])
    problems += figure_problems(paths, places.entries(entries), snapshot)
    return (
        problems
        + approval_problems(paths, snapshot, places.workspace)
        + state_problems(snapshot, entries, broken=broken)
    )


def chain_problems(paths: RunPaths, entries: list[journal.Entry]) -> list[str]:
    """Lines that are torn, removed, moved or changed, distinguished by their numbers and by `prev`."""
    if not paths.log.is_file():
        return []
    content = paths.log.read_bytes()
    problems = [] if content.endswith(b"\n") or not content else ["loop_log.jsonl: the last line is torn"]
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    problems += order_problems([entry["seq"] for entry in entries])
    for number, entry in enumerate(entries[1:], start=2):
        neighbours = entries[number - 2]["seq"] + 1 == entry["seq"]
        if neighbours and "prev" in entry and entry["prev"] != journal.line_hash(lines[number - 2]):
            before = entries[number - 2]
            problems.append(
                f"loop_log.jsonl, line {number - 1} ({before['iter']}/{before['stage']}): changed after it was "
                f"written; prev of line {number} does not match line {number - 1}"
            )
    return problems


def order_problems(numbers: list[int]) -> list[str]:
    """What the sequence numbers say: lines removed, swapped, repeated."""
    problems = [
        f"loop_log.jsonl, line {line}: seq is {found}, expected {line}"
        for line, found in enumerate(numbers, start=1)
        if found != line
    ]
    missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
    if missing:
        problems.insert(0, f"loop_log.jsonl: removed: seq {', '.join(map(str, missing))}")
    elif problems:
        moved = [str(found) for line, found in enumerate(numbers, start=1) if found != line]
        problems.insert(0, f"loop_log.jsonl: out of order: seq {', '.join(moved)} are swapped")
    return problems


def figure_problems(paths: RunPaths, entries: Sequence[journal.Entry], snapshot: Mapping[str, Any]) -> list[str]:
    """Figures of evaluate lines that their own scores do not give; only where the scores are as they were made."""
    judged = [(n, e) for n, e in enumerate(entries, 1) if e["stage"] == EVALUATE and e.get("facts", {}).get("verdict")]
    if not judged:
        return []
    from deft_aoi.kpi.judged import judged as verdict_on
    from deft_aoi.kpi.judged import own_threshold, score_facts
    from deft_aoi.kpi.metric_contract import target_of

    told = (snapshot["config"].get("plan") or {}).get("metric_contract", "")
    target, made = target_of(snapshot["kpi_target"], told), newest_artifacts(entries)
    problems = []
    for number, entry in judged:
        facts, csv = entry["facts"], Path(entry["facts"]["inference_csv"])
        record = made.get(csv.relative_to(paths.root).as_posix()) if csv.is_relative_to(paths.root) else None
        if not csv.is_file() or (record and sha256_file(csv) != record[0]["sha256"]):
            continue  # named as an artifact
        found = score_facts(csv, target, own_threshold(facts))
        verdict = verdict_on(target, found | {"measured": facts.get("measured")})
        found |= {"met": verdict.met}
        if "by_board" in facts:
            found |= {"verdict": verdict.status, "gate": verdict.record()}
        else:  # lines of before it had other rules of proof, and for the threshold where recall is below 100 %
            found.pop("by_board")
            if target.recall < 1:
                continue
        where = f"loop_log.jsonl, line {number} ({entry['iter']}/evaluate)"
        problems += [
            f"{where}: {name} is {facts.get(name)!r}, its scores give {value!r}"
            for name, value in found.items()
            if facts.get(name) != value
        ]
    return problems


def approval_problems(paths: RunPaths, snapshot: Mapping[str, Any], root: Path) -> list[str]:
    """A plan that nobody approved, and inputs of the workspace `root` that changed (the pool may grow)."""
    if not snapshot["config"].get("approval") or not paths.preflight.is_file():
        return []
    problem = approval_problem(paths, snapshot)
    record = read_json(paths.preflight)
    pool = "augmentation/"
    changed = [
        f"{name}: changed since the Summary was approved"
        for name, digest in record["inputs"].items()
        if not name.startswith((pool, IMAGES_OF))
        and (not (root / name).is_file() or sha256_file(root / name) != digest)
    ]
    return [*([problem] if problem else []), *changed, *image_problems(root, record["inputs"])]


def image_problems(root: Path, inputs: Mapping[str, str]) -> list[str]:
    """Sets that judge whose pictures are not those of the approved Summary; every byte is read."""
    asked = {name.removeprefix(IMAGES_OF): digest for name, digest in inputs.items() if name.startswith(IMAGES_OF)}
    if not asked:
        return []
    from deft_aoi.data.sets import image_digest
    from deft_aoi.preflight.inputs import read_inputs

    workspace = Workspace.at(root)
    try:
        sets = read_inputs(workspace).readable_sets()
    except DeftError:
        return []  # a spec that cannot be read is named as a changed input
    found = {one.csv.relative_to(workspace.root).as_posix(): one for one in sets}
    return [
        f"{IMAGES_OF}{name}: changed since the Summary was approved"
        for name, digest in asked.items()
        if name in found and image_digest(found[name], workspace.root, known=False) != digest
    ]


def heads(entries: list[journal.Entry]) -> list[str]:
    """The head of the chain after each line: what `deft step` prints, and what someone can note elsewhere."""
    found = [""]
    for entry in entries:
        found.append(journal.head_after(found[-1], entry))
    return found[1:]


def seal_problems(entries: list[journal.Entry], noted: list[str]) -> list[str]:
    """Heads that were noted elsewhere and that this chain has never had: it was rebuilt since."""
    known = heads(entries)
    return [
        f"loop_log.jsonl: head {head} was noted elsewhere and is none of this chain: lines before it were changed or "
        "removed, or it is of another run"
        for head in noted
        if not any(one.startswith(head) for one in known)
    ]


def state_problems(snapshot: Mapping[str, Any], entries: list[journal.Entry], *, broken: bool) -> list[str]:
    """What the snapshot says that the journal does not; a snapshot that a crash left behind is named as such.

    The digest over all lines shows what the chain cannot: an edit of the last line, or one after which the whole
    chain was recreated. It is left out where the chain is `broken` and has reported it.
    """
    known = snapshot.get("journal")
    if known is None:
        expected: Mapping[str, Any] = state.fold(snapshot, entries)
        found = snapshot
        if state.is_legacy(entries):  # the state of 7.0.x holds what its journal lacks: only progress is in both
            expected, found = _progress(expected, entries), _progress(snapshot, entries)
        return [f"deft_state.json: {text}" for text in differences(expected, found)]
    read = known.get("lines", 0)
    if read > len(entries):
        return [f"loop_log.jsonl: ends after {len(entries)} lines, deft_state.json has read {read}: lines were removed"]
    expected = state.fold(snapshot, entries[:read])
    problems = []
    if expected["journal"]["digest"] != known.get("digest"):
        which = "its last line" if known.get("last") != expected["journal"]["last"] else "a line"
        if not broken:
            problems.append(f"loop_log.jsonl: {which} was changed after deft_state.json had read {read} lines")
        expected["journal"] = known
    problems += [f"deft_state.json: {text}" for text in differences(expected, snapshot)]
    if read < len(entries):
        problems.append(
            f"deft_state.json: {len(entries) - read} lines behind the journal (a crash between the two writes); the "
            "next deft step or deft rebuild-state brings it up"
        )
    return problems


def _progress(snapshot: Mapping[str, Any], entries: list[journal.Entry]) -> dict[str, Any]:
    """The last finished stage of every iteration that the journal has lines of."""
    labels = dict.fromkeys(entry["iter"] for entry in entries)
    parts = {label: snapshot["iterations"].get(label, {}) for label in labels}
    return {"iterations": {label: {"stage_completed": part.get("stage_completed")} for label, part in parts.items()}}


def newest_artifacts(entries: Sequence[journal.Entry]) -> dict[str, tuple[Mapping[str, Any], journal.Entry]]:
    """The newest record of each path, with the line that vouches for it."""
    return {item["path"]: (item, entry) for entry in entries for item in entry.get("artifacts", [])}


def artifact_problems(paths: RunPaths, entries: list[journal.Entry], *, replaced: bool = False) -> list[str]:
    """Files that the journal vouches for and that are gone or changed. The newest record of a path counts.

    `replaced`: an AutoML model may have taken the hand-off's place; the file that the loop wrote must be next to it.
    """
    pruned = {item["path"] for entry in entries for item in entry.get("facts", {}).get("pruned", [])}
    problems = []
    for name, (item, entry) in newest_artifacts(entries).items():
        path = paths.root / name
        made = f"{entry['iter']}/{entry['stage']}"
        if not path.is_file() and name in pruned:
            continue
        if not path.is_file():
            problems.append(f"{name}: missing; {made} made it")
        elif path.stat().st_size != item["bytes"] or sha256_file(path) != item["sha256"]:
            if replaced and any(sha256_file(one) == item["sha256"] for one in _kept_beside(path)):
                continue
            problems.append(f"{name}: changed since {made} made it")
    return problems


def _kept_beside(path: Path) -> list[Path]:
    """Earlier hand-offs: `best_model.iter2.json` of `best_model.json`."""
    return sorted(path.parent.glob(f"{path.stem}.*{path.suffix}"))


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

    A readable old snapshot keeps its start time and a pre-seeded baseline; the plan is always the approved one. A run
    that was never started has no journal and no state, and gets none here.
    """
    from deft_aoi.preflight.preflight import initial_state

    entries = journal.read(paths.log)
    if not entries and not paths.state.is_file():
        raise InputError(f"{paths.root}: never started; type: deft start --approve CODE")
    start: Mapping[str, Any] | None = None
    with contextlib.suppress(InputError):
        start = state.load(paths.state)
    if start is None or (start["config"].get("approval") and paths.preflight.is_file()):
        record = read_json(paths.preflight)
        plan = Plan.from_json(record["plan"])
        fresh = initial_state(plan, paths, approval=record["digest"], summary=record)
        kept = (
            {"started_at": record["created"]} if start is None else {k: start[k] for k in ("started_at", "iterations")}
        )
        start = {**fresh, **kept}
    folded = state.fold(start, entries)
    state.save(paths.state, folded)
    return folded
