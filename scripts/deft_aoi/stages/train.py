"""Stage `train`: fine-tune from the best model so far on the rows of this iteration."""

from __future__ import annotations

import re
from pathlib import Path

from deft_aoi.base.errors import HardStop
from deft_aoi.base.paths import BASELINE
from deft_aoi.base.rows import is_defect, read_rows
from deft_aoi.engine.engine_choice import NET, RESUME_FILE
from deft_aoi.executors.base import TAO_PYT, Task
from deft_aoi.executors.tao_status import validation_metrics
from deft_aoi.record.facts import Trained
from deft_aoi.record.run import Run
from deft_aoi.spec.tree import get, load_spec
from deft_aoi.stages import own_model
from deft_aoi.stages.stage import StageResult
from deft_aoi.stages.task_specs import train_spec

LATEST_LINK = "changenet_model_classify_latest.pth"
FINISHED = "Train finished successfully."
_CHECKPOINT = re.compile(r"model_epoch_(\d+)_step_(\d+)\.pth")
_BEST = re.compile(r"model_best_(\d+)\.pth")


def tasks(run: Run, label: str) -> list[Task]:
    if own_model.brings_model(run.plan, label):
        return []
    spec = train_spec(run, label, initial_weights(run, label))
    todo = [train_task(run, "train", spec, run.paths.train(label))]
    if label == BASELINE and run.plan.noise_floor:
        again = run.paths.noise / "train"
        spec = train_spec(run, label, None, name="noise_train", output=again, seed=run.plan.seed + 1)
        todo.append(train_task(run, "noise", spec, again))
    return todo


def train_task(run: Run, name: str, spec: Path, output: Path) -> Task:
    """One training by a spec into its own folder."""
    command = ("visual_changenet", "train", "-e", str(spec))
    resume = output / RESUME_FILE if run.plan.engine == NET else None
    nodes = int(get(load_spec(spec), "train.num_nodes", 1))
    return Task(
        name, command, output, expects=(output / LATEST_LINK,), finished=FINISHED, resume=resume,
        image=TAO_PYT, gpus=run.plan.num_gpus, nodes=nodes,
    )  # fmt: skip


def collect(run: Run, label: str) -> StageResult:
    if own_model.brings_model(run.plan, label):
        return own_model.collect(run, label)
    folder = run.paths.train(label)
    spec_path = run.paths.folder(label) / "specs/train.yaml"
    interval = int(get(load_spec(spec_path), "train.validation_interval", 1))
    best, val_loss = best_checkpoint(folder, interval)
    latest = (folder / LATEST_LINK).resolve()
    csv = run.training_csv(label)
    rows = read_rows(csv)
    start = initial_weights(run, label)
    facts = Trained(
        rows=len(rows),
        defects=int(is_defect(rows["label"]).sum()),
        engine=run.plan.engine,
        seed=run.plan.seed,
        epochs=run.plan.num_epochs,
        val_loss=val_loss,
        checkpoints={"best_val": run.paths.relative(best), "latest": run.paths.relative(latest)},
        spec=run.paths.relative(spec_path),
        training_csv=csv,
        init_from=Path(start) if start else None,
    )
    counts = f"{len(rows)} rows ({facts.defects} defects)"
    summary = f"trained on {counts}, {run.plan.num_epochs} epochs, val_loss {val_loss:.4f}"
    return StageResult(summary, facts, tuple(dict.fromkeys((spec_path, best, latest))))


def initial_weights(run: Run, label: str) -> str | None:
    """Checkpoint to start from: the best model so far; None for the baseline."""
    return None if label == BASELINE else str(run.champion()[1].best_ckpt_path)


def best_checkpoint(folder: Path, validation_interval: int) -> tuple[Path, float]:
    """(checkpoint, val_loss) of the lowest validation loss among the saved epochs; the earliest of equals.

    Where TAO keeps the epoch of the lowest validation FAR (`model_best_*.pth`, from 7.3 on), FAR comes
    before loss. Raises HardStop when the training left no new checkpoint (TAO says PASS after zero steps).
    """
    kpis = {(i + 1) * validation_interval - 1: kpi for i, kpi in enumerate(validation_metrics(folder))}
    saved = {path: int(m[1]) for path in folder.iterdir() if (m := _CHECKPOINT.fullmatch(path.name))}
    best = {path: int(m[1]) for path in folder.iterdir() if (m := _BEST.fullmatch(path.name))}
    by_far = any("val_far" in kpis.get(epoch, {}) for epoch in best.values())
    scored = sorted(
        # The periodic file goes before the same epoch's best file: it may be the latest, which is scored anyway.
        (kpis[epoch]["val_far"] if by_far else 0.0, kpis[epoch]["val_loss"], epoch, path in best, path)
        for path, epoch in (saved | best).items()
        if epoch in kpis
    )
    if not scored:
        raise HardStop(
            "no_checkpoint",
            f"training finished without a checkpoint that was validated (saved epochs {sorted(saved.values())})",
            evidence=str(folder / "status.json"),
            remedy="compare checkpoint_interval, validation_interval and num_epochs, then: deft resolve --reason TEXT",
        )
    _, loss, _, _, path = scored[0]
    return path, loss
