"""A small data set in AnomalyGen's layout, made by code: green boards with one light chip, one colour of ground."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

GROUND = (40, 160, 40)  # RGB of `pad` in the cad masks
SIDE = 64


def board(rng: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """BGR picture: noisy green with a light chip in the middle."""
    image = rng.normal((60, 110, 50), 4, (side, side, 3))
    half = side // 6
    middle = side // 2 + int(rng.integers(-1, 2))
    image[middle - half : middle + half, middle - 2 * half : middle + 2 * half] = (190, 200, 205)
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def make_set(
    root: Path, *, dependency: str = "free", cleans: int = 4, masks: int = 3, box: tuple[int, int] = (10, 8),
    ground: tuple[int, int, int] = GROUND, seed: int = 0, side: int = SIDE,
    defects: tuple[str, ...] = ("bridge", "missing"),
) -> Path:  # fmt: skip
    """Write a set with one texture `IC`; `box` is the (width, height) of every mask, `ground` the masks' RGB colour."""
    rng = np.random.default_rng(seed)
    home = root / "IC"
    for number in range(cleans):
        write(home / "clean_image" / f"c{number}.png", board(rng, side))
        cad = np.zeros((side, side, 3), np.uint8)
        cad[side // 4 : -side // 4, side // 4 : -side // 4] = ground[::-1]
        write(home / "cad_mask" / f"c{number}.png", cad)
    for defect in defects:
        for number in range(masks):
            picture, mask = board(rng, side), np.zeros((side, side), np.uint8)
            top, left = (side - box[1]) // 2 + number, (side - box[0]) // 2
            mask[top : top + box[1], left : left + box[0]] = 255
            picture[mask > 0] = (20, 20, 30) if defect == "missing" else (230, 235, 240)
            write(home / "mask" / defect / f"n{number}.png", mask)
            write(home / "anomaly_image" / defect / f"n{number}.png", picture)
    lines = [{"defect_type": f"IC+{defect}", "spatial_dependency": dependency} for defect in defects]
    (root / "defect_spec.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    labels = {str((*GROUND, 255)): {"class": "pad"}, "(0, 0, 0, 255)": {"class": "BACKGROUND"}}
    (root / "semantic_segmentation_labels.json").write_text(json.dumps(labels))
    return root


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path
