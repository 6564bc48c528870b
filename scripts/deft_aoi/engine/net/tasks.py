"""Train, inference and evaluate of the net engine: an early-fusion network trained end to end. Needs torch to train."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deft_aoi.base.files import sha256_json
from deft_aoi.base.rows import is_defect
from deft_aoi.engine.engine_choice import RESUME_FILE, torch_missing
from deft_aoi.engine.features.head import probabilities
from deft_aoi.engine.features.tasks import (
    EXPERIMENT,
    LATEST_LINK,
    checkpoint_path,
    dataset,
    metrics,
    point_to,
    training_labels,
    write_scores,
)
from deft_aoi.engine.net.facts import NetFacts
from deft_aoi.engine.net.net_checkpoint import (
    Checkpoint,
    Progress,
    load_checkpoint,
    load_resume,
    save_checkpoint,
    scoring_model,
)
from deft_aoi.engine.net.onnx_net import onnx_logits
from deft_aoi.engine.net.pixels import PixelTable, count_channels, pixel_table
from deft_aoi.engine.net.recipe import ON_CPU, ON_GPU
from deft_aoi.engine.refusal import TaskError
from deft_aoi.engine.status_json import StatusLog
from deft_aoi.engine.task_spec import TrainPlan, class_weights, ignored_keys, train_plan, whole_number
from deft_aoi.spec.tree import Spec, dump_spec, get, optics

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

_BACKBONE = ("pretrained_backbone_path", "freeze_backbone")
_USED = ("dataset.classify.fpratio_sampling", "train.num_gpus", *(f"model.backbone.{name}" for name in _BACKBONE))


@dataclass(frozen=True)
class EpochEnd:
    """What the first process does at the end of an epoch: validate, report, save, decide whether to go on."""

    folder: Path
    plan: TrainPlan
    steps: int
    facts: NetFacts
    held: PixelTable
    defect: npt.NDArray[np.bool_]

    def __call__(self, net: nn.Module, progress: Progress) -> tuple[Progress, bool]:
        from deft_aoi.engine.net.training import net_weights

        plan, done = self.plan, progress.epochs_done
        status = StatusLog(self.folder)
        kpi, progress = self._validate(net, progress, status)
        # Half of the epochs without a better validation: the rest will hardly bring one.
        stop = done < plan.epochs and progress.since_best > max(3, plan.epochs // 2)
        seconds, step = progress.seconds / done, done * self.steps
        report = {
            "epoch": done - 1, "step": step, "max_epoch": plan.epochs - 1, "max_step": plan.epochs * self.steps,
            "time_per_epoch": str(timedelta(seconds=seconds)),
            "time_per_step": str(timedelta(seconds=seconds / self.steps)),
            "eta": str(timedelta(seconds=seconds * (plan.epochs - done))),
        }  # fmt: skip
        status.write("RUNNING", "Training loop in progress", kpi=kpi, progress=report)
        if done % plan.checkpoint_interval == 0 or stop:
            path = self.folder / f"model_epoch_{done - 1:03d}_step_{step:05d}.pth"
            save_checkpoint(path, net_weights(net), self.facts)
            point_to(self.folder / LATEST_LINK, path.name)
        if stop:
            status.write("RUNNING", f"Stopped early: no better validation FAR in {progress.since_best} validations.")
        return replace(progress, status_bytes=status.path.stat().st_size), stop

    def _validate(
        self, net: nn.Module, progress: Progress, status: StatusLog
    ) -> tuple[dict[str, float] | None, Progress]:
        if progress.epochs_done % self.plan.validation_interval:
            return None, progress
        from deft_aoi.engine.net.training import scored

        logits = scored(net, self.held, next(net.parameters()).device)
        if not np.isfinite(logits).all():
            raise TaskError(f"training diverged at epoch {progress.epochs_done}: scores are no numbers")
        kpi = metrics(logits, self.defect, self.plan.cls_weight, "val")
        status.write("RUNNING", "Eval metrics generated.", kpi=kpi)
        reached = (kpi["val_far"], kpi["val_loss"])
        if reached < progress.best:
            return kpi, replace(progress, best=reached, since_best=0)
        return kpi, replace(progress, since_best=progress.since_best + 1)


def train(spec: Spec, where: Path, folder: Path, status: StatusLog) -> None:
    """Train and save a checkpoint with its ONNX every `checkpoint_interval` epochs; goes on where it was killed."""
    if importlib.util.find_spec("torch") is None:
        raise TaskError(torch_missing())
    import torch

    from deft_aoi.engine.net import backbone_net, training

    plan, view = train_plan(spec), optics(spec, where)
    rows, images = dataset(spec, "train", plan.batch_size)
    held_out, held_images = dataset(spec, "validation", plan.batch_size)
    defect = training_labels(rows)
    processes, share = _processes(spec), _defect_share(spec)
    recipe = ON_GPU if torch.cuda.is_available() else ON_CPU
    start = load_checkpoint(plan.init_from, view) if plan.init_from else None
    staged = None if start else _staged(spec)
    if start:
        facts = start.facts
    else:
        backbone = backbone_net.describe(staged, view.height, view.width) if staged else ""
        facts = NetFacts.of(view, count_channels(rows, images, view), recipe.net_width, backbone)
    dump_spec(folder / EXPERIMENT, spec)
    status.write("RUNNING", f"Net engine ignores: {', '.join(ignored_keys(spec, also=_USED)) or 'nothing'}")
    table = _pixels(rows, images, facts, "training rows", status, where, spec)
    held = _pixels(held_out, held_images, facts, "validation rows", status, where, spec)
    fingerprint = sha256_json({"spec": spec, "rows": table.digest, "held": held.digest, "labels": defect.tolist()})
    _begin(folder, status, fingerprint)
    job = training.Job(
        folder, table, defect, facts, recipe, plan.epochs, recipe.images * plan.batch_size, share, plan.cls_weight,
        whole_number(spec, "train.seed", 1234), start.weights if start else None, fingerprint,
        status.path.stat().st_size, staged, bool(get(spec, "model.backbone.freeze_backbone", False)),
    )  # fmt: skip
    end_epoch = EpochEnd(folder, plan, job.steps, facts, held, is_defect(held_out["label"]).to_numpy())
    began = monotonic()
    if processes == 1:
        progress = training.train(job, end_epoch)
        note = f"{progress.epochs_done * job.steps} steps of {job.batch} pairs, {progress.seconds:.1f} s in steps, "
        note += f"{progress.epochs_done * job.steps * job.batch / progress.seconds:.0f} pairs/s"
        if torch.cuda.is_available():
            note += f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB at most on {torch.cuda.get_device_name(0)}"
    else:
        training.spread(job, end_epoch, processes)
        note = f"{processes} processes"
    status.write("RUNNING", f"Trained: {note}, {monotonic() - began:.1f} s with validation")
    print(note, file=sys.stderr)
    for path in (folder / RESUME_FILE, *folder.glob(f".{RESUME_FILE}.*.tmp")):  # a kill leaves the latter
        path.unlink()


def _begin(folder: Path, status: StatusLog, fingerprint: str) -> None:
    """Say that training starts; after a kill, first forget what was reported beyond the state that was kept."""
    kept = load_resume(folder, fingerprint)
    if kept is None:
        status.write("STARTED", "Starting Training Loop.")
        return
    os.truncate(status.path, kept[1].status_bytes)
    status.write("RUNNING", f"Resuming after {kept[1].epochs_done} epochs.")


def _staged(spec: Spec) -> Path | None:
    """The backbone that the spec names; None for the early-fusion network. Raises TaskError where it is not there."""
    named = get(spec, "model.backbone.pretrained_backbone_path")
    if not named:
        return None
    path = Path(str(named))
    if not path.exists():
        raise TaskError(f"model.backbone.pretrained_backbone_path {path}: no such file or folder; null trains without")
    return path


def _processes(spec: Spec) -> int:
    import torch

    asked = whole_number(spec, "train.num_gpus", 1)
    if torch.cuda.is_available() and asked > torch.cuda.device_count():
        raise TaskError(f"train.num_gpus is {asked}, but this machine has {torch.cuda.device_count()}; lower it")
    return asked


def _defect_share(spec: Spec) -> float:
    share = get(spec, "dataset.classify.fpratio_sampling", 0.1)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise TaskError(f"dataset.classify.fpratio_sampling is {share!r}; expected a share between 0 and 1")
    return float(share)


def inference(spec: Spec, where: Path, folder: Path, status: StatusLog) -> None:
    """Score the rows of `infer_dataset`: the input CSV with a column `siamese_score`."""
    rows, _, logits = _score(spec, where, "inference", "infer", status)
    dump_spec(folder / EXPERIMENT, spec)
    write_scores(folder / "inference.csv", rows, probabilities(logits).astype(np.float32))


def evaluate(spec: Spec, where: Path, folder: Path, status: StatusLog) -> None:
    """Metrics of the rows of `test_dataset` in status.json, and in TAO's names on stdout."""
    rows, _, logits = _score(spec, where, "evaluate", "test", status)
    dump_spec(folder / EXPERIMENT, spec)
    kpi = metrics(logits, is_defect(rows["label"]).to_numpy(), class_weights(spec), "val")
    status.write("RUNNING", "Eval metrics generated.", kpi=kpi)
    print(" ".join(f"{name}={value:.6g}" for name, value in kpi.items()))


