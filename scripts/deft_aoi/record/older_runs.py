"""Runs of 7.0.x: their journal lines carry no facts. What their state and score files say is put in, in memory only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deft_aoi.kpi.gate import Standing, better
from deft_aoi.kpi.judged import judged, own_threshold, score_facts, standing
from deft_aoi.kpi.metric_contract import checked_result
from deft_aoi.kpi.target import Contract
from deft_aoi.record.order import DATA_MERGE, DATA_MINING, EVALUATE, RCA, ROUTING, TRAIN

Entry = dict[str, Any]
# What each stage of an iteration leaves in the state, as `facts` of ours name it.
_FIELDS = {
    RCA: ("rca_target_defects", "rca_gaps_parquet", "rca_threshold"),
    ROUTING: ("routing_mining_parquet", "routing_anomalygen_parquet"),
    DATA_MINING: ("mining_mined_parquet", "mining_mined_count"),
    DATA_MERGE: ("combined_training_csv", "provenance_csv"),
}


def with_facts(
    entries: Sequence[Entry], snapshot: Mapping[str, Any], target: Contract, roots: Iterable[Path]
) -> tuple[Entry, ...]:
    """The entries, each line without facts given those that the state holds for it; others stay as they are.

    `roots` are the folders that a relative path may start from. FAR and threshold are computed from the scores where
    they are still there.
    """
    folders = tuple(roots)
    best: tuple[str, Standing] | None = None
    filled: list[Entry] = []
    for entry in entries:
        label, facts = entry["iter"], entry.get("facts")
        if facts is None:
            facts = _facts(entry, snapshot["iterations"].get(label, {}), target, folders)
        if entry["stage"] == EVALUATE and entry["status"] == "ok" and facts.get("far_pct") is not None:
            mine = standing(target, facts)
            if best is None or better(mine, best[1]):
                best = label, mine
            facts = {**facts, "champion": best[0] == label, "champion_label": best[0]}
        filled.append({**entry, "facts": facts})
    return tuple(filled)


def _facts(entry: Entry, part: Mapping[str, Any], target: Contract, folders: tuple[Path, ...]) -> dict[str, Any]:
    if entry["status"] != "ok":
        return {"stage": entry["stage"], "code": "stage_failed"}
    known = {name: _located(value, folders) for name, value in part.items() if value is not None}
    if entry["stage"] == TRAIN and known.get("best_ckpt_path"):
        return {
            "val_loss": known.get("val_loss"),
            "checkpoints": {"best_val": known["best_ckpt_path"], "latest": known["best_ckpt_path"]},
        }
    if entry["stage"] == EVALUATE:
        return _evaluated(known, target)
    return {name: known[name] for name in _FIELDS.get(entry["stage"], ()) if name in known}


def _evaluated(known: Mapping[str, Any], target: Contract) -> dict[str, Any]:
    names = ("best_ckpt_path", "best_ckpt_kind", "inference_csv", "far_pct", "threshold")
    facts = {name: known[name] for name in names if name in known}
    csv = Path(str(known.get("inference_csv", "")))
    if not csv.is_file():
        return {**facts, "far_995_pct": 100.0, "auroc": 0.0} if "far_pct" in facts else facts
    told: dict[str, Any] = {}
    if target.evaluator is not None:
        result = checked_result(
            json.dumps(known.get("metric_result")).encode(), target, "deft_state.json: metric_result"
        )
        told = {"measured": dict(result.measured), "metric_result": dict(result.record)}
    scores = {**score_facts(csv, target, own_threshold(told)), **told}
    verdict = judged(target, scores)
    judgement = {"met": verdict.met, "verdict": verdict.status, "far_upper_pct": 100 * verdict.far_upper}
    return {**facts, **scores, **judgement, "verdict_sentence": verdict.sentence}


def _located(value: Any, folders: tuple[Path, ...]) -> Any:
    """A path of the state as it can be opened from here; any other value as it is."""
    if not isinstance(value, str) or "/" not in value or Path(value).exists():
        return value
    return next((str(folder / value) for folder in folders if (folder / value).exists()), value)
