"""Stage `anomalygen`: bring synthetic pairs into the run. Pre-generated pairs are staged once and checked each time."""

from __future__ import annotations

from deft_aoi.data.pregen import stage_pregen, verify_pregen
from deft_aoi.executors.base import Task
from deft_aoi.run import Run
from deft_aoi.stages.base import StageResult


def tasks(run: Run, label: str) -> list[Task]:
    return []


def collect(run: Run, label: str) -> StageResult:
    """Raises HardStop where the customer's folder changed since it was staged."""
    if run.plan.synthetic == "off":
        return StageResult("no synthetic source in this run", {"mode": "off", "pairs": 0})
    manifest = run.paths.synth_pool / "manifest.json"
    staged = manifest.is_file()
    if staged:
        record = verify_pregen(run.workspace, run.paths)
    else:
        record = stage_pregen(run.workspace, run.paths, run.optics)
    pairs = int(record["pairs"])
    summary = f"{pairs} pre-generated pairs {'unchanged' if staged else 'staged'}"
    return StageResult(summary, {"mode": run.plan.synthetic, "pairs": pairs}, (manifest,))
