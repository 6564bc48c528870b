"""C-RADIOv2's Vision Transformer, read from its safetensors file by the names there. Needs torch.

Facts of the architecture (NVIDIA, RADIO v2): linear patch embedding, a learned position grid of the largest image that
is stretched bilinearly over the longer side and cut, summary and register tokens in front, pre-norm blocks with heads
of 64, no norm after the last. Position dropout of its own training is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from deft_aoi.engine.refusal import TaskError

_HEAD = 64
_EPSILON = 1e-6
_EMBEDDER = "patch_generator.embedder.weight"
_PARTS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def radio_facts(opened: Any, path: Path) -> dict[str, Any]:
    """Sizes from the shapes of an open safetensors file; raises TaskError where it holds no RADIO."""
    names = list(opened.keys())
    prefix = next((name.removesuffix(_EMBEDDER) for name in names if name.endswith(_EMBEDDER)), None)
    if prefix is None:
        raise TaskError(f"{path}: no {_EMBEDDER} in it; expected the weights of C-RADIOv2")
    width, patch_values = opened.get_slice(prefix + _EMBEDDER).get_shape()
    depth = sum(name.startswith(f"{prefix}blocks.") and name.endswith("norm1.weight") for name in names)
    hidden = opened.get_slice(f"{prefix}blocks.0.mlp.fc1.weight").get_shape()[0]
    tokens = opened.get_slice(f"{prefix}patch_generator.cls_token.token").get_shape()[0]
    found = {
        "patch": round((patch_values / 3) ** 0.5),
        "dim": width,
        "depth": depth,
        "hidden": hidden,
        "tokens": tokens,
    }
    for part in ("mean", "std"):
        source = next((name for name in names if name.endswith(f"input_conditioner.norm_{part}")), None)
        if source:
            found[part] = [float(value) for value in opened.get_tensor(source).reshape(-1)]
    return found


class Block(nn.Module):
    """Attention and a two-layer perceptron, each after its norm and next to a shortcut."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.heads = dim // _HEAD
        self.norm1, self.norm2 = nn.LayerNorm(dim, _EPSILON), nn.LayerNorm(dim, _EPSILON)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        split = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, _HEAD))
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        share = (query * _HEAD**-0.5 @ key.transpose(2, 3)).softmax(-1)
        x = x + self.proj((share @ value).transpose(1, 2).flatten(2))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class Radio(nn.Module):
    """(n, 3, h, w) to (n, dim, h/patch, w/patch)."""

    def __init__(self, found: Mapping[str, Any], height: int, width: int) -> None:
        super().__init__()
        dim, self.patch, self.tokens = found["dim"], found["patch"], found["tokens"]
        self.grid = (height // self.patch, width // self.patch)
        self.embedder = nn.Linear(3 * self.patch**2, dim, bias=False)
        self.position = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], dim))
        self.token = nn.Parameter(torch.zeros(self.tokens, dim))
        self.blocks = nn.ModuleList(Block(dim, found["hidden"]) for _ in range(found["depth"]))

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.embedder.weight.unflatten(1, (3, self.patch, self.patch))
        patches = functional.conv2d(x, kernel, stride=self.patch).flatten(2).transpose(1, 2)
        x = patches + self.position
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return x[:, self.tokens :].transpose(1, 2).unflatten(2, self.grid)


def radio_weights(path: Path, rows: int, columns: int) -> dict[str, Tensor]:
    """State of `Radio` from the file, the position grid at `rows` x `columns` patches."""
    with safe_open(path, "pt") as opened:
        facts = radio_facts(opened, path)
        prefix = next(name.removesuffix(_EMBEDDER) for name in opened.keys() if name.endswith(_EMBEDDER))  # noqa: SIM118

        def tensor(name: str) -> Tensor:
            return opened.get_tensor(prefix + name).float()

        given = {
            "embedder.weight": tensor(_EMBEDDER),
            "position": _positions(tensor("patch_generator.pos_embed"), rows, columns),
            "token": tensor("patch_generator.cls_token.token"),
        }
        for number in range(facts["depth"]):
            for part in _PARTS:
                for kind in ("weight", "bias"):
                    name = f"blocks.{number}.{part.rpartition('.')[2]}.{kind}"
                    given[name] = tensor(f"blocks.{number}.{part}.{kind}")
    return given


def _positions(grid: Tensor, rows: int, columns: int) -> Tensor:
    side, longest = round(grid.shape[1] ** 0.5), max(rows, columns)
    if (side, side) == (rows, columns):
        return grid
    square = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scaled = functional.interpolate(square, (longest, longest), mode="bilinear", align_corners=True)
    return scaled[..., :rows, :columns].flatten(2).transpose(1, 2)
