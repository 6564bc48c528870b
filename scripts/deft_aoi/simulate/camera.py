"""Two lights and a camera: turns a relief scene into RGB pictures.

WhiteLight is a diffuse dome with a coaxial share: paint shows its colour, level metal is bright, steep metal grey.
SolderLight is the usual tiered ring, red from above, green between, blue at a low angle: a mirror-like surface shows
the tier that its slope reflects, so level solder is red, a fillet's middle green, its steep part blue.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deft_aoi.simulate.scene import CROP, OVERSAMPLE, SIDE, Canvas, Map, norm, texture

LIGHTS = ("WhiteLight", "SolderLight")
_STEPS = 256
_AXIS: Map = np.linspace(-0.5, 0.5, CROP, dtype=np.float32)
_SOLDER_TIERS = ((4.0, 9.0, (1.0, 0.12, 0.10)), (22.0, 8.0, (0.12, 0.95, 0.22)), (42.0, 11.0, (0.10, 0.28, 1.0)))


@dataclass(frozen=True)
class Capture:
    """One grab of the camera: lamps, lens, sensor, dirt in the light path."""

    white_gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    solder_gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    tilt: float = 0.0  # one-sidedness of the ring, 0..1
    azimuth: float = 0.0
    slope: tuple[float, float] = (0.0, 0.0)  # brightness gradient across the window, per window
    blur: float = 0.6  # crop pixels
    noise: float = 0.008
    glare: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 0.0)  # x, y, radius, strength
    grain: tuple[int, int] = (0, 0)
    noise_seed: int = 0


@functools.lru_cache(maxsize=1)
def _tables() -> tuple[Map, Map]:
    """Reflection of metal by slope, index 0..255 for 0..90 degrees: (solder, one row a colour; white)."""
    degrees = np.linspace(0, 90, _STEPS, dtype=np.float32)
    solder: Map = np.full((_STEPS, 3), 0.04, np.float32)
    for centre, spread, colour in _SOLDER_TIERS:
        bell = np.exp(-(((degrees - centre) / spread) ** 2))
        solder = np.asarray(solder + bell[:, None] * np.array(colour), np.float32)
    white = 0.16 + 0.78 * np.exp(-((degrees / 24) ** 2)) + 0.10 * np.exp(-(((degrees - 45) / 15) ** 2))
    return np.ascontiguousarray(solder.T), white.astype(np.float32)


@dataclass(frozen=True)
class Relief:
    """What both lights share of one grab: slope index, light that the tilted ring adds, facing and occlusion."""

    index: NDArray[np.uint8]
    ring: Map
    facing: Map
    shade: Map


def relief(canvas: Canvas, roughness: float, capture: Capture) -> Relief:
    """Surface slopes and the shadow that tall bodies throw on their surroundings."""
    height = cv2.GaussianBlur(canvas.height, (0, 0), 0.9)
    gx: Map = np.asarray(cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=OVERSAMPLE / 8), np.float32)
    gy: Map = np.asarray(cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=OVERSAMPLE / 8), np.float32)
    rough = np.float32(0.05 + 0.10 * roughness) * canvas.metal
    down, right = capture.grain
    gx += rough * texture(1.5, down, right)
    gy += rough * texture(1.5, right + 91, down + 37)
    steep = norm(gx, gy)
    facing = steep * steep
    facing += 1
    np.divide(1, np.sqrt(facing, out=facing), out=facing)
    index = np.arctan(steep)
    index *= np.float32((_STEPS - 1) / (math.pi / 2))
    small = cv2.resize(height, (SIDE // 4, SIDE // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 2.2)
    shade: Map = np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)
    shade -= height
    shade *= np.float32(0.055)
    np.minimum(np.maximum(shade, 0, out=shade), np.float32(0.6), out=shade)
    np.subtract(1, shade, out=shade)
    steep += np.float32(1e-3)
    gx /= steep
    gy /= steep
    gx *= np.float32(math.cos(capture.azimuth))
    gy *= np.float32(math.sin(capture.azimuth))
    gx += gy
    gx *= np.float32(capture.tilt)
    gx += 1
    return Relief(index.astype(np.uint8), gx, facing, shade)


def expose(canvas: Canvas, surface: Relief, light: str, capture: Capture) -> NDArray[np.uint8]:
    """The picture under one light, (CROP, CROP, 3) uint8 RGB."""
    solder_tables, white_table = _tables()
    metal = canvas.metal
    if light == "WhiteLight":
        mirror: Map = np.asarray(cv2.LUT(surface.index, white_table), np.float32)
        mirror *= surface.ring
        dull = (0.25 + 0.75 * surface.facing) * surface.shade
        level = dull + metal * (mirror * (0.35 + 0.65 * surface.shade) - dull)
        varnish = canvas.gloss * (mirror - 0.16) * 0.12 * (1 - metal)
        planes = [paint * level + varnish for paint in canvas.albedo]
        gain = capture.white_gain
    else:
        shine = (metal + canvas.gloss * (0.12 * (1 - metal))) * (surface.ring * (0.5 + 0.5 * surface.shade))
        paints = canvas.albedo * ((1 - metal) * surface.shade * 0.14)
        planes = [
            cv2.LUT(surface.index, table) * shine + paint for table, paint in zip(solder_tables, paints, strict=True)
        ]
        gain = capture.solder_gain
    return _sense(np.asarray(cv2.merge(planes), np.float32), gain, capture, LIGHTS.index(light))


def _sense(picture: Map, gain: tuple[float, float, float], capture: Capture, channel: int) -> NDArray[np.uint8]:
    """Lens and sensor: pixel pitch, bloom, gradient, glare, blur, noise, gamma."""
    image: Map = np.asarray(cv2.resize(picture, (CROP, CROP), interpolation=cv2.INTER_AREA), np.float32)
    rows = image.reshape(CROP, -1)  # whole rows at a time: three colours are too short a loop
    rows *= np.tile(np.asarray(gain, np.float32), CROP)
    field = 1 + np.float32(capture.slope[0]) * _AXIS + (np.float32(capture.slope[1]) * _AXIS)[:, None]
    bloom: Map = np.asarray(cv2.GaussianBlur(np.maximum(image - 0.85, 0), (0, 0), 2.5), np.float32)
    bloom *= 0.5
    image += bloom
    rows *= np.repeat(field, 3, axis=1)
    x, y, radius, strength = capture.glare
    if strength:
        pixel = _AXIS * np.float32(CROP)
        spot = np.exp(-((pixel - x) ** 2 + ((pixel - y) ** 2)[:, None]) / np.float32(2 * radius * radius))
        rows += np.repeat(np.float32(strength if channel == 0 else 0.3 * strength) * spot, 3, axis=1)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), capture.blur), np.float32)
    noise = np.random.default_rng([capture.noise_seed, channel]).standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(capture.noise)
    image += noise
    np.minimum(np.maximum(image, 0, out=image), 1, out=image)
    np.sqrt(image, out=image)  # gamma 2, close to the usual 2.2 and cheap
    image *= np.float32(255)
    image += np.float32(0.5)
    return image.astype(np.uint8)
