"""Small images for the tests of pairs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def image(path: Path, seed: int, side: int = 32) -> Path:
    """A colour image of `side` x `side` pixels, smooth so that JPEG keeps it; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC))
    return path
