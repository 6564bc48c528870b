"""Deliberately crude pastes: what the realism screen learns to tell from real defects, and is measured with.

Three kinds, one each for what a blend gets wrong: a patch with a hard edge, one with another grain than its
surroundings, one in a colour that the light does not give.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

HARD, NOISE, COLOUR = "hard", "noise", "colour"
KINDS = (HARD, NOISE, COLOUR)
_SIZE = 0.15, 0.35  # of the picture's sides
_PLACE = 0.25, 0.75  # of the picture's sides: where its middle is
_SOFT = 1.5  # pixels of the edge that is not meant to be seen
_BLUR, _GRAIN = 1.5, 14.0  # pixels, grey levels
_TINT, _LIFT = (0.6, 1.5), (-10.0, 30.0)  # of each colour channel

Values = npt.NDArray[np.float32]


def paste(kind: str, pictures: Sequence[Values], others: Sequence[Values], rng: np.random.Generator) -> list[Values]:
    """The pictures of a part (one for each light, (h, w, channels), 0 to 255) with a patch of `others` on it.

    Place and size are drawn, and are the same under every light. The patch of kind `colour` is the part's own.
    """
    height, width = pictures[0].shape[:2]
    across, down = (max(3, int(rng.uniform(*_SIZE) * side)) for side in (width, height))
    left = int(rng.uniform(*_PLACE) * width - across / 2)
    top = int(rng.uniform(*_PLACE) * height - down / 2)
    from_x, from_y = int(rng.integers(0, width - across)), int(rng.integers(0, height - down))
    mask = np.zeros((height, width), np.float32)
    mask[max(top, 0) : top + down, max(left, 0) : left + across] = 1
    if kind != HARD:
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), _SOFT), np.float32)
    tint, lift, blurred = rng.uniform(*_TINT, 3), rng.uniform(*_LIFT), rng.random() < 0.5
    made = []
    for picture, other in zip(pictures, others):
        channels = picture.shape[2]
        if kind == COLOUR:
            patch = np.asarray(picture * tint[:channels] + lift, np.float32)
        else:
            fitted = cv2.resize(other, (width, height), interpolation=cv2.INTER_LINEAR).reshape(picture.shape)
            patch = np.asarray(np.roll(fitted, (top - from_y, left - from_x), axis=(0, 1)), np.float32)
        if kind == NOISE:
            rough = cv2.GaussianBlur(patch, (0, 0), _BLUR) if blurred else patch + rng.normal(0, _GRAIN, patch.shape)
            patch = np.asarray(rough, np.float32).reshape(picture.shape)
        mixed = patch * mask[:, :, None] + picture * (1 - mask[:, :, None])
        made.append(np.clip(np.rint(mixed), 0, 255).astype(np.float32))
    return made
