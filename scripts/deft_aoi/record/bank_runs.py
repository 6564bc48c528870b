"""Runs of NVIDIA's skill bank, read as ours: states of 7.0.x and of version 4, baselines that AutoML has trained.

Version 4 has no journal file: its `events` become one when the run is started here.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write
from deft_aoi.base.paths import BASELINE, RunPaths, Workspace, iter_number
from deft_aoi.record import journal
from deft_aoi.record.locations import Places
from deft_aoi.record.order import (
    ANOMALYGEN,
    BASELINE_ORDER,
    FINETUNE,
    ITERATION_ORDER,
    RESOLVE,
    STAGES,
    last_deciding,
)

Record = dict[str, Any]
AIR_GAP = "airgap"
FINAL_AUTOML = "final_automl"  # what an AutoML pipeline adds after the loop: its model next to the iterations
KEPT = "deft_state.bank.json"  # the state as it came, next to the one that took its place
_FIELDS = ("seq", "ts", "iter", "stage", "status", "summary", "duration_sec", "context_tokens", "tokens")
_UTC = re.compile(r"(\+00:00|-00:00)\Z")
_PLACES = {
    "specs_file": "spec", "training_csv": "training_csv", "validation_csv": "validation_csv",
    "kpi_test_csv": "kpi_csv", "images_dir": "images", "mining_pool_csv": "pool_csv",
}  # fmt: skip


def as_ours(record: Mapping[str, Any]) -> Record:
    """A state with its baseline among the iterations, a status for each, and FAR and threshold of metric results."""
    state = dict(record)
    iterations = state.get("iterations")
    if not isinstance(iterations, Mapping):
        return state
    parts = dict(iterations)
    if isinstance(top := state.get(BASELINE), Mapping):
        parts.setdefault(BASELINE, top)
        del state[BASELINE]
    state["iterations"] = {
        label: _part(label, part) if isinstance(part, Mapping) else part for label, part in parts.items()
    }
    return state


def _part(label: str, part: Mapping[str, Any]) -> Record:
    done = part.get("stage_completed")
    last = (BASELINE_ORDER if label == BASELINE else ITERATION_ORDER)[-1]
    status = "pending" if done is None else "complete" if done == last else "in_progress"
    found = {"status": status, "stage_completed": done, **part}
    result = part.get("metric_result")
    if isinstance(result, Mapping):
        told = {"threshold": result.get("threshold")}
        told |= {"far_pct": result.get("value")} if result.get("name") == "far_pct" else {}
        found |= {name: value for name, value in told.items() if found.get(name) is None}
    return found


def is_foreign(state: Mapping[str, Any]) -> bool:
    """True for a state that this skill has not written: it has no plan of ours."""
    return not isinstance((state.get("config") or {}).get("plan"), Mapping)


def events(state: Mapping[str, Any], paths: RunPaths) -> list[journal.Entry]:
    """Journal lines of a version 4 state that has not been started here; none for any other run.

    Raises InputError for an event that is no journal line, or where a journal is there as well.
    """
    listed = state.get("events")
    if not listed or not is_foreign(state):
        return []
    if paths.log.is_file() and paths.log.stat().st_size:
        raise InputError(
            f"{paths.state}: has events (state version {state.get('version')}) and {paths.log.name} is next to it; "
            "only one can be the run's memory: move the one aside that is not"
        )
    return _lines(listed, f"{paths.state}: events")


def _lines(listed: Sequence[Any], where: str) -> list[journal.Entry]:
    lines: list[journal.Entry] = []
    for event in listed:
        line = _line(event, f"{where}[{len(lines)}]")
        before = lines[-1] if lines else None
        if before and before["status"] == "error" and before["stage"] == line["stage"]:
            told = {"stage": before["stage"], "decision": "retry"}
            resolved = {**before, "stage": RESOLVE, "status": "ok", "summary": "tried again there", "duration_sec": 0}
            lines.append({**resolved, "seq": len(lines) + 1, "facts": told})
        lines.append({**line, "seq": len(lines) + 1})
    return lines


def _line(event: Any, where: str) -> journal.Entry:
    if not isinstance(event, Mapping) or event.get("stage") not in STAGES:
        raise InputError(f"{where}: expected an object with one of the stages {', '.join(STAGES)}")
    line = {"context_tokens": 0, "duration_sec": 0} | {name: event[name] for name in _FIELDS if name in event}
    line["ts"] = _UTC.sub("Z", str(line.get("ts", "")))
    return journal.checked(line, where)


def require_started(state: Mapping[str, Any], paths: RunPaths) -> None:
    """Raise InputError for a version 4 run that has not been started here."""
    if lines := events(state, paths):
        raise InputError(
            f"{paths.root}: a run of state version {state.get('version')} with {len(lines)} events and no journal yet; "
            f"type: deft preflight --workspace W --results-dir {paths.root}, then deft start"
        )


def adopt(paths: RunPaths, state: Mapping[str, Any]) -> None:
    """Give a version 4 run its journal, and keep its state as it came in :data:`KEPT`."""
    lines = events(state, paths)
    if not lines:
        return
    kept = paths.root / KEPT
    if not kept.exists():
        shutil.copy2(paths.state, kept)
    atomic_write(paths.log, lambda stream: stream.writelines(journal.encode(line) + b"\n" for line in lines))


def problems(state: Mapping[str, Any], paths: RunPaths, workspace: Workspace) -> list[str]:
    """Why a run of the bank cannot go on here, one line each."""
    config = state.get("config") or {}
    found = []
    for name, ours in _PLACES.items():
        told, place = config.get(name), getattr(workspace, ours)
        relative = place.relative_to(workspace.root).as_posix()
        if isinstance(told, str) and told and Path(told) != place and not f"/{told}".endswith(f"/{relative}"):
            found.append(f"config.{name} is {told}; this skill reads {place}: move or link it there")
    lines = events(state, paths) or journal.read(paths.log)
    last = last_deciding(lines)
    for label, part in state["iterations"].items():
        named = part.get("best_ckpt_path")
        if named and label != FINAL_AUTOML and located(str(named), paths, workspace) is None:
            found.append(f"iterations.{label}.best_ckpt_path {named}: no such file; put it back, or remove the entry")
    if last is None or last["stage"] not in (ANOMALYGEN, FINETUNE):
        return found
    part = state["iterations"].get(last["iter"], {})
    if last["stage"] == FINETUNE or not part.get("anomalygen_skipped"):
        found.append(
            f"left after {last['iter']}/{last['stage']}: what its generator made is taken into training by the bank's "
            "own next stages only; finish data_mining there, or start a new run"
        )
    return found


def located(named: str, paths: RunPaths, workspace: Workspace) -> Path | None:
    """The file behind a path of the state, wherever run and workspace were then; None where it is gone."""
    found = Places(paths.root, workspace.root).file(named)
    return found if found.is_file() else None


def plan_values(state: Mapping[str, Any]) -> Record:
    """Parameters of a run of the bank under the names of our plan; what it does not say is left out."""
    config = state.get("config") or {}
    generator, mining = config.get("anomalygen") or {}, config.get("mining_filter") or {}
    told = {
        "kpi_target": state.get("kpi_target"),
        "max_iterations": state.get("max_iterations"),
        "num_epochs": config.get("num_epochs"),
        "num_gpus": config.get("num_gpus"),
        "batch_size": config.get("batch_size"),
        "project": generator.get("project"),
        "anomalygen_step": generator.get("step"),
        "num_sdg": generator.get("num_SDG"),
        "top_k_per_target": mining.get("top_k_per_target"),
        "min_similarity": mining.get("min_similarity"),
        "knn_metric": mining.get("metric"),
        "network": AIR_GAP if network_mode(state) == AIR_GAP else None,
    }
    found = {name: value for name, value in told.items() if value is not None}
    if contract := state.get("metric_contract"):
        found |= {"metric_contract": json.dumps(contract), "kpi_target": None}
    return found


def network_mode(state: Mapping[str, Any]) -> str:
    """`airgap` or `open`, from our plan or the bank's policy."""
    plan, policy = (state.get("config") or {}).get("plan") or {}, state.get("execution_policy") or {}
    return AIR_GAP if AIR_GAP in (plan.get("network"), policy.get("network_mode")) else "open"


def labels(named: Iterable[str]) -> list[str]:
    """Labels of iterations in their order, without what an AutoML pipeline added."""
    return sorted((label for label in named if label != FINAL_AUTOML), key=iter_number)
