"""Put a defect into a picture of a good part: a real one cut out and blended in, or a drawn one.

Pictures are uint8 BGR (h, w, 3), masks uint8 (h, w) with 255 inside. Nothing here draws a random number of its own:
the caller's generator decides, so that the same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi import pictures

Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]
Rng = np.random.Generator

_BINARY_SHARE, _BINARY_RANGE = (
    0.9,
    40,
)  # a picture of two levels: so many pixels within so many levels of black or white
_FEATHER = 1.2  # pixels


def transplant(clean: Picture, reference: Picture, mask: Mask) -> Picture:
    """`reference` inside `mask`, `clean` outside; all of one size and already in place.

    Poisson blending (Perez et al. 2003, OpenCV's seamlessClone) takes the gradients of the defect and the brightness of
    its new surroundings. Pictures of two levels (copper, foil) would smear under it: there the cut is feathered.
    """
    inner = _inside(mask)
    if not inner.any():
        return clean.copy()
    if is_binary(clean):
        return _feathered(clean, reference, inner)
    x, y, width, height = cv2.boundingRect(inner)
    blended = cv2.seamlessClone(reference, clean, inner, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return np.asarray(blended, np.uint8)


def read_picture(path: Path) -> Picture | None:
    """The file as BGR; None where it is no readable image."""
    image = pictures.read(path, cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, np.uint8)


def is_binary(picture: Picture) -> bool:
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return float(((grey < _BINARY_RANGE) | (grey > 255 - _BINARY_RANGE)).mean()) > _BINARY_SHARE


def placed(image: Picture | Mask, move: tuple[int, int], quarters: int = 0) -> npt.NDArray[np.uint8]:
    """The image turned by so many quarters, then moved by (dx, dy) pixels; edges repeated, masks with zeros."""
    turned = np.ascontiguousarray(np.rot90(image, quarters))
    border = cv2.BORDER_REPLICATE if image.ndim == 3 else cv2.BORDER_CONSTANT
    matrix = np.array([[1, 0, move[0]], [0, 1, move[1]]], np.float32)
    return np.asarray(cv2.warpAffine(turned, matrix, turned.shape[1::-1], flags=cv2.INTER_NEAREST, borderMode=border))


def grown(mask: Mask, pixels: int) -> Mask:
    """The mask dilated by so many pixels."""
    return np.asarray(cv2.dilate(mask, np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)), np.uint8)


@dataclass(frozen=True)
class Body:
    """Where the part lies: its mask, its box (x, y, width, height), and its bright ends, the joints."""

    mask: Mask
    box: tuple[int, int, int, int]
    joints: tuple[tuple[int, int], tuple[int, int]]

    @property
    def is_wide(self) -> bool:
        return self.box[2] >= self.box[3]


def find_body(lights: Sequence[Picture]) -> Body:
    """The patch nearest to the middle that differs from the border's colour; an ellipse there where none does."""
    height, width = lights[0].shape[:2]
    far = np.zeros((height, width), np.float32)
    for picture in lights:
        frame = max(2, round(0.06 * min(height, width)))
        border = np.concatenate([picture[:frame].reshape(-1, 3), picture[-frame:].reshape(-1, 3)])
        distance = np.abs(picture.astype(np.float32) - np.median(border, axis=0)).max(axis=2)
        far = np.maximum(far, cv2.GaussianBlur(distance, (0, 0), max(1.0, 0.012 * min(height, width))))
    _, cut = cv2.threshold(np.clip(far, 0, 255).astype(np.uint8), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(np.asarray(cut, np.uint8))
    away = np.hypot(*(np.indices((height, width)) - np.array([[[height / 2]], [[width / 2]]])))
    large = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] > 0.01 * height * width]
    nearest = min(large, key=lambda n: float(away[numbers == n].min()), default=0)
    mask = (numbers == nearest).astype(np.uint8) * 255 if nearest else np.zeros((height, width), np.uint8)
    share = float((mask > 0).mean())
    if not 0.02 <= share <= 0.6:
        mask[:] = 0
        cv2.ellipse(mask, (width // 2, height // 2), (width // 5, height // 7), 0, 0, 360, 255, -1)
    x, y, w, h = cv2.boundingRect(mask)
    if w >= h:
        joints = ((x + w // 8, y + h // 2), (x + w - 1 - w // 8, y + h // 2))
    else:
        joints = ((x + w // 2, y + h // 8), (x + w // 2, y + h - 1 - h // 8))
    return Body(mask, (x, y, w, h), joints)


@dataclass(frozen=True)
class Drawn:
    """A drawn defect: the pictures of all lights with it, and where it is."""

    pictures: list[Picture]
    mask: Mask


def draw(anomaly: str, lights: Sequence[Picture], rng: Rng) -> Drawn:
    """A defect with no example; the same geometry under every light. Raises KeyError for one that cannot be drawn."""
    return MAKERS[anomaly](lights, find_body(lights), rng)


def _missing(lights: Sequence[Picture], body: Body, rng: Rng) -> Drawn:
    """Nothing there: the board goes on under the part."""
    mask = grown(body.mask, 2)
    return Drawn([without(picture, mask, rng) for picture in lights], mask)


def _shift(lights: Sequence[Picture], body: Body, rng: Rng) -> Drawn:
    """The whole part off its place or skewed."""
    x, y, w, h = body.box
    angle = float(rng.uniform(-1, 1)) * (18 if rng.random() < 0.4 else 4)
    far = float(rng.uniform(0.15, 0.4)) * min(w, h) * (1 if rng.random() < 0.5 else -1)
    move = (0.2 * far, far) if body.is_wide else (far, 0.2 * far)
    turn = np.asarray(cv2.getRotationMatrix2D((x + w / 2, y + h / 2), angle, 1.0), np.float64)
    return _moved(lights, body, rng, turn, move)


def _tombstone(lights: Sequence[Picture], body: Body, rng: Rng) -> Drawn:
    """One end up: from above the part is short, and sits at the other end."""
    x, y, w, h = body.box
    keep, end = float(rng.uniform(0.4, 0.75)), int(rng.integers(2))
    if body.is_wide:
        fixed = x + end * w
        matrix = np.array([[keep, 0, fixed * (1 - keep)], [0, 1, 0]])
    else:
        fixed = y + end * h
        matrix = np.array([[1, 0, 0], [0, keep, fixed * (1 - keep)]])
    return _moved(lights, body, rng, matrix, (0.0, 0.0))


def _moved(
    lights: Sequence[Picture], body: Body, rng: Rng, matrix: npt.NDArray[np.float64], move: tuple[float, float]
) -> Drawn:
    """The body warped by `matrix` and moved, over a board that goes on where it was."""
    matrix = matrix + np.array([[0, 0, move[0]], [0, 0, move[1]]])
    size = body.mask.shape[::-1]
    part = grown(body.mask, 2)
    there = np.asarray(cv2.warpAffine(part, matrix, size, flags=cv2.INTER_NEAREST), np.uint8)
    pictures = []
    for picture in lights:
        empty = without(picture, part, rng)
        warped = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        pictures.append(_feathered(empty, np.asarray(warped, np.uint8), there))
    return Drawn(pictures, np.maximum(part, there))


def _bridge(lights: Sequence[Picture], body: Body, rng: Rng) -> Drawn:
    """A solder web along the part, from one joint to the other, or beside it to the next."""
    mask = np.zeros_like(body.mask)
    (x0, y0), (x1, y1) = body.joints
    side = (0.5 * float(rng.uniform(0.6, 1.1))) * (body.box[3] if body.is_wide else body.box[2])
    side *= 1 if rng.random() < 0.5 else -1
    bow = (0.0, side) if body.is_wide else (side, 0.0)
    wide = max(2, round(float(rng.uniform(0.05, 0.13)) * min(mask.shape)))
    points = [(x0, y0), ((x0 + x1) / 2 + bow[0], (y0 + y1) / 2 + bow[1]), (x1, y1)]
    steps = np.linspace(0, 1, 24)[:, None]
    curve = (1 - steps) ** 2 * points[0] + 2 * steps * (1 - steps) * np.array(points[1]) + steps**2 * points[2]
    cv2.polylines(mask, [np.rint(curve).astype(np.int32)], False, 255, wide, cv2.LINE_AA)
    return _solder(lights, np.asarray((mask > 127) * 255, np.uint8), rng)


def _excess(lights: Sequence[Picture], body: Body, rng: Rng) -> Drawn:
    """One joint bulges: it is drawn larger, with the colours that it has under each light."""
    height, width = body.mask.shape
    x, y = body.joints[int(rng.integers(2))]
    across = max(4, round(float(rng.uniform(0.55, 0.8)) * min(body.box[2:])))
    gain = float(rng.uniform(1.3, 1.8))
    matrix = np.array([[gain, 0, x * (1 - gain)], [0, gain, y * (1 - gain)]])
    mask = np.zeros_like(body.mask)
    cv2.ellipse(mask, (x, y), (across, across), 0, 0, 360, 255, -1)
    pictures = []
    for picture in lights:
        larger = cv2.warpAffine(
            picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        pictures.append(_feathered(picture, np.asarray(larger, np.uint8), mask))
    return Drawn(pictures, mask)


def _insufficient(lights: Sequence[Picture], body: Body, rng: Rng) -> Drawn:
    """One joint starved: the board shows where its solder should be."""
    mask = np.zeros_like(body.mask)
    x, y = body.joints[int(rng.integers(2))]
    across = max(3, round(float(rng.uniform(0.2, 0.35)) * min(body.box[2:])))
    cv2.ellipse(mask, (x, y), (across, across), 0, 0, 360, 255, -1)
    share = float(rng.uniform(0.55, 0.95))
    pictures = []
    for picture in lights:
        empty = without(picture, mask, rng).astype(np.float32)
        mixed = share * empty + (1 - share) * picture.astype(np.float32)
        pictures.append(_feathered(picture, np.rint(mixed).astype(np.uint8), mask))
    return Drawn(pictures, mask)


MAKERS: dict[str, Callable[[Sequence[Picture], Body, Rng], Drawn]] = {
    "missing": _missing,
    "shift": _shift,
    "tombstone": _tombstone,
    "bridge": _bridge,
    "excess_solder": _excess,
    "insufficient_solder": _insufficient,
}


def without(picture: Picture, mask: Mask, rng: Rng) -> Picture:
    """The picture with the surroundings drawn over `mask`, and their grain on top (inpainting alone is too smooth)."""
    filled = cv2.inpaint(picture, mask, 3, cv2.INPAINT_TELEA).astype(np.float32)
    ring = (grown(mask, 6) > 0) & (mask == 0)
    around = picture.astype(np.float32)
    fine = (around - cv2.GaussianBlur(around, (0, 0), 1.5))[ring]
    size = np.abs(fine).max(axis=1) if len(fine) else np.zeros(0)
    fine = fine[size <= 2.5 * np.median(size)] if len(fine) else fine  # grain only: no edges of print or parts
    if len(fine):
        grain = fine[rng.integers(0, len(fine), picture.shape[:2])]  # whole pixels, so that colours stay together
        filled[mask > 0] += grain[mask > 0]
    return np.clip(np.rint(filled), 0, 255).astype(np.uint8)


def _solder(lights: Sequence[Picture], mask: Mask, rng: Rng) -> Drawn:
    """A round body of solder over `mask`: the colour of what is bright here, darker where its flank falls away."""
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    shade = np.sqrt(np.clip(depth / max(float(depth.max()), 1.0), 0, 1))[:, :, None]
    gain = float(rng.uniform(0.9, 1.15))
    pictures = []
    for picture in lights:
        level = picture.max(axis=2)
        colour = np.median(picture[level >= np.percentile(level, 96)].reshape(-1, 3), axis=0)
        body = colour * gain * (0.45 + 0.55 * shade)
        solder = np.clip(np.rint(np.broadcast_to(body, picture.shape)), 0, 255).astype(np.uint8)
        pictures.append(_feathered(picture, solder, mask))
    return Drawn(pictures, mask)


def _inside(mask: Mask) -> Mask:
    """The mask without the picture's own border, where Poisson blending has no neighbours to meet."""
    inner = (mask > 0).astype(np.uint8) * 255
    inner[:2] = inner[-2:] = 0
    inner[:, :2] = inner[:, -2:] = 0
    return inner


def _feathered(below: Picture, above: Picture, mask: Mask) -> Picture:
    """`above` inside `mask`, with an edge as soft as a lens makes it."""
    share = cv2.GaussianBlur((mask > 0).astype(np.float32), (0, 0), _FEATHER)[:, :, None]
    mixed = share * above.astype(np.float32) + (1 - share) * below.astype(np.float32)
    return np.rint(mixed).astype(np.uint8)
