"""The seed-noise floor: a second baseline, trained with another seed, says how much FAR moves by chance alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deft_aoi.base.paths import BASELINE
from deft_aoi.kpi.target import Contract
from deft_aoi.record.order import EVALUATE
from deft_aoi.record.run import Run
from deft_aoi.spec.tree import get, load_spec
from deft_aoi.stages.train import LATEST_LINK, best_checkpoint


def checkpoints(run: Run) -> dict[str, tuple[Path, Path]]:
    """Task name: (checkpoint, folder of its scores) of the second baseline; empty where none was trained."""
    folder = run.paths.noise / "train"
    if not run.plan.noise_floor or not (folder / LATEST_LINK).exists():
        return {}
    spec = load_spec(run.paths.folder(BASELINE) / "specs/noise_train.yaml")
    best, _ = best_checkpoint(folder, int(get(spec, "train.validation_interval", 1)))
    latest = (folder / LATEST_LINK).resolve()
    found = {"noise_best_val": best, "noise_latest": latest}
    kinds = found if best.resolve() != latest else {"noise_best_val": best}
    return {name: (path, run.paths.noise / "inference" / name) for name, path in kinds.items()}


def floor(run: Run, target: Contract, first: Mapping[str, Any], second: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Facts of both baselines; of the second one the better checkpoint counts, as it does of the first."""
    from deft_aoi.kpi.gate import rank
    from deft_aoi.kpi.judged import standing

    other = min(second, key=lambda facts: rank(standing(target, facts)))
    far, near = [[facts[name] for facts in (first, other)] for name in ("far_pct", "far_995_pct")]
    return {
        "seeds": [run.plan.seed, run.plan.seed + 1],
        "far_pct": far,
        "far_995_pct": near,
        "difference_pp": abs(far[0] - far[1]),
        "inference_csv": other["inference_csv"],
    }


def of_run(run: Run) -> dict[str, Any] | None:
    """The noise floor that the baseline's evaluation found; None where it was not asked for."""
    for entry in run.entries:
        if entry["iter"] == BASELINE and entry["stage"] == EVALUATE and entry["status"] == "ok":
            found = entry.get("facts", {}).get("noise_floor")
            return dict(found) if found else None
    return None