def _score(
    spec: Spec, where: Path, task: str, name: str, status: StatusLog
) -> tuple[pd.DataFrame, Checkpoint, npt.NDArray[np.float64]]:
    checkpoint = load_checkpoint(checkpoint_path(spec, task), optics(spec, where))
    rows, images = dataset(spec, name, whole_number(spec, "dataset.classify.batch_size", 8))
    table = _pixels(rows, images, checkpoint.facts, f"{task} rows", status, where, spec)
    began = monotonic()
    logits, how = logits_by_best_means(checkpoint, table)
    status.write("RUNNING", f"{len(rows)} rows scored by {how} in {monotonic() - began:.2f} s")
    return rows, checkpoint, logits


def logits_by_best_means(checkpoint: Checkpoint, table: PixelTable) -> tuple[npt.NDArray[np.float64], str]:
    """(n,) logits and what computed them: torch on a GPU, else the ONNX next to the checkpoint on the CPU."""
    torch_here = importlib.util.find_spec("torch") is not None
    if torch_here:
        import torch

        if torch.cuda.is_available() or not checkpoint.onnx.is_file():
            return torch_logits(checkpoint, table), "torch on GPU" if torch.cuda.is_available() else "torch on CPU"
    if not checkpoint.onnx.is_file():
        raise TaskError(f"{checkpoint.onnx}: no such file, and without it scoring needs torch; {torch_missing()}")
    model = scoring_model(checkpoint)
    return onnx_logits(checkpoint.onnx, model, checkpoint.digest, table), "ONNX Runtime on CPU"


def torch_logits(checkpoint: Checkpoint, table: PixelTable) -> npt.NDArray[np.float64]:
    """(n,) logits by torch in float32, on a GPU where there is one."""
    import torch

    from deft_aoi.engine.net.model import make_net
    from deft_aoi.engine.net.training import device_for, prepare, scored

    prepare(0)
    net = make_net(checkpoint.facts)
    net.load_state_dict({name: torch.from_numpy(value) for name, value in checkpoint.weights.items()})
    net.to(device_for(0), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return scored(net, table, device_for(0))


def _pixels(
    rows: pd.DataFrame, images: Path, facts: NetFacts, what: str, status: StatusLog, where: Path, spec: Spec
) -> PixelTable:
    """Pixels of the rows; how many came from the cache goes to status.json and stderr."""
    began = monotonic()
    table = pixel_table(rows, images, optics(spec, where), facts.channels, what)
    pairs = len(rows) * len(facts.lights)
    note = f"{what}: {len(rows)}, {pairs} pairs, {table.hits} from cache, {monotonic() - began:.1f} s"
    status.write("RUNNING", note)
    print(note, file=sys.stderr)
    return table
