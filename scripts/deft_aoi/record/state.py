"""`deft_state.json`: the fold of the approved plan and the journal, written as a snapshot after every line."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json
from deft_aoi.base.paths import BASELINE, iter_number
from deft_aoi.base.safe_paths import shown
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.record import bank_runs, journal
from deft_aoi.record.bank_runs import FINAL_AUTOML
from deft_aoi.record.order import (
    ACCEPTANCE,
    BASELINE_ORDER,
    FINETUNE,
    ITERATION_ORDER,
    LOOP_STOP,
    PRUNE,
    RESOLVE,
    ROLLBACK,
    TRAIN,
    Judged,
)

State = dict[str, Any]
VERSION = 2
_KINDS = {"started_at": str, "kpi_target": str, "max_iterations": int, "config": dict, "iterations": dict}
STEP_VALUES = [*dict.fromkeys((*BASELINE_ORDER, *ITERATION_ORDER, FINETUNE, LOOP_STOP))]
STATUS_VALUES = ["pending", "in_progress", "complete", "failed"]
# Facts of the journal that the contract names in the state of an iteration.
ITERATION_FIELDS = (
    "best_ckpt_path", "best_ckpt_kind", "far_pct", "threshold", "val_loss", "inference_csv", "rca_target_defects",
    "rca_gaps_parquet", "rca_threshold", "routing_mining_parquet", "routing_anomalygen_parquet",
    "mining_mined_parquet", "mining_mined_count", "combined_training_csv", "provenance_csv",
)  # fmt: skip
METRIC_RESULT = "metric_result"  # in the state of an iteration that a metric contract's evaluator judged


def initial(
    *, started_at: str, kpi_target: str, results_dir: str, max_iterations: int, config: dict[str, Any]
) -> State:
    """State of a run before its first stage."""
    return {
        "version": VERSION,
        "started_at": started_at,
        "kpi_target": kpi_target,
        "results_dir": results_dir,
        "max_iterations": max_iterations,
        "current_iteration": 0,
        "config": config,
        "iterations": {BASELINE: _pending()},
        "_completed_step_values": STEP_VALUES,
        "_status_values": STATUS_VALUES,
        "journal": {"lines": 0, "digest": "", "last": "", "evaluated": None, "met": False},
    }


def model_sentence(config: Mapping[str, Any]) -> str:
    """Which model is trained and whether it is a ChangeNet, kept in `config` since the start; empty in older runs."""
    record = config.get("model")
    return str(record.get("sentence") or "") if isinstance(record, Mapping) else ""


def _pending() -> dict[str, Any]:
    return {"status": "pending", "stage_completed": None, **dict.fromkeys(ITERATION_FIELDS)}


def fold(start: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> State:
    """State after `entries`, from the run's initial part of `start`; pure, so it can be rebuilt at any time.

    A baseline that was pre-seeded (`stage_completed` train without a journal line) is kept, and so is what a state of
    7.0.x says of its iterations: the lines of its journal carry no facts.
    """
    entries = list(entries)
    state = initial(
        started_at=start["started_at"],
        kpi_target=start["kpi_target"],
        results_dir=start["results_dir"],
        max_iterations=start["max_iterations"],
        config=dict(start["config"]),
    )
    if is_legacy(entries):
        ours = {entry["iter"] for entry in entries if "facts" in entry}
        kept = {label: {**_pending(), **part} for label, part in start["iterations"].items()}
        state["iterations"] = {
            label: {name: part[name] for name in _pending()} if label in ours else part for label, part in kept.items()
        }
    elif is_preseeded(start, entries):
        state["iterations"][BASELINE].update(start["iterations"][BASELINE])
    if "metric_contract" in start:
        state["metric_contract"] = start["metric_contract"]
    if FINAL_AUTOML in start["iterations"]:  # no stage of the loop: no journal line tells of it
        state["iterations"][FINAL_AUTOML] = start["iterations"][FINAL_AUTOML]
    for entry in entries:
        _fold_one(state, entry)
    return state


def advance(before: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> State:
    """`before` with further lines folded in: fold(s, a + b) == advance(fold(s, a), b)."""
    state = copy.deepcopy(dict(before))
    for entry in entries:
        _fold_one(state, entry)
    return state


def catch_up(snapshot: Mapping[str, Any], log: Path) -> State:
    """The state of the journal as it is now, from a snapshot that may be older; reads the journal's tail where it can.

    Where the snapshot does not fit the journal, the whole journal is folded.
    """
    known = snapshot.get("journal")
    lines = journal.tail(log, known["lines"]) if known else None
    if known and lines is not None:
        if known["lines"] == 0:
            return fold(snapshot, lines)
        if lines and lines[0]["seq"] == known["lines"] and journal.content_hash(lines[0]) == known["last"]:
            return advance(snapshot, lines[1:])
    return fold(snapshot, journal.read(log))


def record(path: Path, log: Path, before: Mapping[str, Any], known: journal.Log) -> State | None:
    """Write the state after the last line of `known`, from that `before` it, under the journal's lock.

    None, and nothing is written, where the journal on disk is another one by now.
    """
    with journal.writing(log):
        if log.stat().st_size != known.size:
            return None
        after = _here(path, advance(before, known.entries[-1:]))
        save(path, after)
    return after


def refresh(path: Path, log: Path) -> State:
    """Bring the snapshot up to the journal under the journal's lock, so that no writer puts an older one back."""
    with journal.writing(log):
        before = load(path)
        after = _here(path, catch_up(before, log))
        if after != before:
            save(path, after)
    return after


