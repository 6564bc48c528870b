"""Checkpoints of the features engine: safetensors bytes under TAO's file names; nothing in them is executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from deft_aoi.base.files import atomic_write
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.engine.features.distances import VERSION
from deft_aoi.engine.features.head import Head, column_names
from deft_aoi.engine.features.trunk import trunk_hash
from deft_aoi.engine.refusal import TaskError
from deft_aoi.spec.tree import Optics

ENGINE = "deft-aoi features"
_KEY = "deft"
_TENSORS = ("center", "scale", "weights")


def save_checkpoint(path: Path, head: Head, optics: Optics) -> None:
    """Write atomically; the same head gives the same bytes (one metadata key: their order is not fixed)."""
    facts = {"engine": ENGINE, **made_for(optics)}
    tensors = {name: getattr(head, name) for name in _TENSORS} | {"bias": np.array([head.bias])}
    data = save(tensors, {_KEY: json.dumps(facts, sort_keys=True)})
    atomic_write(path, lambda stream: stream.write(data))


def made_for(optics: Optics) -> dict[str, Any]:
    """What a checkpoint and its reader must agree on."""
    return {
        "version": VERSION,
        "trunk": trunk_hash(),
        "lights": list(optics.lights),
        "width": optics.width,
        "height": optics.height,
        "inputs": column_names(optics.lights),
    }


def load_checkpoint(path: Path, optics: Optics) -> Head:
    """Read a head for these lights and this image size.

    Raises TaskError where the file is missing, is another engine's, or was made for other images.
    """
    if not path.is_file():
        raise TaskError(f"checkpoint {path}: no such file")
    try:
        with safe_open(path, "numpy") as opened:
            metadata = opened.metadata() or {}
        tensors = load(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise TaskError(
            f"checkpoint {path}: not written by the features engine (a TAO .pth needs the TAO engine): {error}"
        ) from error
    facts = _noted(metadata.get(_KEY, "{}"))
    if facts.get("engine") != ENGINE:
        raise TaskError(f"checkpoint {path}: safetensors of another program; expected one of '{ENGINE}'")
    for name, value in made_for(optics).items():
        if facts.get(name) != value:
            found = "other ones" if name == "inputs" else facts.get(name)
            wanted = "those of this version" if name == "inputs" else value
            raise TaskError(
                f"checkpoint {path}: {name} is {found}, the spec and this engine need {wanted}; train again"
            )
    size = len(column_names(optics.lights))
    for name, length in (*((name, size) for name in _TENSORS), ("bias", 1)):
        found = tensors.get(name)
        if found is None or found.shape != (length,) or found.dtype != np.float64 or not np.isfinite(found).all():
            raise TaskError(f"checkpoint {path}: {name} is not {length} finite numbers (float64); train again")
    center, scale, weights = (tensors[name] for name in _TENSORS)
    if (scale <= 0).any() or (weights < 0).any():
        raise TaskError(f"checkpoint {path}: a scale or weight below 0, which no training gives; train again")
    return Head(optics.lights, center, scale, weights, float(tensors["bias"][0]))


def _noted(text: str) -> dict[str, Any]:
    """Our metadata; empty where it is none of ours."""
    try:
        facts = parse_json(text)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
