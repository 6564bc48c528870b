"""The frozen EfficientNet-Lite0 trunk in ONNX Runtime."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.base.files import sha256_file
from deft_aoi.base.paths import SKILL_ROOT

MODEL = SKILL_ROOT / "assets/trunk/efficientnet_lite0_trunk.onnx"
STRIDES = (2, 4, 8, 16)
EMBEDDING_SIZE = 192
LARGEST_SIDE = 224  # pixels of an image that is embedded; larger ones are shrunk
BLOCK = 16
OUTPUTS = (*(f"stride{stride}" for stride in STRIDES), "embedding")

Maps = npt.NDArray[np.float32]


@functools.cache
def trunk_hash() -> str:
    """SHA-256 of the model file: part of every cache key and checkpoint."""
    return sha256_file(MODEL)


def embedding_parameters() -> dict[str, object]:
    """What tells embeddings of this trunk apart in the cache."""
    return {"version": 1, "trunk": trunk_hash(), "side": LARGEST_SIDE}


class Trunk:
    """One session, one thread: callers run several at once. Results do not depend on who shares the batch."""

    def __init__(self, path: Path = MODEL) -> None:
        import onnxruntime  # slow to import: only when an image was not in the cache

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, images: list[npt.NDArray[np.float32]]) -> tuple[list[Maps], Maps]:
        """Maps of strides 2, 4, 8, 16, each (n, channels, ceil16(h)/stride, ceil16(w)/stride), and embeddings (n, 192).

        `images`: float32 (h, w, c), 0..255, c 1 or 3, all of one h and w.
        """
        batch = np.stack([_prepare(image) for image in images])
        *maps, embedding = self._session.run(list(OUTPUTS), {"image": batch})
        return maps, embedding


def _prepare(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(3, h, w) with h and w filled up to multiples of 16 by repeating the edge."""
    height, width, channels = image.shape
    down, right = -height % BLOCK, -width % BLOCK
    if down or right:
        image = np.asarray(cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REPLICATE), np.float32)
        image = image.reshape(height + down, width + right, channels)
    planes = np.moveaxis(image, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(planes, (3, *planes.shape[1:])))
