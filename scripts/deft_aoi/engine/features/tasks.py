"""Train, inference and evaluate of the features engine: from a checked spec to TAO's files."""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deft_aoi.base.rows import SCORE, is_defect, read_rows, write_rows
from deft_aoi.engine.features.checkpoint import load_checkpoint, save_checkpoint
from deft_aoi.engine.features.head import Head, carry_over, cross_entropy, fit, row_weights, start_head
from deft_aoi.engine.features.table import PairTable, feature_table
from deft_aoi.engine.refusal import TaskError
from deft_aoi.engine.status_json import StatusLog
from deft_aoi.engine.task_spec import TrainPlan, class_weights, ignored_keys, train_plan, whole_number
from deft_aoi.spec.tree import Optics, Spec, dump_spec, get, optics

if TYPE_CHECKING:
    import pandas as pd

LATEST_LINK = "changenet_model_classify_latest.pth"
EXPERIMENT = "experiment.yaml"


def train(spec: Spec, where: Path, folder: Path, status: StatusLog) -> None:
    """Fit the head and save a checkpoint every `checkpoint_interval` epochs."""
    plan, view = train_plan(spec), optics(spec, where)
    rows, images = dataset(spec, "train", plan.batch_size)
    held_out, held_images = dataset(spec, "validation", plan.batch_size)
    defect = training_labels(rows)
    start = load_checkpoint(plan.init_from, view) if plan.init_from else None
    dump_spec(folder / EXPERIMENT, spec)
    status.write("RUNNING", f"Features engine ignores: {', '.join(ignored_keys(spec)) or 'nothing'}")
    table = measured(rows, images, view, "training rows", status)
    held_table = measured(held_out, held_images, view, "validation rows", status)
    status.write("STARTED", "Starting Training Loop.")
    head = start_head(view.lights, table.values, defect)
    began = monotonic()
    heads = fit(
        carry_over(start, head) if start else head,
        table.values,
        defect,
        epochs=plan.epochs,
        cls_weight=plan.cls_weight,
    )
    seconds = (monotonic() - began) / plan.epochs
    held_defect = is_defect(held_out["label"]).to_numpy()
    for epoch, head in enumerate(heads):
        kpi = metrics(head.logits(held_table.values), held_defect, plan.cls_weight, "val")
        _finish_epoch(epoch, head, kpi, plan, len(rows), view, folder, status, seconds)


