"""What a task needs from TAO's spec, refused in TAO's words where TAO would refuse it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.engine.refusal import TaskError
from deft_aoi.spec.tree import Spec, get, load_spec, override

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_USED = (
    "results_dir", "task", "train.results_dir", "inference.results_dir", "evaluate.results_dir", "train.num_epochs",
    "train.checkpoint_interval", "train.checkpoint_interval_unit", "train.validation_interval", "train.seed",
    "train.pretrained_model_path", "train.resume_training_checkpoint_path", "train.classify.cls_weight",
    "inference.checkpoint", "evaluate.checkpoint", "dataset.classify.batch_size", "dataset.classify.input_map",
    "dataset.classify.image_ext", "dataset.classify.image_width", "dataset.classify.image_height",
)  # fmt: skip
_USED_TREES = tuple(f"dataset.classify.{part}_dataset." for part in ("train", "validation", "test", "infer"))


@dataclass(frozen=True)
class TrainPlan:
    """The numbers of a training run, all checked."""

    epochs: int
    checkpoint_interval: int
    validation_interval: int
    batch_size: int
    cls_weight: tuple[float, float]
    init_from: Path | None


def read_spec(path: Path, assignments: Sequence[str]) -> Spec:
    """Spec with overrides and `${key}` references resolved. Raises TaskError in the words of TAO's schema check."""
    try:
        spec = resolve(override(load_spec(path), assignments))
    except InputError as error:
        raise TaskError(f"Error merging '{path.name}' with schema: {error}") from error
    task = get(spec, "task", "classify")
    if task != "classify":
        raise TaskError(f"task is {task!r}; this engine does 'classify' only")
    return spec


def resolve(spec: Spec) -> Spec:
    """A copy whose `${dotted.key}` texts are replaced by the value there, null where that is null."""

    def value_of(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: value_of(value) for key, value in node.items()}
        if isinstance(node, list):
            return [value_of(value) for value in node]
        if not isinstance(node, str) or "${" not in node:
            return node
        found = {key: get(spec, key) for key in _REFERENCE.findall(node)}
        if any(value is None or "${" in str(value) for value in found.values()):
            return None
        if whole := _REFERENCE.fullmatch(node):
            return found[whole.group(1)]
        return _REFERENCE.sub(lambda match: str(found[match.group(1)]), node)

    resolved: Spec = value_of(spec)
    return resolved


def results_folder(spec: Spec, task: str) -> Path:
    """`<task>.results_dir`, else `<results_dir>/<task>`."""
    own, common = get(spec, f"{task}.results_dir"), get(spec, "results_dir")
    if own:
        return Path(own)
    if common:
        return Path(common) / task
    raise TaskError(f"You need to set at least one of following fields: results_dir, {task}.results_dir")


def train_plan(spec: Spec) -> TrainPlan:
    """Raises TaskError for every combination that TAO refuses at start."""
    epochs = whole_number(spec, "train.num_epochs", 10)
    intervals = {}
    for name in ("checkpoint_interval", "validation_interval"):
        intervals[name] = whole_number(spec, f"train.{name}", 1)
        if intervals[name] > epochs:
            raise TaskError(f"train.{name} ({intervals[name]}) is greater than train.num_epochs ({epochs})")
    logging = get(spec, "train.tensorboard.infrequent_logging_frequency")
    if isinstance(logging, int) and logging > epochs:
        raise TaskError(
            f"train.tensorboard.infrequent_logging_frequency ({logging}) is greater than num_epochs ({epochs})"
        )
    if get(spec, "train.checkpoint_interval_unit", "epoch") != "epoch":
        raise TaskError("train.checkpoint_interval_unit: this engine saves by 'epoch' only")
    if get(spec, "train.resume_training_checkpoint_path"):
        raise TaskError("train.resume_training_checkpoint_path: not resumed by this engine; use pretrained_model_path")
    _check_model(spec)
    batch = whole_number(spec, "dataset.classify.batch_size", 8)
    if batch == 1:
        raise TaskError("dataset.classify.batch_size is 1; training needs at least 2 (batch normalisation)")
    start = get(spec, "train.pretrained_model_path")
    if start and not Path(start).is_file():
        raise TaskError(f"train.pretrained_model_path {start}: no such file")
    return TrainPlan(
        epochs, intervals["checkpoint_interval"], intervals["validation_interval"], batch, class_weights(spec),
        Path(start) if start else None,
    )  # fmt: skip


def class_weights(spec: Spec) -> tuple[float, float]:
    """`train.classify.cls_weight`: weight of PASS and of a defect."""
    found = get(spec, "train.classify.cls_weight", [1.0, 10.0])
    if not isinstance(found, list) or len(found) != 2 or not all(_is_number(w) and w > 0 for w in found):
        raise TaskError(f"train.classify.cls_weight is {found!r}; expected two weights above 0 (num_classes is 2)")
    return float(found[0]), float(found[1])


def _check_model(spec: Spec) -> None:
    """What TAO refuses of a model that this engine does not build, except that its weights need not be here."""
    loss, module = get(spec, "train.classify.loss"), get(spec, "model.classify.difference_module")
    if module == "learnable" and loss not in (None, "ce"):
        raise TaskError(f"model.classify.difference_module 'learnable' needs train.classify.loss 'ce', not {loss!r}")
    if module == "euclidean" and loss == "ce":
        raise TaskError(
            "model.classify.difference_module 'euclidean' needs train.classify.loss 'contrastive', not 'ce'"
        )
    weights = get(spec, "model.backbone.pretrained_backbone_path")
    if get(spec, "model.backbone.freeze_backbone", False) and not weights:
        raise TaskError("model.backbone.freeze_backbone is set but pretrained_backbone_path is not")


def whole_number(spec: Spec, key: str, default: int) -> int:
    value = get(spec, key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TaskError(f"{key} is {value!r}; expected a whole number from 1")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def ignored_keys(spec: Spec, prefix: str = "", also: Sequence[str] = ()) -> list[str]:
    """Dotted keys of the spec that have no meaning here (a network's, a GPU's); `also`: further keys that have."""
    found = []
    for key, value in spec.items():
        name = f"{prefix}{key}"
        if name in _USED or name in also or f"{name}.".startswith(_USED_TREES):
            continue
        if isinstance(value, dict):
            found += ignored_keys(value, f"{name}.", also)
        elif value is not None:
            found.append(name)
    return found
