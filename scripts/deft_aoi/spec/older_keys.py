"""Keys of older TAO specs, and what takes their place: following "remove it" would silently change the model."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.base.safe_paths import shown
from deft_aoi.base.safe_yaml import read_yaml

KEYS_FILE: Path = SKILL_ROOT / "specs/experiment_keys.yaml"
# Of TAO 4.0 to 5.5 (Optical Inspection and Visual ChangeNet), by the end of the dotted key: what takes the value.
RENAMED = {
    "val_interval": "train.validation_interval",
    "validation_freq": "train.validation_interval",
    "eval_interval": "train.validation_interval",
    "ckpt_interval": "train.checkpoint_interval",
    "checkpoint_freq": "train.checkpoint_interval",
    "save_interval": "train.checkpoint_interval",
    "max_epochs": "train.num_epochs",
    "epochs": "train.num_epochs",
    "n_epochs": "train.num_epochs",
    "randomseed": "train.seed",
    "random_seed": "train.seed",
    "manual_seed": "train.seed",
    "gpus": "train.num_gpus",
    "nodes": "train.num_nodes",
    "resume_checkpoint_path": "train.resume_training_checkpoint_path",
    "pretrained_path": "train.pretrained_model_path",
    "pretrained_model": "train.pretrained_model_path",
    "fp_ratio_sampling": "dataset.classify.fpratio_sampling",
    "lighting": "dataset.classify.input_map",
    "lights": "dataset.classify.input_map",
    "num_lights": "dataset.classify.num_input",
    "ext": "dataset.classify.image_ext",
    "image_extension": "dataset.classify.image_ext",
    "num_workers": "dataset.classify.workers",
    "margin": "model.classify.train_margin_euclid",
    "margin_train": "model.classify.train_margin_euclid",
    "margin_eval": "model.classify.eval_margin",
    "embedding_dim": "model.classify.embedding_vectors",
    "learning_rate": "train.optim.lr",
    "lr_policy": "train.optim.policy",
    "optimizer": "train.optim.optim",
}
SIDES = ("dataset.classify.image_width", "dataset.classify.image_height")
_SHAPES = ("output_shape", "image_size", "img_size", "input_shape", "output_size", "resolution")


def successor(spec: Mapping[str, Any], key: str) -> str:
    """What to do about a key that TAO does not know: the successor with the value to write, a key that is spelt nearly
    the same, or its removal."""
    value = _value(spec, key)
    last = key.rpartition(".")[2]
    if last in _SHAPES:
        return _sides(value)
    leaves = list(_leaves(read_yaml(KEYS_FILE)))
    if last in RENAMED:
        return f"TAO now names it {RENAMED[last]}: write {RENAMED[last]}: {shown(value)}"
    same = [leaf for leaf in leaves if leaf.rpartition(".")[2] == last and leaf != key]
    if len(same) > 1:  # the one below the same part of the spec
        same = [leaf for leaf in same if leaf.partition(".")[0] == key.partition(".")[0]] or same
        same = [leaf for leaf in same if ".classify." in leaf] or same
    near = same[:1] or difflib.get_close_matches(key, leaves, 1, 0.88)
    if near and not isinstance(value, Mapping):
        return f"is {near[0]} meant? Write {near[0]}: {shown(value)}"
    return "remove it, if nothing of it is needed: its value has no effect here"


def _sides(value: Any) -> str:
    """The two keys that took the place of a shape (height, width, or the other way, with or without channels)."""
    sides = [value, value] if type(value) is int else [n for n in value if type(n) is int] if _listed(value) else []
    sides = [side for side in sides if side > 4]  # no channels
    if len(sides) == 1:
        sides *= 2
    if len(sides) != 2:
        return f"write {SIDES[0]} and {SIDES[1]} in its place"
    height, width = sides
    return f"write {SIDES[0]}: {width} and {SIDES[1]}: {height} in its place, else both are 224"


def _listed(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _value(spec: Mapping[str, Any], key: str) -> Any:
    node: Any = spec
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
