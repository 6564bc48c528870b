"""The spec of one task, derived from the user's: own results folder, absolute paths, intervals that TAO accepts."""

from __future__ import annotations

import copy
from pathlib import Path

from deft_aoi.data.backbone import WEIGHT_SUFFIXES
from deft_aoi.engine.choice import FEATURES, NET
from deft_aoi.experiment import DATASETS, Spec, dump_spec, get, put
from deft_aoi.paths import BASELINE
from deft_aoi.run import Run


def backbone_file(folder: Path) -> Path | None:
    """First staged backbone weight by suffix order (.pth, .ckpt, .safetensors), then by name."""
    for suffix in WEIGHT_SUFFIXES:
        if found := sorted(folder.glob(f"*{suffix}")):
            return found[0]
    return None


def staged_backbone(run_engine: str, folder: Path) -> Path | None:
    """What the spec's backbone path becomes: a weight file, for the net engine also a folder of transformers.

    None for the features engine, which brings its own trunk, and where nothing is staged.
    """
    if run_engine == FEATURES:
        return None
    models = sorted(path.parent for path in folder.glob("*/config.json")) if run_engine == NET else []
    return backbone_file(folder) or next(iter(models), None)


def task_spec(run: Run, label: str) -> Spec:
    """What all tasks of an iteration share: data, seed, sizes; dataset paths are absolute.

    Only the training images' folder moves to the workspace root from iteration 1 on: combined rows carry their folder.
    """
    spec = copy.deepcopy(run.spec)
    for key in ("automl_policy", "workflow"):
        spec.pop(key, None)
    put(spec, "results_dir", str(run.paths.folder(label)))
    csvs = dict(
        zip(
            DATASETS, (run.training_csv(label), run.workspace.validation_csv, *[run.workspace.kpi_csv] * 2), strict=True
        )
    )
    for name, csv in csvs.items():
        moved = name == "train_dataset" and label != BASELINE
        put(spec, f"dataset.classify.{name}.csv_path", str(csv))
        put(spec, f"dataset.classify.{name}.images_dir", str(run.workspace.root if moved else run.workspace.images))
    put(spec, "dataset.classify.batch_size", run.plan.batch_size)
    put(spec, "train.seed", run.plan.seed)
    put(spec, "train.num_gpus", run.plan.num_gpus)
    put(spec, "train.num_epochs", run.plan.num_epochs)
    if get(spec, "model.backbone.pretrained_backbone_path"):
        weights = staged_backbone(run.plan.engine, run.workspace.backbone_dir)
        put(spec, "model.backbone.pretrained_backbone_path", str(weights) if weights else None)
    return spec


def train_spec(run: Run, label: str, init_from: str | None) -> Path:
    """Write the training spec and return its path."""
    spec = task_spec(run, label)
    epochs = run.plan.num_epochs
    for name in ("checkpoint_interval", "validation_interval"):
        put(spec, f"train.{name}", dividing_interval(int(get(spec, f"train.{name}", 1)), epochs))
    if get(spec, "train.tensorboard.infrequent_logging_frequency"):
        frequency = int(get(spec, "train.tensorboard.infrequent_logging_frequency"))
        put(spec, "train.tensorboard.infrequent_logging_frequency", min(frequency, epochs))
    put(spec, "train.results_dir", str(run.paths.train(label)))
    put(spec, "train.pretrained_model_path", init_from)
    put(spec, "train.resume_training_checkpoint_path", None)
    return _write(run, label, "train", spec)


def inference_spec(run: Run, label: str, kind: str, checkpoint: str) -> Path:
    """Write the spec that scores the KPI rows with one checkpoint and return its path."""
    spec = task_spec(run, label)
    put(spec, "inference.checkpoint", checkpoint)
    put(spec, "inference.results_dir", str(run.paths.inference(label, kind)))
    return _write(run, label, f"inference_{kind}", spec)


def dividing_interval(interval: int, epochs: int) -> int:
    """Largest interval <= the asked one that divides `epochs`: TAO loses the last epoch otherwise."""
    return next(n for n in range(min(max(interval, 1), epochs), 0, -1) if epochs % n == 0)


def _write(run: Run, label: str, name: str, spec: Spec) -> Path:
    path = run.paths.folder(label) / "specs" / f"{name}.yaml"
    dump_spec(path, spec)
    return path
