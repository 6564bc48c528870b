"""A small relief scene: what is on the board in one component's window, as height, colour and metal maps.

Units are crop pixels (`CROP` of them across, about 20 to the millimetre); the maps are `OVERSAMPLE` times finer.
x runs right, y runs down, angles are radians, clockwise on the picture.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CROP = 96
OVERSAMPLE = 1.5
SIDE = round(CROP * OVERSAMPLE)
_TEXTURE_SIDE = 512
_ALIGNMENT = 64  # bytes

Map = NDArray[np.float32]
Colour = tuple[float, float, float]
Roi = tuple[slice, slice]

_AXIS: Map = ((np.arange(SIDE, dtype=np.float32) + 0.5) / OVERSAMPLE - CROP / 2).astype(np.float32)


@dataclass(frozen=True)
class Frame:
    """A place and a direction on the picture; children are given relative to it."""

    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0

    def at(self, x: float, y: float, angle: float = 0.0) -> Frame:
        """The child frame at (x, y), turned by `angle`."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        return Frame(self.x + c * x - s * y, self.y + s * x + c * y, self.angle + angle)


@dataclass(frozen=True)
class Patch:
    """A part of the canvas: `roi` into its maps, coverage 0..1 and local coordinates (along, across) in pixels."""

    roi: Roi
    cover: Map
    along: Map
    across: Map


class Canvas:
    """Maps of one window, `SIDE` squared: height (pixels), albedo (0..1), metal (0..1), gloss (0..1).

    They are layers of one array, colours too, so that a paint is one step over whole rows.
    """

    def __init__(self, ground: Colour, gloss: float) -> None:
        self._layers = np.zeros((6, SIDE, SIDE), np.float32)
        self.height, self.albedo, self.metal, self.gloss = (self._layers[part] for part in (0, slice(1, 4), 4, 5))
        self.albedo[:] = _column(ground)
        self.gloss[:] = gloss

    def paint(
        self,
        patch: Patch | None,
        colour: Colour | None = None,
        *,
        metal: float | None = None,
        gloss: float | None = None,
        height: float | Map | None = None,
        raise_only: bool = False,
    ) -> None:
        """Lay a material over `patch`: a metal share comes with a colour, a gloss with a metal share.

        `raise_only` keeps what stands higher already (solder creeping under a lead).
        """
        if patch is None:
            return
        cover = patch.cover
        if raise_only and height is not None:
            above = np.clip((np.asarray(height) - self.height[patch.roi]) * 4 + 0.5, 0, 1)
            cover = cover * above.astype(np.float32)
        values = [value for value in (*(colour or ()), metal, gloss) if value is not None]
        first = 1
        if isinstance(height, np.ndarray):
            _lay(self.height[patch.roi], cover, height)
        elif height is not None:
            values.insert(0, height)
            first = 0
        if values:
            _lay(self._layers[(slice(first, first + len(values)), *patch.roi)], cover, _column(values))

    def stain(self, patch: Patch | None, colour: Colour, strength: float, gloss: float = 0.0) -> None:
        """A thin transparent film: colours and shines, no relief."""
        if patch is None:
            return
        cover = patch.cover * np.float32(strength)
        _lay(self.albedo[(slice(None), *patch.roi)], cover, _column(colour))
        shine = self.gloss[patch.roi]
        shine += cover * np.float32(gloss)


def _column(values: Sequence[float]) -> Map:
    return np.array(values, np.float32)[:, None, None]


def _lay(here: Map, cover: Map, value: Map) -> None:
    """Move `here` towards `value` by the coverage."""
    step = value - here
    step *= cover
    here += step


def window(frame: Frame, along_reach: float, across_reach: float) -> tuple[Roi, Map, Map] | None:
    """Region that holds a box of these half sizes, and its local coordinates; None when it misses the canvas."""
    c, s = abs(math.cos(frame.angle)), abs(math.sin(frame.angle))
    bounds = []
    for centre, reach in (
        (frame.y, s * along_reach + c * across_reach),
        (frame.x, c * along_reach + s * across_reach),
    ):
        low = max(0, math.floor((centre - reach + CROP / 2) * OVERSAMPLE))
        high = min(SIDE, math.ceil((centre + reach + CROP / 2) * OVERSAMPLE) + 1)
        if low >= high:
            return None
        bounds.append(slice(low, high))
    rows, columns = bounds
    x = _AXIS[columns] - np.float32(frame.x)
    y = (_AXIS[rows] - np.float32(frame.y))[:, None]
    cosine, sine = np.float32(math.cos(frame.angle)), np.float32(math.sin(frame.angle))
    return (rows, columns), cosine * x + sine * y, cosine * y - sine * x


