"""Pixels that the generator of defects works with: reading, moving, feathering, and board where a part was.

Pictures are uint8 BGR (h, w, 3), masks uint8 (h, w) with 255 inside. Nothing here draws a random number of its own:
the caller's generator decides, so that the same seed gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.base import safe_images

Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Rng = np.random.Generator

# A picture of two levels: so many pixels within so many levels of black or white.
_BINARY_SHARE, _BINARY_RANGE, _LEAST_LEVEL = 0.9, 40, 0.02
FEATHER = 1.2  # pixels
_GRAIN = 1.5  # sigma in pixels: what is finer is grain
_OFFSETS = 24  # places that the grain of a filled patch may come from


def read_picture(path: Path) -> Picture | None:
    """The file as BGR; None where it is no readable image."""
    image = safe_images.read(path, cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, np.uint8)


def is_binary(picture: Picture) -> bool:
    """Whether it shows two levels, black and white; a picture under dim light is dark only."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    dark, bright = float((grey < _BINARY_RANGE).mean()), float((grey > 255 - _BINARY_RANGE).mean())
    return dark + bright > _BINARY_SHARE and min(dark, bright) > _LEAST_LEVEL


def placed(image: Picture | Mask, move: tuple[int, int], quarters: int = 0) -> npt.NDArray[np.uint8]:
    """The image turned by so many quarters, then moved by (dx, dy) pixels; edges repeated, masks with zeros."""
    turned = np.ascontiguousarray(np.rot90(image, quarters))
    border = cv2.BORDER_REPLICATE if image.ndim == 3 else cv2.BORDER_CONSTANT
    matrix = np.array([[1, 0, move[0]], [0, 1, move[1]]], np.float32)
    return np.asarray(cv2.warpAffine(turned, matrix, turned.shape[1::-1], flags=cv2.INTER_NEAREST, borderMode=border))


def grown(mask: Mask, pixels: int) -> Mask:
    """The mask dilated by so many pixels."""
    return np.asarray(cv2.dilate(mask, np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)), np.uint8)


def shrunk(mask: Mask, pixels: int) -> Mask:
    """The mask eroded by so many pixels."""
    return np.asarray(cv2.erode(mask, np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)), np.uint8)


def feathered(below: Picture, above: Picture, mask: Mask) -> Picture:
    """`above` inside `mask`, with an edge as soft as a lens makes it."""
    share = softened(mask)[:, :, None]
    return rounded(share * above.astype(np.float32) + (1 - share) * below.astype(np.float32))


def softened(mask: Mask, sigma: float = FEATHER) -> Floats:
    """(h, w): 1 inside the mask, 0 outside, a soft edge between."""
    return np.asarray(cv2.GaussianBlur((mask > 0).astype(np.float32), (0, 0), sigma), np.float32)


def rounded(values: Floats) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def without(picture: Picture, mask: Mask, ground: Mask, rng: Rng) -> Picture:
    """The picture with board instead of `mask`: the colours of the `ground` around it, and its grain.

    The colour is the mean of the nearest ground, the nearer the more; the grain is a piece of the ground's own, so that
    it is as fine and as strong as the camera makes it. Inpainting from the mask's rim would draw streaks of whatever
    is at the rim, and a ghost of the part.
    """
    there = (ground > 0) & (mask == 0)
    if there.sum() < 16:
        return np.asarray(cv2.inpaint(picture, mask, 3, cv2.INPAINT_TELEA), np.uint8)
    values, known = picture.astype(np.float32), there.astype(np.float32)
    smooth, filled = np.zeros_like(values), np.zeros(mask.shape, bool)
    for share in (0.04, 0.08, 0.16, 0.5, 1.5):  # of the picture's side: the nearest ground that there is
        sigma = share * min(mask.shape)
        weight = cv2.GaussianBlur(known, (0, 0), sigma)
        mean = cv2.GaussianBlur(values * known[:, :, None], (0, 0), sigma) / np.maximum(weight, 1e-6)[:, :, None]
        new = ~filled & (weight > 0.02)
        smooth[new], filled = mean[new], filled | new
    smooth = np.asarray(cv2.GaussianBlur(smooth, (0, 0), 0.02 * min(mask.shape) + 0.5), np.float32)
    fine = values - cv2.GaussianBlur(values, (0, 0), _GRAIN)
    return feathered(picture, rounded(smooth + _grain(fine, there, mask, rng)), mask)


def _grain(fine: Floats, there: npt.NDArray[np.bool_], mask: Mask, rng: Rng) -> Floats:
    """The ground's fine structure, moved onto the mask from where most of it is ground; nothing else comes along."""
    height, width = mask.shape
    quiet = there & (np.abs(fine).max(axis=2) <= 3 * np.median(np.abs(fine).max(axis=2)[there]) + 1)
    inside, best, most = mask > 0, np.zeros_like(fine), -1
    for _ in range(_OFFSETS):
        dy, dx = int(rng.integers(height)), int(rng.integers(width))
        rolled = np.roll(quiet, (dy, dx), axis=(0, 1))
        count = int((rolled & inside).sum())
        if count > most:
            most = count
            best = np.where(rolled[:, :, None], np.roll(fine, (dy, dx), axis=(0, 1)), np.nan)
    holes = np.isnan(best[:, :, 0])
    some = fine[quiet] if quiet.any() else fine[there]
    best[holes] = some[rng.integers(0, len(some), int(holes.sum()))]  # whole pixels, so that colours stay together
    return np.asarray(best, np.float32)
