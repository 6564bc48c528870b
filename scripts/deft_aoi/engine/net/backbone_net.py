"""Staged backbones of the net engine: a Vision Transformer on test and golden, their tokens compared. Needs torch.

Two kinds of local files, no network and no code from either: a folder of the `transformers` library (DINOv2, DINOv3,
SigLIP: config.json and model.safetensors), and C-RADIOv2's safetensors file (`net_radio`).
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from deft_aoi.engine.net.facts import NetFacts, Tensors
from deft_aoi.engine.net.inputs import fuse, views
from deft_aoi.engine.net.radio import Radio, radio_facts, radio_weights
from deft_aoi.engine.refusal import TaskError

RADIO = "radio"
# model_type of config.json: class and configuration in transformers, where the vision part of a larger one lies.
KINDS = {
    "dinov2": ("Dinov2Model", "Dinov2Config", None),
    "dinov3_vit": ("DINOv3ViTModel", "DINOv3ViTConfig", None),
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", "vision_config"),
    "siglip_vision_model": ("SiglipVisionModel", "SiglipVisionConfig", None),
}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, where the files name no other
_DROPOUT = 0.2
_FILE = "model.safetensors"


def describe(path: Path, height: int, width: int) -> str:
    """What `path` holds, as JSON for a checkpoint's metadata: kind, sizes, normalisation. Weights are not read.

    Raises TaskError where it cannot be used for images of this size, with what was found and expected.
    """
    found = _radio(path) if path.is_file() else _folder(path)
    patch = int(found["patch"])
    if height % patch or width % patch:
        raise TaskError(
            f"{path}: patches of {patch} pixels do not divide images of {width} x {height}; change the spec"
        )
    if found["kind"].startswith("siglip") and height != width:
        raise TaskError(f"{path}: SigLIP takes square images; the spec says {width} x {height}")
    return json.dumps(found, sort_keys=True)


def _radio(path: Path) -> dict[str, Any]:
    if path.suffix != ".safetensors":
        raise TaskError(f"{path}: the net engine reads safetensors only (a pickle can run code); stage that file")
    try:
        with safe_open(path, "numpy") as opened:
            return {"kind": RADIO, "mean": _MEAN, "std": _STD, **radio_facts(opened, path)}
    except (SafetensorError, OSError) as error:
        raise TaskError(f"{path}: not a safetensors file: {error}") from error


def _folder(path: Path) -> dict[str, Any]:
    config = _object(path / "config.json", required=True)
    kind = str(config.get("model_type"))
    if kind not in KINDS:
        raise TaskError(f"{path}/config.json: model_type {kind!r}; the net engine knows {', '.join(KINDS)}")
    if not (path / _FILE).is_file():
        raise TaskError(f"{path}: no {_FILE}; the net engine reads one safetensors file (a pickle can run code)")
    part = KINDS[kind][2]
    vision = dict(config.get(part) or {}) if part else config
    vision.pop("auto_map", None)  # names remote code; none is ever run
    prepared = _object(path / "preprocessor_config.json", required=False)
    mean, std = prepared.get("image_mean") or _MEAN, prepared.get("image_std") or _STD
    patch = int(vision.get("patch_size") or 16)
    return {"kind": kind, "config": vision, "patch": patch, "mean": list(mean), "std": list(std)}


def _object(path: Path, *, required: bool) -> dict[str, Any]:
    if not path.is_file() and not required:
        return {}
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TaskError(f"{path}: expected the JSON of a staged backbone: {error}") from error
    return value


class Trunk(nn.Module):
    """A model of transformers as (n, 3, h, w) to (n, c, h/patch, w/patch)."""

    def __init__(self, found: Mapping[str, Any], height: int, width: int) -> None:
        super().__init__()
        library = _transformers()
        model, config, _ = KINDS[found["kind"]]
        # Eager attention is plain matrix products: deterministic, and exported as such. At this image size nothing is
        # interpolated in a step: the position embedding is brought to size when the weights are read.
        settings = {**found["config"], "image_size": height if height == width else [height, width]}
        self.model = getattr(library, model)(getattr(library, config)(**settings, attn_implementation="eager"))
        self.grid = (height // found["patch"], width // found["patch"])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.model(x).last_hidden_state
        patches = tokens[:, tokens.shape[1] - self.grid[0] * self.grid[1] :]  # after class and register tokens
        return patches.transpose(1, 2).unflatten(2, self.grid)


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise TaskError(
            "a backbone of transformers needs that package; type: export DEFT_EXTRAS=net,backbones (the next deft call "
            "installs it)"
        ) from error


class BackboneNet(nn.Module):
    """(n, 3 x planes, h, w) as `fuse` makes it, to (n,) logits: distances of tokens, max and mean, one number."""

    mean: Tensor
    std: Tensor

    def __init__(self, facts: NetFacts, *, frozen: bool = False) -> None:
        super().__init__()
        found = json.loads(facts.backbone)
        self.lights, self.channels, self.frozen = len(facts.lights), facts.channels, frozen
        make = Radio if found["kind"] == RADIO else Trunk
        self.trunk: nn.Module = make(found, facts.height, facts.width)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(found[name]).view(1, 3, 1, 1), persistent=False)
        with torch.no_grad():
            size = self.trunk(torch.zeros(1, 3, facts.height, facts.width)).shape[1]
        self.drop = nn.Dropout(_DROPOUT)
        self.head = nn.Linear(2 * size * self.lights, 1)
        self.trunk.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> BackboneNet:
        super().train(mode)
        if self.frozen:
            self.trunk.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        planes = self.lights * self.channels
        pair = x[:, : 2 * planes].unflatten(1, (2 * self.lights, self.channels))
        images = pair.expand(-1, -1, 3, -1, -1).flatten(0, 1)  # grey as three equal channels
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            tokens = self.trunk((images - self.mean) / self.std).unflatten(0, (-1, 2 * self.lights))
        apart = (tokens[:, : self.lights] - tokens[:, self.lights :]).abs().flatten(1, 2)
        pooled = torch.cat([apart.amax((2, 3)), apart.mean((2, 3))], 1)
        return self.head(self.drop(pooled))[:, 0]


def staged_weights(path: Path, facts: NetFacts) -> dict[str, Tensor]:
    """State of the trunk from the staged file, its position embedding brought to the image size.

    Raises TaskError where the file lacks what its configuration asks for.
    """
    found = json.loads(facts.backbone)
    grid = (facts.height // found["patch"], facts.width // found["patch"])
    if found["kind"] == RADIO:
        return radio_weights(path, *grid)
    wanted = Trunk(found, facts.height, facts.width).model.state_dict()
    try:
        model, report = getattr(_transformers(), KINDS[found["kind"]][0]).from_pretrained(
            path, local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise TaskError(f"{path}: transformers cannot read it: {' '.join(str(error).split())}") from error
    if report["missing_keys"]:
        raise TaskError(f"{path / _FILE}: {sorted(report['missing_keys'])[0]} is absent; config.json asks for it")
    given = model.state_dict()
    return {
        f"model.{name}": resized_positions(given[name], like.shape, grid)
        if "position_embedding" in name
        else given[name]
        for name, like in wanted.items()
    }


def resized_positions(value: Tensor, shape: torch.Size, grid: tuple[int, int]) -> Tensor:
    """A learned square grid of positions (after any class token) at another grid, bicubic; axes as in `shape`."""
    flat = value.reshape(-1, value.shape[-1])
    extra = int(np.prod(shape)) // shape[-1] - grid[0] * grid[1]
    side = round((len(flat) - extra) ** 0.5)
    if (side, side) == grid or side * side != len(flat) - extra:
        return value
    square = flat[extra:].T.reshape(1, -1, side, side)
    scaled = nn.functional.interpolate(square, grid, mode="bicubic", align_corners=False)
    return torch.cat([flat[:extra], scaled.flatten(2)[0].T]).reshape(shape)


class _Scoring(nn.Module):
    """What is exported: two uint8 images to the mean logit over four views."""

    def __init__(self, net: BackboneNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, test: Tensor, golden: Tensor) -> Tensor:
        return self.net(views(fuse(test, golden))).view(4, -1).mean(0)


def to_onnx(weights: Tensors, facts: NetFacts, metadata: Mapping[str, str]) -> bytes:
    """The network as ONNX, inputs and output as in `net_onnx.to_onnx`, for one pair a run: the exporter freezes the
    batch of attention. Needs the `onnx` package."""
    import onnx

    net = BackboneNet(facts).eval()
    net.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    images = [torch.zeros(1, facts.planes, facts.height, facts.width, dtype=torch.uint8) for _ in range(2)]
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "net.onnx"
        torch.onnx.export(
            _Scoring(net).eval(), tuple(images), made, dynamo=False, opset_version=17,
            input_names=["test", "golden"], output_names=["logits"],
        )  # fmt: skip
        model = onnx.load(made)
    onnx.helper.set_model_props(model, dict(metadata))
    data: bytes = model.SerializeToString(deterministic=True)
    return data
