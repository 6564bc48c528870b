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

from deft_aoi.simulate.scene import CROP, OVERSAMPLE, SIDE, Canvas, Map, texture

LIGHTS = ("WhiteLight", "SolderLight")
_STEPS = 256
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
    """Reflection of metal by slope, index 0..255 for 0..90 degrees: (solder RGB, white)."""
    degrees = np.linspace(0, 90, _STEPS, dtype=np.float32)
    solder: Map = np.full((_STEPS, 3), 0.04, np.float32)
    for centre, spread, colour in _SOLDER_TIERS:
        bell = np.exp(-(((degrees - centre) / spread) ** 2))
        solder = np.asarray(solder + bell[:, None] * np.array(colour), np.float32)
    white = 0.16 + 0.78 * np.exp(-((degrees / 24) ** 2)) + 0.10 * np.exp(-(((degrees - 45) / 15) ** 2))
    return solder[:, None, :], white.astype(np.float32)[:, None]


@dataclass(frozen=True)
class Relief:
    """What both lights share of one scene: slope index, slope azimuth's cosine and sine, facing and occlusion."""

    index: NDArray[np.uint8]
    lean_x: Map
    lean_y: Map
    facing: Map
    shade: Map


def relief(canvas: Canvas, roughness: float, grain: tuple[int, int]) -> Relief:
    """Surface slopes and the shadow that tall bodies throw on their surroundings."""
    height = cv2.GaussianBlur(canvas.height, (0, 0), 0.9)
    gx: Map = np.asarray(cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=OVERSAMPLE / 8), np.float32)
    gy: Map = np.asarray(cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=OVERSAMPLE / 8), np.float32)
    rough = np.float32(0.05 + 0.10 * roughness) * canvas.metal
    gx += rough * texture(1.5, *grain)
    gy += rough * texture(1.5, grain[1] + 91, grain[0] + 37)
    steep = cv2.magnitude(gx, gy)
    facing = np.asarray(1 / np.sqrt(1 + steep * steep), np.float32)
    angle = np.arctan(steep)
    small = cv2.resize(height, (SIDE // 4, SIDE // 4), interpolation=cv2.INTER_AREA)
    around = cv2.resize(cv2.GaussianBlur(small, (0, 0), 2.2), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    shade = 1 - np.clip((around - height) * np.float32(0.055), 0, 0.6)
    length = steep + np.float32(1e-3)
    index = (angle * np.float32((_STEPS - 1) / (math.pi / 2))).astype(np.uint8)
    return Relief(index, gx / length, gy / length, facing, shade)


def expose(canvas: Canvas, surface: Relief, light: str, capture: Capture) -> NDArray[np.uint8]:
    """The picture under one light, (CROP, CROP, 3) uint8 RGB."""
    solder_table, white_table = _tables()
    ring = 1 + np.float32(capture.tilt) * (
        np.float32(math.cos(capture.azimuth)) * surface.lean_x + np.float32(math.sin(capture.azimuth)) * surface.lean_y
    )
    metal = canvas.metal
    if light == "WhiteLight":
        mirror = cv2.LUT(surface.index, white_table) * ring
        dull = (0.25 + 0.75 * surface.facing) * surface.shade
        level = dull + metal * (mirror * (0.35 + 0.65 * surface.shade) - dull)
        picture = canvas.albedo * level[..., None]
        picture += (canvas.gloss * (mirror - 0.16) * 0.12 * (1 - metal))[..., None]
        gain = capture.white_gain
    else:
        tiers = cv2.LUT(cv2.merge([surface.index] * 3), solder_table)
        shine = (metal + canvas.gloss * (0.12 * (1 - metal))) * (ring * (0.5 + 0.5 * surface.shade))
        picture = tiers * shine[..., None]
        picture += canvas.albedo * ((1 - metal) * surface.shade * 0.14)[..., None]
        gain = capture.solder_gain
    return _sense(picture, gain, capture, LIGHTS.index(light))


def _sense(picture: Map, gain: tuple[float, float, float], capture: Capture, channel: int) -> NDArray[np.uint8]:
    """Lens and sensor: pixel pitch, bloom, gradient, glare, blur, noise, gamma."""
    image = cv2.resize(picture, (CROP, CROP), interpolation=cv2.INTER_AREA)
    image *= np.asarray(gain, np.float32)
    axis = np.linspace(-0.5, 0.5, CROP, dtype=np.float32)
    field = 1 + np.float32(capture.slope[0]) * axis + (np.float32(capture.slope[1]) * axis)[:, None]
    bloom = cv2.GaussianBlur(np.maximum(image - 0.85, 0), (0, 0), 2.5)
    image = (image + 0.5 * bloom) * field[..., None]
    x, y, radius, strength = capture.glare
    if strength:
        pixel = (axis * CROP).astype(np.float32)
        spot = np.exp(-((pixel - x) ** 2 + ((pixel - y) ** 2)[:, None]) / np.float32(2 * radius * radius))
        image += (np.float32(strength if channel == 0 else 0.3 * strength) * spot)[..., None]
    image = cv2.GaussianBlur(image, (0, 0), capture.blur)
    rng = np.random.default_rng([capture.noise_seed, channel])
    image += np.float32(capture.noise) * rng.standard_normal(image.shape, dtype=np.float32)
    image = np.sqrt(np.clip(image, 0, 1)) * np.float32(255)  # gamma 2, close to the usual 2.2 and cheap
    return (image + np.float32(0.5)).astype(np.uint8)