def _here(path: Path, state: State) -> State:
    """The state of a run directory that may have been moved since the last one was written."""
    return state | {"results_dir": str(path.parent)}


def is_legacy(entries: Iterable[Mapping[str, Any]]) -> bool:
    """True where the journal has lines of 7.0.x, which carry no facts."""
    return any("facts" not in entry for entry in entries)


def is_preseeded(state: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> bool:
    """True where the baseline's checkpoint came from outside: the journal has no baseline train line."""
    baseline = state["iterations"].get(BASELINE, {})
    trained = any(entry["iter"] == BASELINE and entry["stage"] == TRAIN for entry in entries)
    return not trained and baseline.get("stage_completed") is not None and bool(baseline.get("best_ckpt_path"))


def _fold_one(state: State, entry: Mapping[str, Any]) -> None:
    _count_line(state["journal"], entry)
    label, stage = entry["iter"], entry["stage"]
    if stage in (PRUNE, ROLLBACK):
        return
    part = state["iterations"].setdefault(label, _pending())
    state["current_iteration"] = max(state["current_iteration"], iter_number(label))
    if entry["status"] == "error":
        part["status"] = "failed"
        return
    part["status"] = "in_progress" if part["status"] in ("pending", "failed") else part["status"]
    if stage in (ACCEPTANCE, LOOP_STOP, RESOLVE):
        part["status"] = "complete" if stage == LOOP_STOP and part["stage_completed"] else part["status"]
        return
    part["stage_completed"] = stage
    facts = entry.get("facts", {})
    part.update({name: facts[name] for name in ITERATION_FIELDS if name in facts})
    part.update({METRIC_RESULT: facts[METRIC_RESULT]} if facts.get(METRIC_RESULT) else {})
    if stage == (BASELINE_ORDER if label == BASELINE else ITERATION_ORDER)[-1]:
        part["status"] = "complete"


def _count_line(known: dict[str, Any], entry: Mapping[str, Any]) -> None:
    """How far the state has read: lines, a digest over all of them, the last one's hash and the last judgement."""
    last = journal.content_hash(entry)
    judged = Judged(known["evaluated"], known["met"]).after(entry)
    digest = journal.head_after(known["digest"], entry)
    known.update(lines=known["lines"] + 1, digest=digest, last=last, evaluated=judged.label, met=judged.met)


def load(path: Path) -> State:
    """Read a snapshot; raises InputError with the way back when it is absent or damaged."""
    if not path.is_file():
        if (path.parent / "preflight.json").is_file():
            raise InputError(
                f"{path.parent}: its Summary waits for a person's approval; show preflight_summary.md in it, and after "
                "a yes: deft start --workspace W --approve CODE"
            )
        raise InputError(f"{path}: no state; start the run first: deft preflight, then deft start --approve CODE")
    try:
        state = parse_json(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); type: deft rebuild-state --results-dir {path.parent}") from error
    again = f"type: deft rebuild-state --results-dir {path.parent}"
    if not isinstance(state, dict):
        raise InputError(f"{path}: damaged (no JSON object); {again}")
    state = bank_runs.as_ours(state)
    if missing := _KINDS.keys() - state.keys():
        raise InputError(f"{path}: {', '.join(sorted(missing))} missing; {again}")
    for name, kind in _KINDS.items():
        if type(state[name]) is not kind:
            raise InputError(f"{path}: damaged ({name} is {shown(state[name])}); {again}")
    if not _sound(state):
        raise InputError(f"{path}: damaged (iterations or journal); {again}")
    return state


def _sound(state: State) -> bool:
    """Whether the parts that readers walk through are groups of keys under names of ours."""
    for label, part in state["iterations"].items():
        try:
            iter_number(label) if label != FINAL_AUTOML else None
        except InputError:
            return False
        if not isinstance(part, dict) or "status" not in part or "stage_completed" not in part:
            return False
    known = state.get("journal")
    if known is None:
        return True
    return (
        isinstance(known, dict)
        and {"lines", "digest", "last", "evaluated", "met"} <= known.keys()
        and type(known["lines"]) is int
        and known["lines"] >= 0
        and isinstance(known["digest"], str)
    )


def save(path: Path, state: Mapping[str, Any]) -> None:
    atomic_write_json(path, state)