def training_labels(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which rows are defects. Raises TaskError where one of the classes is empty."""
    defect = is_defect(rows["label"]).to_numpy()
    if not defect.any():
        raise TaskError(f"training set has no defect among its {len(rows)} rows (TAO: ZeroDivisionError); add some")
    if defect.all():
        raise TaskError("training set has no row labelled PASS (TAO: invalid multinomial distribution)")
    return np.asarray(defect, np.bool_)


def _finish_epoch(
    epoch: int, head: Head, kpi: dict[str, float], plan: TrainPlan, rows: int, view: Optics, folder: Path,
    status: StatusLog, seconds: float,
) -> None:  # fmt: skip
    """Report one epoch and save its checkpoint where one is due."""
    per_epoch = rows // plan.batch_size
    step = (epoch + 1) * per_epoch
    if (epoch + 1) % plan.validation_interval == 0:
        status.write("RUNNING", "Eval metrics generated.", kpi=kpi)
    progress = {
        "epoch": epoch,
        "step": step,
        "max_epoch": plan.epochs - 1,
        "max_step": plan.epochs * per_epoch,
        "time_per_epoch": str(timedelta(seconds=seconds)),
        "time_per_step": str(timedelta(seconds=seconds / per_epoch)),
        "eta": str(timedelta(seconds=seconds * (plan.epochs - epoch - 1))),
    }
    status.write("RUNNING", "Training loop in progress", kpi=kpi, progress=progress)
    if (epoch + 1) % plan.checkpoint_interval == 0:
        path = folder / f"model_epoch_{epoch:03d}_step_{step:05d}.pth"
        save_checkpoint(path, head, view)
        point_to(folder / LATEST_LINK, path.name)


def inference(spec: Spec, where: Path, folder: Path, status: StatusLog) -> None:
    """Score the rows of `infer_dataset`: the input CSV with a column `siamese_score`."""
    view, batch = optics(spec, where), whole_number(spec, "dataset.classify.batch_size", 8)
    head = load_checkpoint(checkpoint_path(spec, "inference"), view)
    rows, images = dataset(spec, "infer", batch)
    table = measured(rows, images, view, "inference rows", status)
    dump_spec(folder / EXPERIMENT, spec)
    write_scores(folder / "inference.csv", rows, head.scores(table.values))


def evaluate(spec: Spec, where: Path, folder: Path, status: StatusLog) -> None:
    """Metrics of the rows of `test_dataset` in status.json, and in TAO's names on stdout."""
    view, batch = optics(spec, where), whole_number(spec, "dataset.classify.batch_size", 8)
    head = load_checkpoint(checkpoint_path(spec, "evaluate"), view)
    rows, images = dataset(spec, "test", batch)
    table = measured(rows, images, view, "test rows", status)
    dump_spec(folder / EXPERIMENT, spec)
    kpi = metrics(head.logits(table.values), is_defect(rows["label"]).to_numpy(), class_weights(spec), "val")
    status.write("RUNNING", "Eval metrics generated.", kpi=kpi)
    print(" ".join(f"{name}={value:.6g}" for name, value in kpi.items()))


def checkpoint_path(spec: Spec, task: str) -> Path:
    path = get(spec, f"{task}.checkpoint")
    if not path:
        raise TaskError(f"{task}.checkpoint is not set; expected the path of a model_epoch_*.pth")
    return Path(path)


def dataset(spec: Spec, name: str, batch_size: int) -> tuple[pd.DataFrame, Path]:
    """Rows and images folder of one data set. Raises TaskError where TAO's loader would stop."""
    csv, images = (get(spec, f"dataset.classify.{name}_dataset.{key}") for key in ("csv_path", "images_dir"))
    if not csv or not images:
        raise TaskError(f"dataset.classify.{name}_dataset: csv_path and images_dir must both be set")
    rows = read_rows(Path(csv))
    if len(rows) < batch_size:
        raise TaskError(f"{csv}: Dataset size ({len(rows)}) is smaller than the total batch size ({batch_size})")
    for column in ("input_path", "golden_path", "object_name"):
        blank = rows[column].str.startswith((" ", "\t"))
        if blank.any():
            line = int(blank.to_numpy().argmax()) + 2
            raise TaskError(f"{csv}, line {line}: {column} begins with a blank; remove it")
    return rows, Path(images)


def measured(rows: pd.DataFrame, images: Path, view: Optics, what: str, status: StatusLog) -> PairTable:
    """Features of the rows; how many came from the cache goes to status.json and stderr."""
    began = monotonic()
    table = feature_table(rows, images, view, what)
    pairs = len(rows) * len(view.lights)
    note = f"{what}: {len(rows)}, {pairs} pairs, {table.hits} from cache, {monotonic() - began:.1f} s"
    status.write("RUNNING", note)
    print(note, file=sys.stderr)
    return table


def metrics(
    logits: npt.NDArray[np.float64], defect: npt.NDArray[np.bool_], cls_weight: tuple[float, float], stem: str
) -> dict[str, float]:
    """TAO's validation figures: loss; accuracy and false alarms at one half, FAR at full recall, in percent."""
    wrong = (logits > 0) != defect
    passes = ~defect
    lowest = logits[defect].min() if defect.any() else np.inf
    return {
        f"{stem}_loss": cross_entropy(logits, defect, row_weights(defect, cls_weight)),
        f"{stem}_acc": 100 * float((~wrong).mean()),
        f"{stem}_fpr": 100 * float(wrong[passes].mean()) if passes.any() else 0.0,
        f"{stem}_far": 100 * float((logits[passes] >= lowest).mean()) if passes.any() else 0.0,
    }


def write_scores(path: Path, rows: pd.DataFrame, scores: npt.NDArray[np.float32]) -> None:
    """The rows as they came, an old score column replaced; the text of each float32 reads back as the same number."""
    scored = rows.drop(columns=SCORE, errors="ignore").assign(**{SCORE: [str(score) for score in scores]})
    write_rows(path, scored)


def point_to(link: Path, name: str) -> None:
    """Make or replace a symbolic link in one step."""
    fresh = link.with_name(f".{link.name}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    fresh.symlink_to(name)
    os.replace(fresh, link)
