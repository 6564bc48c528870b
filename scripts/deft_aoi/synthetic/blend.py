"""Put a real defect, cut out of one picture, into a picture of a good part of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.synthetic.patches import (
    Floats,
    Mask,
    Picture,
    Rng,
    feathered,
    grown,
    is_binary,
    rounded,
    shrunk,
    softened,
    without,
)

_LEVEL = 24.0  # grey levels: pixels nearer than this to the board's colour are board
_ASKED, _ALIKE = 160, 20  # pixels of the border that are compared with all others, grey levels that are one colour
_GAIN = 0.6, 1.6  # least and most that a picture is brightened to its new surroundings


def transplant(cleans: Sequence[Picture], references: Sequence[Picture], mask: Mask, rng: Rng) -> list[Picture]:
    """The defect of `references` inside `mask`, `cleans` outside; one picture for each light, all in place.

    What was board in the defect's picture becomes the good picture's own board, what was metal or body keeps its
    colour, brightened to the new light: a gradient blend would tint metal with the difference of two boards and leave a
    ghost of what is not there any more. Neighbouring parts stay as they are. Pictures of two levels (copper, foil) and
    pictures of which nothing can be determined get the cut itself.
    """
    inner = _inside(mask)
    if not inner.any():
        return [clean.copy() for clean in cleans]
    if all(is_binary(clean) for clean in cleans):
        return [feathered(clean, reference, inner) for clean, reference in zip(cleans, references)]
    ground, others = surroundings(cleans)
    inner[shrunk(others, 2) > 0] = 0
    if not inner.any():
        return [clean.copy() for clean in cleans]
    board = _board_share(references)
    made = []
    for clean, reference in zip(cleans, references):
        empty = without(clean, inner, ground, rng).astype(np.float32)
        gain = _gain(clean, reference, inner)
        above = board * empty + (1 - board) * np.clip(reference.astype(np.float32) * gain, 0, 255)
        made.append(feathered(clean, rounded(above), inner))
    return made


def surroundings(lights: Sequence[Picture]) -> tuple[Mask, Mask]:
    """(255 at bare board, 255 at the parts around the one in the middle) of a part's pictures under each light.

    Colours alone decide, so it holds for any board; where no part is found, an ellipse in the middle is the part.
    """
    shape = lights[0].shape[:2]
    parts = _foreground(np.stack([_far_from_ground(picture) for picture in lights]).max(axis=0))
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(parts)
    away = np.hypot(*(np.indices(shape) - np.array([[[shape[0] / 2]], [[shape[1] / 2]]])))
    large = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] > 0.01 * shape[0] * shape[1]]
    nearest = min(large, key=lambda n: float(np.median(away[numbers == n])), default=0)
    own = _filled(numbers == nearest) if nearest else np.zeros(shape, np.uint8)
    others = np.where(np.isin(numbers, [n for n in large if n != nearest]) & (own == 0), 255, 0).astype(np.uint8)
    if not 0.02 <= float((own > 0).mean()) <= 0.8:
        own[:], others[:] = 0, 0
        cv2.ellipse(own, (shape[1] // 2, shape[0] // 2), (shape[1] // 5, shape[0] // 7), 0, 0, 360, 255, -1)
    return np.where(grown(np.maximum(parts, own), 2) > 0, 0, 255).astype(np.uint8), others


def ground_colour(picture: Picture) -> Floats:
    """(3,): the commonest colour near the border, which is board even where a neighbour reaches in."""
    frame = max(2, round(0.14 * min(picture.shape[:2])))
    rim = np.ones(picture.shape[:2], bool)
    rim[frame:-frame, frame:-frame] = False
    pixels = picture[rim].astype(np.float32)
    asked = pixels[:: max(1, len(pixels) // _ASKED)]
    near = np.abs(asked[:, None, :] - pixels[None, :, :]).max(axis=2) < _ALIKE
    return np.asarray(np.median(pixels[near[int(near.sum(axis=1).argmax())]], axis=0), np.float32)


def _far_from_ground(picture: Picture) -> Floats:
    """(h, w): how far a pixel's colour is from the board's, in grey levels of the channel that differs most."""
    far = np.abs(picture.astype(np.float32) - ground_colour(picture)).max(axis=2)
    return np.asarray(cv2.GaussianBlur(far, (0, 0), 0.8), np.float32)


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


def _board_share(references: Sequence[Picture]) -> Floats:
    """(h, w, 1): 1 where the defect's picture shows board under every light, 0 where it shows a part."""
    far = np.zeros(references[0].shape[:2], np.float32)
    for picture in references:
        far = np.maximum(far, _far_from_ground(picture))
    share = 1.0 / (1.0 + np.exp((far - _LEVEL) / 4.0))
    return np.asarray(share[:, :, None], np.float32)


def _gain(clean: Picture, reference: Picture, mask: Mask) -> float:
    """How much brighter the good picture's parts are than the defect's, outside the mask."""
    outside = softened(mask) < 0.02
    levels = []
    for picture in (clean, reference):
        away = np.abs(picture.astype(np.float32) - ground_colour(picture)).max(axis=2)
        there = outside & (away > 1.5 * _LEVEL)
        levels.append(picture[there].astype(np.float32).mean(axis=0) if there.sum() >= 40 else None)
    first, second = levels
    if first is None or second is None:
        return 1.0
    # One number for all colours: metal has none of its own.
    return float(np.clip(float(first.mean()) / max(float(second.mean()), 1.0), *_GAIN))


def _inside(mask: Mask) -> Mask:
    """The mask without the picture's own border, where nothing is known of the surroundings."""
    inner = (mask > 0).astype(np.uint8) * 255
    inner[:2] = inner[-2:] = 0
    inner[:, :2] = inner[:, -2:] = 0
    return inner
