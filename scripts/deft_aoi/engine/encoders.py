"""What turns one image into one vector: the frozen trunk, or an ONNX file such as SigLIP's vision tower."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.base.files import sha256_file
from deft_aoi.engine.features.table import LazyTrunk
from deft_aoi.engine.features.trunk import EMBEDDING_SIZE, LARGEST_SIDE, embedding_parameters
from deft_aoi.engine.images import resize
from deft_aoi.engine.refusal import TaskError

TRUNK = "trunk"
PREPROCESSOR = "preprocessor_config.json"

Image = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Encoder:
    """`parameters` tell apart what the cache keeps; `size` numbers a vector; `encode` takes uint8 (h, w) or (h, w, 3)
    and may be called from several threads."""

    parameters: Mapping[str, object]
    size: int
    encode: Callable[[Image], Vector]


def make_encoder(model: str, model_path: str = "") -> Encoder:
    """The encoder that a spec names: `trunk`, or any other name with an ONNX file as `model_path`.

    Raises TaskError where the file is missing or is no image encoder.
    """
    if model.lower() == TRUNK:
        return trunk_encoder()
    path = Path(model_path)
    if path.suffix != ".onnx" or not path.is_file():
        raise TaskError(
            f"model {model}: model_path {model_path or 'is not set'}{': no such .onnx file' if model_path else ''}; "
            "stage one with: deft stage-encoder --workspace W, or use model=trunk"
        )
    return onnx_encoder(path)


def trunk_encoder() -> Encoder:
    """The pooled last map of the reference backbone (192 numbers)."""
    trunk = LazyTrunk()

    def encode(image: Image) -> Vector:
        return np.asarray(trunk.get()([prepare(image)])[1][0], np.float32)

    return Encoder(embedding_parameters(), EMBEDDING_SIZE, encode)


def prepare(image: Image) -> npt.NDArray[np.float32]:
    """(h, w, c) float32 with the longer side at most LARGEST_SIDE."""
    height, width = image.shape[:2]
    factor = min(1.0, LARGEST_SIDE / max(height, width))
    small = resize(image, max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(small, np.float32).reshape(*small.shape[:2], -1)


def onnx_encoder(path: Path) -> Encoder:
    """An ONNX file with one image input (n, 3, h, w); its first two-dimensional output is the vector.

    Mean, spread and size come from `preprocessor_config.json` next to the file, else SigLIP's own (0.5, 0.5, the
    input's size). Raises TaskError for any other file.
    """
    session = _session(path)
    entry = session.get_inputs()[0]
    beside = path.with_name(PREPROCESSOR)
    said: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    side = int((said.get("size") or {}).get("height") or (entry.shape[2] if isinstance(entry.shape[2], int) else 224))
    mean, spread = (np.array(said.get(name) or (0.5,) * 3, np.float32) for name in ("image_mean", "image_std"))
    if len(entry.shape) != 4 or entry.shape[1] not in (3, "num_channels", None):
        raise TaskError(f"{path}: its input {entry.name} has shape {entry.shape}; expected (n, 3, height, width)")

    def run(image: Image) -> Vector:
        colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
        shrinks = min(colour.shape[:2]) > side
        sized = cv2.resize(colour, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        planes = ((np.asarray(sized, np.float32) / 255 - mean) / spread).transpose(2, 0, 1)[None]
        outputs = session.run(None, {entry.name: np.ascontiguousarray(planes, np.float32)})
        flat = [output for output in outputs if output.ndim == 2]
        if not flat:
            raise TaskError(f"{path}: no output of shape (n, d); found {[output.shape for output in outputs]}")
        return np.asarray(flat[0][0], np.float32)

    size = len(run(np.zeros((side, side), np.uint8)))
    parameters = {"onnx": sha256_file(path), "side": side, "mean": mean.tolist(), "std": spread.tolist()}
    return Encoder(parameters, size, run)


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # callers are parallel over images
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for every kind of damage
        raise TaskError(f"{path}: not a usable ONNX file: {' '.join(str(error).split())[:200]}") from error
