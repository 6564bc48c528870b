"""The spec of one task, derived from the user's: own results folder, absolute paths, intervals that TAO accepts."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path

from deft_aoi.base.paths import BASELINE
from deft_aoi.engine.engine_choice import FEATURES, NET
from deft_aoi.executors.platform_choice import ELSEWHERE, LOCAL, ONE_MACHINE
from deft_aoi.record.run import Run
from deft_aoi.spec.tree import DATASETS, Spec, dump_spec, get, put
from deft_aoi.weights.backbone import WEIGHT_SUFFIXES

BEST_FAR = {"enable_topk": True, "monitor": "val_far", "mode": "min", "save_top_k": 1}
_CHECKPOINTER_SINCE = (7, 3)
_TAO_LOGGING = 2


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


def named_backbone(run_engine: str, folder: Path, named: object) -> Path | None:
    """The staged file that the spec names (a container's path counts by its file name), else what is staged."""
    file = folder / Path(str(named)).name
    if run_engine != FEATURES and file.is_file():
        return file
    return staged_backbone(run_engine, folder)


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
    put(spec, "train.num_epochs", run.plan.num_epochs)
    use_gpus(run, spec, "train", run.plan.num_gpus)
    if named := get(spec, "model.backbone.pretrained_backbone_path"):
        weights = named_backbone(run.plan.engine, run.workspace.backbone_dir, named)
        put(spec, "model.backbone.pretrained_backbone_path", str(weights) if weights else None)
    return spec


def use_gpus(run: Run, spec: Spec, task: str, count: int) -> None:
    """TAO takes the larger of num_gpus and the number of gpu_ids, so both must say the same.

    The user's gpu_ids name devices of the host. Who gets some of them only sees these as 0, 1, ...
    """
    put(spec, f"{task}.num_gpus", count)
    asked = get(spec, f"{task}.gpu_ids") or get(spec, "train.gpu_ids") or [0]
    whole = sees_all_gpus(run.plan.platform, run.plan.settings) and len(asked) >= count
    ids = asked[:count] if whole else list(range(count))
    if ids != get(spec, f"{task}.gpu_ids", [0]):
        put(spec, f"{task}.gpu_ids", ids)


def sees_all_gpus(platform: str, settings: Mapping[str, str]) -> bool:
    """Whether a task sees every GPU of its machine under the machine's own numbers."""
    return platform in (LOCAL, "virtualenv", ELSEWHERE) or (
        platform in ONE_MACHINE and settings.get("gpus", "all") == "all"
    )


def train_spec(
    run: Run,
    label: str,
    init_from: str | None,
    *,
    name: str = "train",
    output: Path | None = None,
    seed: int | None = None,
) -> Path:
    """Write the training spec and return its path; `name`, `output` and `seed` where it is not the usual training."""
    spec = training_tree(run, label, init_from, output or run.paths.train(label))
    if seed is not None:
        put(spec, "train.seed", seed)
    return _write(run, label, name, spec)


def training_tree(run: Run, label: str, init_from: str | None, output: Path) -> Spec:
    """The spec of one training: intervals that TAO accepts, the checkpoint that it starts from, its own folder."""
    spec = task_spec(run, label)
    epochs = run.plan.num_epochs
    for key in ("train.checkpoint_interval", "train.validation_interval"):
        put(spec, key, dividing_interval(int(get(spec, key, 1)), epochs))
    # TAO refuses more than the epochs, and its default (2) counts where the spec says nothing.
    logging = int(get(spec, "train.tensorboard.infrequent_logging_frequency", _TAO_LOGGING))
    put(spec, "train.tensorboard.infrequent_logging_frequency", min(logging, epochs))
    if not get(spec, "train.checkpointer") and keeps_best_far(run.plan.tao):
        put(spec, "train.checkpointer", dict(BEST_FAR))
    put(spec, "train.results_dir", str(output))
    put(spec, "train.pretrained_model_path", init_from)
    put(spec, "train.resume_training_checkpoint_path", None)
    return spec


def keeps_best_far(tao: str) -> bool:
    """Whether this version of TAO can keep the checkpoint of the lowest validation FAR; unknown versions cannot."""
    return version_tuple(tao) >= _CHECKPOINTER_SINCE


def version_tuple(text: str) -> tuple[int, ...]:
    """`7.3.0` as (7, 3, 0), empty where nothing is known."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def inference_spec(
    run: Run, label: str, kind: str, checkpoint: str, *, csv: Path | None = None, output: Path | None = None
) -> Path:
    """Write the spec that scores the KPI rows (or those of `csv`) with one checkpoint and return its path."""
    spec = task_spec(run, label)
    if csv is not None:
        put(spec, "dataset.classify.infer_dataset.csv_path", str(csv))
    put(spec, "inference.checkpoint", checkpoint)
    put(spec, "inference.results_dir", str(output or run.paths.inference(label, kind)))
    use_gpus(run, spec, "inference", 1)  # several would give the rows back in another order
    return _write(run, label, f"inference_{kind}", spec)


def dividing_interval(interval: int, epochs: int) -> int:
    """Largest interval <= the asked one that divides `epochs`: TAO loses the last epoch otherwise."""
    return next(n for n in range(min(max(interval, 1), epochs), 0, -1) if epochs % n == 0)


def without_nulls(spec: Spec) -> Spec:
    """A copy without null values: TAO takes null only for some keys, and leaving a key out means the same."""
    kept = {key: without_nulls(value) if isinstance(value, dict) else value for key, value in spec.items()}
    return {key: value for key, value in kept.items() if value is not None}


def _write(run: Run, label: str, name: str, spec: Spec) -> Path:
    path = run.paths.folder(label) / "specs" / f"{name}.yaml"
    dump_spec(path, without_nulls(spec))
    return path
