"""Put a real defect, cut out of one picture, into a picture of a good part of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deft_aoi.synthetic.patches import (
    Floats,
    Mask,
    Picture,
    Rng,
    feathered,
    is_binary,
    rounded,
    shrunk,
    softened,
    without,
)
from deft_aoi.synthetic.picture_parts import find_body, ground_colour

_LEVEL = 24.0  # grey levels: pixels nearer than this to the board's colour are board
_GAIN = 0.6, 1.6  # least and most that a picture is brightened to its new surroundings


def transplant(cleans: Sequence[Picture], references: Sequence[Picture], mask: Mask, rng: Rng) -> list[Picture]:
    """The defect of `references` inside `mask`, `cleans` outside; one picture for each light, all in place.

    What was board in the defect's picture becomes the good picture's own board, what was metal or body keeps its
    colour, brightened to the new light: a gradient blend would tint metal with the difference of two boards and leave a
    ghost of what is not there any more. Neighbouring parts stay as they are. Pictures of two levels (copper, foil) and
    pictures of which nothing can be told get the cut itself.
    """
    inner = _inside(mask)
    if not inner.any():
        return [clean.copy() for clean in cleans]
    if all(is_binary(clean) for clean in cleans):
        return [feathered(clean, reference, inner) for clean, reference in zip(cleans, references)]
    body = find_body(cleans)
    inner[shrunk(body.others, 2) > 0] = 0
    if not inner.any():
        return [clean.copy() for clean in cleans]
    board = _board_share(references)
    made = []
    for clean, reference in zip(cleans, references):
        empty = without(clean, inner, body.ground, rng).astype(np.float32)
        gain = _gain(clean, reference, inner)
        above = board * empty + (1 - board) * np.clip(reference.astype(np.float32) * gain, 0, 255)
        made.append(feathered(clean, rounded(above), inner))
    return made


def _board_share(references: Sequence[Picture]) -> Floats:
    """(h, w, 1): 1 where the defect's picture shows board under every light, 0 where it shows a part."""
    far = np.zeros(references[0].shape[:2], np.float32)
    for picture in references:
        distance = np.abs(picture.astype(np.float32) - ground_colour(picture)).max(axis=2)
        far = np.maximum(far, cv2.GaussianBlur(distance, (0, 0), 0.8))
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
