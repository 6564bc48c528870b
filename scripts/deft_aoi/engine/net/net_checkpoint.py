"""Files of the net engine: checkpoints (safetensors under TAO's names, and ONNX) and resume state. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from deft_aoi.base.files import atomic_write
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.engine.engine_choice import METADATA_KEY, NET_NAME, RESUME_FILE
from deft_aoi.engine.net.facts import NetFacts, Tensors
from deft_aoi.engine.net.onnx_net import WEIGHTS_HASH, to_onnx
from deft_aoi.engine.onnx_check import check_onnx
from deft_aoi.engine.refusal import TaskError
from deft_aoi.spec.tree import Optics

VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """`digest`: SHA-256 of the file, which the ONNX next to it names."""

    facts: NetFacts
    weights: Tensors
    digest: str
    onnx: Path


def save_checkpoint(path: Path, weights: Mapping[str, npt.NDArray[Any]], facts: NetFacts) -> None:
    """Write `path` and its .onnx, both atomically, the ONNX first: a checkpoint is never without it."""
    sizes = asdict(facts) if facts.backbone else {k: v for k, v in asdict(facts).items() if k != "backbone"}
    noted = {"engine": NET_NAME, "version": VERSION, **sizes}
    data = save(dict(weights), {METADATA_KEY: json.dumps(noted, sort_keys=True)})
    metadata = {WEIGHTS_HASH: hashlib.sha256(data).hexdigest()}
    model = _onnx(weights, facts, metadata)
    atomic_write(path.with_suffix(".onnx"), lambda stream: stream.write(model))
    atomic_write(path, lambda stream: stream.write(data))


def _onnx(weights: Mapping[str, npt.NDArray[Any]], facts: NetFacts, metadata: Mapping[str, str]) -> bytes:
    if facts.backbone:
        from deft_aoi.engine.net import backbone_net  # torch, and only where such a network was just trained

        return backbone_net.to_onnx(dict(weights), facts, metadata)
    return to_onnx(weights, facts.planes, facts.height, facts.width, metadata)


def load_checkpoint(path: Path, optics: Optics) -> Checkpoint:
    """Read a network for these lights and this image size.

    Raises TaskError where the file is missing, is another engine's, or was made for other images.
    """
    if not path.is_file():
        raise TaskError(f"checkpoint {path}: no such file")
    data = path.read_bytes()
    try:
        weights, noted = load(data), metadata_of(data)
    except (SafetensorError, ValueError) as error:
        raise TaskError(
            f"checkpoint {path}: not written by the net engine (a TAO .pth needs the TAO engine): {error}"
        ) from error
    if noted.get("engine") != NET_NAME:
        raise TaskError(f"checkpoint {path}: of '{noted.get('engine', 'another program')}'; expected '{NET_NAME}'")
    expected = {"version": VERSION, "lights": list(optics.lights), "width": optics.width, "height": optics.height}
    for name, value in expected.items():
        if noted.get(name) != value:
            raise TaskError(
                f"checkpoint {path}: {name} is {noted.get(name)}, the spec and this engine need {value}; train again"
            )
    facts = NetFacts.of(optics, noted.get("channels", 0), noted.get("net_width", 0), noted.get("backbone", ""))
    if facts.channels not in (1, 3) or type(facts.net_width) is not int or not isinstance(facts.backbone, str):
        raise TaskError(f"checkpoint {path}: damaged (channels, net_width or backbone); train again")
    if not all(value.dtype.kind != "f" or np.isfinite(value).all() for value in weights.values()):
        raise TaskError(f"checkpoint {path}: weights that are no finite numbers; train again")
    return Checkpoint(facts, weights, hashlib.sha256(data).hexdigest(), path.resolve().with_suffix(".onnx"))


def scoring_model(checkpoint: Checkpoint) -> bytes:
    """The ONNX next to a checkpoint, checked before any runtime loads it.

    An early-fusion network's is recreated from the checkpoint and must be the same bytes; a backbone's is read through
    for anything but arithmetic. Raises TaskError where it is another one.
    """
    try:
        data = checkpoint.onnx.read_bytes()
    except OSError as error:
        raise TaskError(f"{checkpoint.onnx}: {error.strerror}") from error
    check_onnx(data, str(checkpoint.onnx))
    if not checkpoint.facts.backbone:
        try:
            made = _onnx(checkpoint.weights, checkpoint.facts, {WEIGHTS_HASH: checkpoint.digest})
        except (KeyError, ValueError, IndexError) as error:
            raise TaskError(f"{checkpoint.onnx}: its checkpoint lacks weights ({error}); train again") from error
        if made != data:
            raise TaskError(
                f"{checkpoint.onnx}: was written for another checkpoint; copy the .onnx that came with the .pth"
            )
    return data


def metadata_of(data: bytes) -> dict[str, Any]:
    """Our metadata in safetensors bytes: 8 bytes of length, then a JSON header."""
    header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
    found = parse_json(header.get("__metadata__", {}).get(METADATA_KEY, "{}"))
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Progress:
    """Where a training is at the end of an epoch. `status_bytes`: length of status.json then."""

    epochs_done: int = 0
    best: tuple[float, float] = (float("inf"), float("inf"))
    since_best: int = 0
    seconds: float = 0.0
    status_bytes: int = 0


def save_resume(folder: Path, tensors: Tensors, progress: Progress, fingerprint: str) -> None:
    noted = {**asdict(progress), "fingerprint": fingerprint}
    data = save(tensors, {METADATA_KEY: json.dumps(noted)})
    atomic_write(folder / RESUME_FILE, lambda stream: stream.write(data))


def load_resume(folder: Path, fingerprint: str) -> tuple[Tensors, Progress] | None:
    """State of a training that was cut off, or None where there is none.

    Raises TaskError where it belongs to another spec or other rows.
    """
    path = folder / RESUME_FILE
    if not path.is_file():
        return None
    data = path.read_bytes()
    try:
        tensors, noted = load(data), metadata_of(data)
        if noted.pop("fingerprint", None) != fingerprint:
            raise TaskError(f"{path}: of a training with another spec or other images; use an empty folder")
        return tensors, Progress(**{**noted, "best": tuple(noted["best"])})
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TaskError(f"{path}: damaged ({type(error).__name__}); remove it and train from the start") from error
