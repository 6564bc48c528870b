"""Pixels of one pair: decode, bring to size, register golden to test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.base import safe_images

Image = npt.NDArray[np.float32]
REACH = 14  # pixels that golden and test may be apart on either axis
SUBPIXEL = 4  # fractions of a pixel that registration resolves
REACH_COST = 0.02  # share of the unregistered difference that a shift over the whole reach must win back
PIXEL_COST = 1e-3  # keeps a shift at zero where nothing in the image speaks for one

cv2.setNumThreads(1)  # the engine is parallel over pairs; nested threads only fight


@dataclass(frozen=True)
class Pair:
    """Test and golden of one component under one light, golden moved onto test.

    `test`, `golden`: float32 (h, w, c), 0..255, c 1 or 3 (RGB). `rows`, `columns`: where the moved golden has pixels
    of its own. `shift`: how far it was moved, (dx, dy) in pixels.
    """

    test: Image
    golden: Image
    rows: slice
    columns: slice
    shift: tuple[float, float]


def decode(data: bytes) -> npt.NDArray[np.uint8] | None:
    """8-bit (h, w) or RGB (h, w, 3); None when the bytes are no whole image of a size that we read."""
    image = safe_images.decode(data)
    if image is None:
        return None
    return np.asarray(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def resize(image: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Area average when shrinking, linear when growing."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = width * height < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def make_pair(test: npt.NDArray[np.uint8], golden: npt.NDArray[np.uint8], width: int, height: int) -> Pair:
    """Bring both to size and to the same number of channels, then register golden to test."""
    test, golden = resize(test, width, height), resize(golden, width, height)
    if test.ndim != golden.ndim:
        test, golden = _as_colour(test), _as_colour(golden)
    first, second = test.astype(np.float32), golden.astype(np.float32)
    dx, dy = register(luminance(second), luminance(first))
    moved = translate(second, dx, dy)
    if first.ndim == 2:
        first, moved = first[..., None], moved[..., None]
    return Pair(first, moved, _covered(height, dy), _covered(width, dx), (dx, dy))


def _as_colour(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image


def luminance(image: Image) -> Image:
    """(h, w) grey of a grey or RGB image."""
    if image.ndim == 3 and image.shape[2] == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
    return image.reshape(image.shape[:2])


def translate(image: Image, dx: float, dy: float) -> Image:
    """Move the content right by dx and down by dy; linear between pixels, the edge repeated."""
    if dx == 0 and dy == 0:
        return image
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    size = (image.shape[1], image.shape[0])
    moved = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def _covered(length: int, shift: float) -> slice:
    return slice(max(0, math.ceil(shift)), length + min(0, math.floor(shift)))


def register(golden: Image, test: Image) -> tuple[float, float]:
    """Shift (dx, dy) of golden, within +-REACH, that leaves the least mean squared difference to test.

    Every whole-pixel shift is compared: a phase correlation peak alone is lost on windows with few edges. A
    quarter-pixel parabola refines it and is kept only where it lowers the absolute difference.
    """
    surface, reach = difference_surface(golden, test)
    offsets = np.arange(-reach, reach + 1)
    far = np.hypot(offsets[:, None], offsets[None, :])
    cost = surface + REACH_COST * surface[reach, reach] * far / max(reach, 1) + PIXEL_COST * far
    row, column = np.unravel_index(int(np.argmin(cost)), cost.shape)
    dx, dy = float(column - reach), float(row - reach)
    if not (0 < row < 2 * reach and 0 < column < 2 * reach):
        return dx, dy
    fine_x = dx + _vertex(surface[row, column - 1 : column + 2])
    fine_y = dy + _vertex(surface[row - 1 : row + 2, column])
    coarse = _difference(golden, test, dx, dy)
    return (fine_x, fine_y) if _difference(golden, test, fine_x, fine_y) < coarse - 1e-4 else (dx, dy)


def difference_surface(golden: Image, test: Image) -> tuple[npt.NDArray[np.float64], int]:
    """Mean squared difference for every whole shift: (2r+1, 2r+1) indexed [dy+r, dx+r], and r.

    The worse of all of test against golden, its edge repeated, and all of golden against test: over the overlap alone
    a shift that pushes a defect at the rim out of sight would look like a perfect match.
    """
    height, width = golden.shape
    reach = min(REACH, height // 4, width // 4)
    golden, test = golden - golden.mean(dtype=np.float32), test - test.mean(dtype=np.float32)
    forward = cv2.matchTemplate(_padded(golden, reach), test, cv2.TM_SQDIFF)[::-1, ::-1]
    backward = cv2.matchTemplate(_padded(test, reach), golden, cv2.TM_SQDIFF)
    worse = np.maximum(forward, backward).astype(np.float64) / (height * width)
    return np.maximum(worse, 0), reach


def _padded(image: Image, reach: int) -> Image:
    bordered = cv2.copyMakeBorder(image, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    return np.asarray(bordered, np.float32)


def _vertex(values: npt.NDArray[np.float64]) -> float:
    """Offset of a parabola's lowest point from the middle of three samples, in quarter pixels."""
    curve = values[0] - 2 * values[1] + values[2]
    if curve <= 1e-9:
        return 0.0
    return float(np.round(np.clip(0.5 * (values[0] - values[2]) / curve, -0.5, 0.5) * SUBPIXEL) / SUBPIXEL)


def _difference(golden: Image, test: Image, dx: float, dy: float) -> float:
    """Mean absolute difference of all pixels: a margin left out would reward a shift that hides the rim."""
    return float(np.abs(translate(golden, dx, dy) - test).mean())
