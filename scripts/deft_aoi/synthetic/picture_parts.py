"""What stands in a picture of a part: board, the part itself with its metal, its neighbours, and how its solder shines.

Everything is told from colours alone, so it holds for any board and any lights; where nothing can be told, an ellipse
in the middle is the part and its two ends are the joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.synthetic.patches import Floats, Mask, Picture, Rng, feathered, grown, rounded

_ASKED, _ALIKE = 160, 20  # pixels of the border that are compared with all others, grey levels that are one colour
_WIDTHS = 0.75, 0.6, 0.45, 0.3  # of the box's shorter side: what is narrower is no body
_LEAST_BODY, _LEAST_LEAD = 0.35, 0.012  # of the part's area
_SHINES = 32.0  # grey levels that metal is away from the board under every light
_END = 0.25  # of the length of a part without leads: a joint
_LEVELS = 12  # of a joint, from its outer edge inwards, that the colours of solder are told apart by
_ROUND = 0.09  # of the picture's side: how far in drawn solder slopes


@dataclass(frozen=True)
class Body:
    """Where the part lies: its mask (leads too), its box (x, y, width, height), its joints, and what is around it.

    `ground` is board, `others` the neighbouring parts, `joints` one mask each, with at least two of them.
    """

    mask: Mask
    box: tuple[int, int, int, int]
    joints: tuple[Mask, ...]
    has_leads: bool
    ground: Mask
    others: Mask

    @property
    def is_wide(self) -> bool:
        return self.box[2] >= self.box[3]


def find_body(lights: Sequence[Picture]) -> Body:
    """The patch nearest to the middle that is not board; an ellipse there where none is."""
    shape = lights[0].shape[:2]
    far = _far_from_ground(lights)
    parts = _foreground(far.max(axis=0))
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(parts)
    away = np.hypot(*(np.indices(shape) - np.array([[[shape[0] / 2]], [[shape[1] / 2]]])))
    large = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] > 0.01 * shape[0] * shape[1]]
    nearest = min(large, key=lambda n: float(np.median(away[numbers == n])), default=0)
    mask = _filled(numbers == nearest) if nearest else np.zeros(shape, np.uint8)
    others = np.where(np.isin(numbers, [n for n in large if n != nearest]) & (mask == 0), 255, 0).astype(np.uint8)
    leads: tuple[Mask, ...] = ()
    if 0.02 <= float((mask > 0).mean()) <= 0.8:
        mask, leads = _body_and_leads(mask, far.min(axis=0))
    else:
        mask[:], others[:] = 0, 0
        cv2.ellipse(mask, (shape[1] // 2, shape[0] // 2), (shape[1] // 5, shape[0] // 7), 0, 0, 360, 255, -1)
    ground = np.where(grown(np.maximum(parts, mask), 2) > 0, 0, 255).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    joints = leads or _ends(mask, (x, y, width, height))
    return Body(mask, (x, y, width, height), joints, bool(leads), ground, others)


def ground_colour(picture: Picture) -> Floats:
    """(3,): the commonest colour near the border, which is board even where a neighbour reaches in."""
    frame = max(2, round(0.14 * min(picture.shape[:2])))
    rim = np.ones(picture.shape[:2], bool)
    rim[frame:-frame, frame:-frame] = False
    pixels = picture[rim].astype(np.float32)
    asked = pixels[:: max(1, len(pixels) // _ASKED)]
    near = np.abs(asked[:, None, :] - pixels[None, :, :]).max(axis=2) < _ALIKE
    return np.asarray(np.median(pixels[near[int(near.sum(axis=1).argmax())]], axis=0), np.float32)


def _far_from_ground(lights: Sequence[Picture]) -> Floats:
    """(lights, h, w): how far a pixel's colour is from the board's, in grey levels of the channel that differs most."""
    return np.stack(
        [
            cv2.GaussianBlur(np.abs(picture.astype(np.float32) - ground_colour(picture)).max(axis=2), (0, 0), 0.8)
            for picture in lights
        ]
    )


def _foreground(far: Floats) -> Mask:
    """255 at parts; print and traces are too thin or too faint."""
    level, _ = cv2.threshold(np.clip(far, 0, 255).astype(np.uint8), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    cut = (far > np.clip(0.5 * level, 26, 36)).astype(np.uint8) * 255
    width = max(3, round(0.03 * min(far.shape)))
    return np.asarray(cv2.morphologyEx(cut, cv2.MORPH_OPEN, np.ones((width, width), np.uint8)), np.uint8)


def _filled(shape: npt.NDArray[np.bool_]) -> Mask:
    """A patch without holes: print on a part is part of it."""
    outlines, _ = cv2.findContours(shape.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros(shape.shape, np.uint8), outlines, -1, 255, -1), np.uint8)


def _body_and_leads(mask: Mask, far: Floats) -> tuple[Mask, tuple[Mask, ...]]:
    """(the part without what only touches it, one mask for each lead; none where fewer than two are told).

    A lead is too narrow to be body, and bright under every light (`far` is the least of them): print beside the part
    and stains are not.
    """
    area, shorter = int((mask > 0).sum()), min(cv2.boundingRect(mask)[2:])
    trimmed = mask
    for share in _WIDTHS:
        width = max(3, round(share * shorter))
        body = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((width, width), np.uint8)), np.uint8)
        if (body > 0).sum() < _LEAST_BODY * area:
            continue
        narrow = np.where((mask > 0) & (grown(body, 1) == 0), 255, 0).astype(np.uint8)
        count, numbers, stats, _ = cv2.connectedComponentsWithStats(narrow)
        large = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] >= max(8, _LEAST_LEAD * area)]
        leads = [n for n in large if float(np.median(far[numbers == n])) >= _SHINES]
        if len(leads) >= 2:
            kept = np.where(np.isin(numbers, leads), 255, 0).astype(np.uint8)
            whole = np.minimum(np.maximum(grown(kept, 2), body), mask)
            return whole, tuple(np.where(numbers == n, 255, 0).astype(np.uint8) for n in leads)
        trimmed = body if trimmed is mask else trimmed
    return trimmed, ()


def _ends(mask: Mask, box: tuple[int, int, int, int]) -> tuple[Mask, ...]:
    x, y, width, height = box
    found = []
    for far in (False, True):
        end = np.zeros_like(mask)
        if width >= height:
            size = max(1, round(_END * width))
            left = x + width - size if far else x
            end[y : y + height, left : left + size] = 255
        else:
            size = max(1, round(_END * height))
            top = y + height - size if far else y
            end[top : top + size, x : x + width] = 255
        found.append(np.minimum(end, mask))
    return tuple(found)


def slope(body: Body) -> Floats:
    """(h, w): how far in from its rim a pixel of a joint lies, 0 to 1; NaN elsewhere. The rim of a lead is its outline,
    that of a part's end its outer edge: the end's long sides do not slope."""
    x, y, width, height = body.box
    rows, columns = np.indices(body.mask.shape)
    deep: Floats = np.full(body.mask.shape, np.nan, np.float32)
    share: npt.NDArray[np.floating[Any]]
    for joint in body.joints:
        jx, jy, jw, jh = cv2.boundingRect(joint)
        if body.has_leads:
            far = cv2.distanceTransform(joint, cv2.DIST_L2, 3)
            share = np.asarray(far / max(float(far.max()) + 0.5, 1.0))
        elif width >= height:
            share = np.asarray((columns - jx if jx + jw / 2 < x + width / 2 else jx + jw - 1 - columns) / jw)
        else:
            share = np.asarray((rows - jy if jy + jh / 2 < y + height / 2 else jy + jh - 1 - rows) / jh)
        there = joint > 0
        deep[there] = share[there]
    return deep


@dataclass(frozen=True)
class Solder:
    """How this board's solder shines under each light: its colour from a joint's outer edge inwards, (levels, 3)."""

    ramps: tuple[Floats, ...]

    def paint(self, lights: Sequence[Picture], mask: Mask, rng: Rng, *, flat: bool = False) -> list[Picture]:
        """The pictures with solder over `mask`: a rounded body, or a `flat` wetted pad. The facets are the same under
        every light, as they are the same solder."""
        depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
        rough = cv2.GaussianBlur(rng.normal(size=mask.shape).astype(np.float32), (0, 0), 1.8)
        wave = np.asarray(rough / max(float(np.std(rough)), 1e-6), np.float32)
        last = _LEVELS - 1
        if flat:
            level = last * (0.9 - 0.25 * (depth < 1.5) - 0.1 * np.maximum(wave, 0))
        else:
            level = last * np.minimum(depth / max(_ROUND * min(mask.shape), 1.0), 0.95) + 0.06 * last * wave
        level = np.clip(level, 0, last)
        low = np.floor(level).astype(int)
        share = (level - low)[:, :, None]
        made = []
        for picture, ramp in zip(lights, self.ramps):
            colour = (1 - share) * ramp[low] + share * ramp[np.minimum(low + 1, last)]
            values = picture.astype(np.float32)
            spread = 1.48 * float(np.median(np.abs(values - cv2.GaussianBlur(values, (0, 0), 1.0))))
            noise = cv2.GaussianBlur(rng.normal(0, 1.0, picture.shape).astype(np.float32), (0, 0), 0.6)
            soft = cv2.GaussianBlur(np.asarray(colour, np.float32), (0, 0), 0.7)
            made.append(feathered(picture, rounded(soft + 2.0 * spread * noise), mask))
        return made


def solder_of(lights: Sequence[Picture], body: Body) -> Solder:
    """Colours of the part's own joints from the outside in; a level without pixels takes what is beside it."""
    deep = slope(body)
    ramps = []
    for picture in lights:
        ramp = np.full((_LEVELS, 3), np.nan, np.float32)
        for level in range(_LEVELS):
            there = (deep >= level / _LEVELS) & (deep < (level + 1) / _LEVELS)
            if there.sum() >= 3:
                ramp[level] = np.median(picture[there], axis=0)
        known = np.flatnonzero(~np.isnan(ramp[:, 0]))
        if not len(known):
            ramp[:] = np.median(picture[body.mask > 0], axis=0)
        else:
            for channel in range(3):
                ramp[:, channel] = np.interp(np.arange(_LEVELS), known, ramp[known, channel])
        ramps.append(ramp)
    return Solder(tuple(ramps))
