"""`deft_state.json`: the fold of the approved plan and the journal, written as a snapshot after every line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deft_aoi.errors import InputError
from deft_aoi.fsio import atomic_write_json
from deft_aoi.paths import BASELINE, iter_number
from deft_aoi.pipeline import BASELINE_ORDER, ITERATION_ORDER, LOOP_STOP, RESOLVE

State = dict[str, Any]
VERSION = 2
STEP_VALUES = [*dict.fromkeys((*BASELINE_ORDER, *ITERATION_ORDER, "anomalygen_finetune", LOOP_STOP))]
STATUS_VALUES = ["pending", "in_progress", "complete", "failed"]
# Facts of the journal that the contract names in the state of an iteration.
ITERATION_FIELDS = (
    "best_ckpt_path", "best_ckpt_kind", "far_pct", "threshold", "val_loss", "inference_csv", "rca_target_defects",
    "rca_gaps_parquet", "rca_threshold", "routing_mining_parquet", "routing_anomalygen_parquet",
    "mining_mined_parquet", "mining_mined_count", "combined_training_csv", "provenance_csv",
)  # fmt: skip


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
    }


def _pending() -> dict[str, Any]:
    return {"status": "pending", "stage_completed": None, **dict.fromkeys(ITERATION_FIELDS)}


def fold(start: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> State:
    """State after `entries`, from the run's initial part of `start`; pure, so it can be rebuilt at any time.

    A baseline that was pre-seeded (`stage_completed` train without a journal line) is kept.
    """
    seeded = start["iterations"].get(BASELINE, {}) if is_preseeded(start, entries := list(entries)) else {}
    state = initial(
        started_at=start["started_at"],
        kpi_target=start["kpi_target"],
        results_dir=start["results_dir"],
        max_iterations=start["max_iterations"],
        config=dict(start["config"]),
    )
    state["iterations"][BASELINE].update(seeded)
    for entry in entries:
        _fold_one(state, entry)
    return state


def is_preseeded(state: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> bool:
    """True where the baseline's checkpoint came from outside: the journal has no baseline train line."""
    baseline = state["iterations"].get(BASELINE, {})
    trained = any(entry["iter"] == BASELINE and entry["stage"] == "train" for entry in entries)
    return not trained and baseline.get("stage_completed") is not None and bool(baseline.get("best_ckpt_path"))


def _fold_one(state: State, entry: Mapping[str, Any]) -> None:
    label, stage = entry["iter"], entry["stage"]
    part = state["iterations"].setdefault(label, _pending())
    state["current_iteration"] = max(state["current_iteration"], iter_number(label))
    if entry["status"] == "error":
        part["status"] = "failed"
        return
    part["status"] = "in_progress" if part["status"] in ("pending", "failed") else part["status"]
    if stage in (LOOP_STOP, RESOLVE):
        part["status"] = "complete" if stage == LOOP_STOP and part["stage_completed"] else part["status"]
        return
    part["stage_completed"] = stage
    facts = entry.get("facts", {})
    part.update({name: facts[name] for name in ITERATION_FIELDS if name in facts})
    if stage == (BASELINE_ORDER if label == BASELINE else ITERATION_ORDER)[-1]:
        part["status"] = "complete"


def load(path: Path) -> State:
    """Read a snapshot; raises InputError with the way back when it is absent or damaged."""
    if not path.is_file():
        raise InputError(f"{path}: no state; start the run first: deft preflight, then deft start --approve CODE")
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); type: deft rebuild-state --results-dir {path.parent}") from error
    missing = {"started_at", "kpi_target", "max_iterations", "config", "iterations"} - set(state)
    if missing:
        raise InputError(f"{path}: {', '.join(sorted(missing))} missing; type: deft rebuild-state")
    return state


def save(path: Path, state: Mapping[str, Any]) -> None:
    atomic_write_json(path, state)
