"""How the two pictures of a pair differ, for a person's eye: the golden moved onto the test, and a heat map."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from deft_aoi.engine.images import register, translate

Picture = NDArray[np.uint8]
FULL_HEAT = 96  # grey levels of difference that show as the brightest colour


def registered(test: Picture, golden: Picture) -> tuple[Picture, tuple[float, float]]:
    """`golden` moved onto `test` as the engine does it, and the move in pixels (x, y); both of one shape."""
    grey = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) for image in (golden, test)]
    move = register(*grey)
    return np.rint(translate(golden.astype(np.float32), *move)).astype(np.uint8), move


def heat(test: Picture, golden: Picture) -> Picture:
    """Heat map of the absolute difference; the scale is fixed (`FULL_HEAT` grey levels), so that pairs compare."""
    scaled = np.minimum(_absolute(test, golden).astype(np.float32) * (255 / FULL_HEAT), 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO), np.uint8)


def _absolute(test: Picture, golden: Picture) -> Picture:
    blurred = [cv2.GaussianBlur(image, (3, 3), 0) for image in (test, golden)]
    return np.asarray(cv2.absdiff(*blurred).max(axis=2), np.uint8)
