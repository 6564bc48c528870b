"""A picture that an agent or a person looks at once: test, golden and difference of the weakest samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi import pictures
from deft_aoi.confine import leaves_workspace
from deft_aoi.fsio import atomic_write

Picture = NDArray[np.uint8]
TILE, TEXT, GAP = 128, 190, 4


def contact_sheet(samples: Sequence[pd.DataFrame], path: Path) -> None:
    """Write one PNG row for each sample (a frame with one row for each light: filepath, golden_filepath, ...)."""
    strips = [strip(sample) for sample in samples]
    sheet = np.full((1, max(s.shape[1] for s in strips), 3), 255, np.uint8)
    spacer = np.full((GAP, sheet.shape[1], 3), 255, np.uint8)
    parts: list[Picture] = [part for one in strips for part in (one, spacer)]
    ok, encoded = cv2.imencode(".png", np.vstack([sheet, *parts]))
    if not ok:
        raise OSError(f"{path}: OpenCV could not encode the contact sheet")
    atomic_write(path, lambda stream: stream.write(encoded.tobytes()))


def strip(sample: pd.DataFrame) -> Picture:
    """Text, then test | golden | absolute difference for each light, side by side."""
    first = sample.iloc[0]
    words = [
        str(first["label"]),
        f"score {first['siamese_score']:.4g}",
        f"weakness {first['weakness']:+.4g}",
        str(first["object_name"])[:26],
    ]
    text = np.full((TILE, TEXT, 3), 255, np.uint8)
    for number, line in enumerate(words):
        cv2.putText(text, line, (4, 24 + 26 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
    tiles: list[Picture] = [text]
    for test_file, golden_file in zip(sample["filepath"], sample["golden_filepath"], strict=True):
        test, golden = tile(test_file), tile(golden_file)
        tiles += [test, golden, np.asarray(cv2.absdiff(test, golden), np.uint8)]
    return np.hstack(tiles)


def tile(file: str) -> Picture:
    """The image at tile size; grey with a cross where it cannot be read."""
    image = None if leaves_workspace(file) else pictures.read(file, cv2.IMREAD_COLOR)
    if image is None:
        blank = np.full((TILE, TILE, 3), 128, np.uint8)
        cv2.line(blank, (0, 0), (TILE, TILE), (0, 0, 255), 2)
        return blank
    return np.asarray(cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_AREA), np.uint8)
