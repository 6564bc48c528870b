"""How alike two pictures of a component are, on a small grey copy of each: enough to choose and to check goldens."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deft_aoi.base import safe_images
from deft_aoi.base.threads import cores
from deft_aoi.engine.images import register, translate

SIDE = 64
_CELLS = 16  # of the coarse copy by which candidates are found
_CANDIDATES = 3
_BOX = 3
_SHAPES = 1.25
_FLAT = 5  # pixels of the window that a camera never fills with one value
_DARK, _BRIGHT = 4, 251  # clipped pixels are flat in honest pictures too

Small = NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """`small`: (SIDE, SIDE) grey, whatever the picture's shape; `flat`: share of the picture without any camera noise;
    `shape`: width by height."""

    small: Small
    flat: float
    shape: float

    def shaped_as(self, other: Look) -> bool:
        """Whether two pictures are about equally upright: a part that lies is not one that stands."""
        return max(self.shape, other.shape) <= _SHAPES * min(self.shape, other.shape)


@dataclass(frozen=True)
class Gap:
    """`difference`: grey levels of the largest 3 x 3 spot; `shift`: move of the second picture as a share of a side."""

    difference: float
    shift: float


def look_at(path: Path) -> Look | None:
    """None where the picture cannot be read."""
    grey = safe_images.read(path, cv2.IMREAD_GRAYSCALE)
    if grey is None:
        return None
    return look_of(np.asarray(grey, np.uint8))


def look_of(grey: Small) -> Look:
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return Look(np.asarray(small, np.uint8), flat_share(grey), grey.shape[1] / grey.shape[0])


def looks_of(paths: Sequence[Path]) -> dict[Path, Look]:
    """Looks of all readable pictures, on all cores."""
    distinct = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(cores()) as workers:
        found = workers.map(look_at, distinct)
        return {path: look for path, look in zip(distinct, found) if look is not None}


def flat_share(grey: Small) -> float:
    """Share of the windows of 5 x 5 pixels that hold one value, neither black nor white."""
    kernel = np.ones((_FLAT, _FLAT), np.uint8)
    low, high = cv2.erode(grey, kernel), cv2.dilate(grey, kernel)
    return float(((low == high) & (low > _DARK) & (low < _BRIGHT)).mean())


def gap(test: Small, golden: Small) -> Gap:
    """The golden is registered onto the test picture and brought to its brightness and contrast first."""
    first, second = test.astype(np.float32), golden.astype(np.float32)
    dx, dy = register(second, first)
    moved = translate(second, dx, dy)
    rim = int(np.ceil(max(abs(dx), abs(dy)))) + 1
    inner = (slice(rim, SIDE - rim), slice(rim, SIDE - rim))
    one, other = first[inner], moved[inner]
    gain = np.clip((one.std() + 1) / (other.std() + 1), 0.5, 2)
    difference = np.abs(one - ((other - other.mean()) * gain + one.mean()))
    return Gap(float(cv2.blur(difference, (_BOX, _BOX)).max()), float(np.hypot(dx, dy)) / SIDE)


def coarse(small: Small) -> NDArray[np.float32]:
    """(cells,) of mean 0 and length 1; zeros for a flat picture."""
    cells = cv2.resize(small, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    cells -= cells.mean()
    length = float(np.linalg.norm(cells))
    return cells / length if length > 1e-3 else np.zeros_like(cells)


def nearest(test: Small, others: Sequence[Small]) -> int:
    """Place of the most similar of `others`: the coarse copies name three, the gap decides."""
    if len(others) == 1:
        return 0
    likeness = np.stack([coarse(other) for other in others]) @ coarse(test)
    best = np.argsort(-likeness, kind="stable")[:_CANDIDATES]
    return int(min(best, key=lambda number: gap(test, others[number]).difference))