def norm(x: Map, y: Map) -> Map:
    """Lengths of the vectors (x, y), in work space that the next call uses again.

    It begins where a processor's widest registers do: the last digit of OpenCV's answer depends on that.
    """
    return np.asarray(cv2.magnitude(x, y, _work_space()[: x.size].reshape(x.shape)), np.float32)


@functools.cache
def _work_space() -> Map:
    size = 4 * SIDE * SIDE
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(np.float32)


def box(frame: Frame, length: float, width: float, radius: float = 0.0, soft: float = 0.5) -> Patch | None:
    """A rounded rectangle centred on the frame; `soft` is the half width of its edge in pixels."""
    found = window(frame, length / 2 + soft + 1, width / 2 + soft + 1)
    if found is None:
        return None
    roi, along, across = found
    radius = min(radius, length / 2, width / 2)
    qx, qy = np.abs(along), np.abs(across)
    qx -= np.float32(length / 2 - radius)
    qy -= np.float32(width / 2 - radius)
    distance = np.maximum(qx, qy)
    if radius > 0:
        outside = norm(np.maximum(qx, 0, out=qx), np.maximum(qy, 0, out=qy))
        np.minimum(distance, 0, out=distance)
        distance += outside
        distance -= np.float32(radius)
    return Patch(roi, edge(distance, soft), along, across)


def disc(frame: Frame, radius: float, stretch: float = 1.0, soft: float = 0.5) -> Patch | None:
    """An ellipse with semi-axes `radius * stretch` (along) and `radius` (across)."""
    found = window(frame, radius * stretch + soft + 1, radius + soft + 1)
    if found is None:
        return None
    roi, along, across = found
    distance = norm(along / np.float32(stretch), across) - np.float32(radius)
    return Patch(roi, edge(distance, soft), along, across)


def blob(frame: Frame, radius: float, lobes: NDArray[np.float64], soft: float = 1.0) -> Patch | None:
    """A round patch with a wavy rim; `lobes` is (n, 2): relative amplitude and phase of the waves 2..n+1."""
    reach = radius * (1 + float(np.abs(lobes[:, 0]).sum())) + soft + 1
    found = window(frame, reach, reach)
    if found is None:
        return None
    roi, along, across = found
    angle = np.arctan2(across, along)
    rim = np.ones_like(angle)
    for number, (amplitude, phase) in enumerate(lobes, start=2):
        rim += np.float32(amplitude) * np.cos(number * angle + np.float32(phase))
    return Patch(roi, edge(np.asarray(norm(along, across) - radius * rim, np.float32), soft), along, across)


def edge(distance: Map, soft: float) -> Map:
    """Coverage of a signed distance (negative inside): 1 inside, 0 outside, a ramp of `2 * soft` pixels.

    The distances are used up.
    """
    distance *= np.float32(0.5 / soft)
    np.subtract(np.float32(0.5), distance, out=distance)
    np.maximum(distance, 0, out=distance)
    return np.minimum(distance, 1, out=distance)


def text(frame: Frame, words: str, height: float, weight: float = 1.0) -> Patch | None:
    """Printed characters centred on the frame, `height` pixels tall."""
    bitmap, scale = _bitmap(words, weight)
    rows, columns = bitmap.shape
    found = window(frame, columns / 2 * height / scale + 1, rows / 2 * height / scale + 1)
    if found is None:
        return None
    roi, along, across = found
    factor = np.float32(scale / height)
    cover = cv2.remap(
        bitmap,
        along * factor + np.float32(columns / 2),
        across * factor + np.float32(rows / 2),
        cv2.INTER_AREA if factor > 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return Patch(roi, np.asarray(cover, np.float32), along, across)


@functools.lru_cache(maxsize=4096)
def _bitmap(words: str, weight: float) -> tuple[Map, float]:
    """(coverage bitmap, height of a capital in it): drawn once per text, smoothed for the later resampling."""
    thickness = max(1, round(2 * weight))
    (columns, rows), base = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, 0.7, thickness)
    picture = np.zeros((rows + base + 8, columns + 8), np.uint8)
    cv2.putText(picture, words, (4, rows + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, thickness, cv2.LINE_AA)
    return (cv2.GaussianBlur(picture, (0, 0), 0.7) / np.float32(255)).astype(np.float32), float(rows)


@functools.lru_cache(maxsize=4)
def _texture(sigma: float) -> Map:
    """A fixed tile of smooth noise, mean 0 and deviation 1; the same in every process."""
    noise = np.random.default_rng(20240607).standard_normal((_TEXTURE_SIDE, _TEXTURE_SIDE)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray((smooth - smooth.mean()) / smooth.std(), np.float32)


def texture(sigma: float, row: int, column: int, side: int = SIDE) -> Map:
    """A square cut from the noise tile at any offset (taken modulo the tile's free range)."""
    free = _TEXTURE_SIDE - side
    row, column = row % free, column % free
    return _texture(sigma)[row : row + side, column : column + side]
