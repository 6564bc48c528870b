"""Pictures from a pretended line for the tests of `deft import`: boards, parts with a marking, goldens, defects."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 48
Picture = NDArray[np.uint8]


def scene(component: int) -> NDArray[np.float64]:
    """What a component looks like: its own board pattern, a body and a marking of eight cells."""
    rng = np.random.default_rng(component)
    pattern = cv2.resize(rng.uniform(40, 110, (6, 6)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    left, top = rng.integers(8, 16, 2)
    pattern[top : top + 22, left : left + 20] = 170
    for cell in range(8):
        if rng.random() < 0.5:
            row, column = top + 4 + 8 * (cell // 4), left + 2 + 4 * (cell % 4)
            pattern[row : row + 6, column : column + 3] = 60
    return pattern


def shot(component: int, seed: int, defect: bool = False, move: int = 1) -> Picture:
    """One picture: moved by up to `move` pixels, another lamp, camera noise; a defect is a bridge of solder."""
    rng = np.random.default_rng((component, seed))
    dx, dy = rng.integers(-move, move + 1, 2) if move else (0, 0)
    moved = cv2.warpAffine(
        scene(component), np.array([[1, 0, dx], [0, 1, dy]], np.float64), (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE
    )
    if defect:
        row = int(rng.integers(8, SIDE - 12))
        moved[row : row + 5, 4 : SIDE - 4] += 80
    return noisy(moved * rng.uniform(0.95, 1.05), rng)


def noisy(image: NDArray[np.float64], rng: np.random.Generator) -> Picture:
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def save(path: Path, image: Picture) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
    return path


def line(
    root: Path, *, boards: int = 10, components: int = 4, goldens: int = 4, good: str = "OK", bad: str = "NG",
    golden: str = "GOLDEN", first: int = 0,
) -> Path:  # fmt: skip
    """`boards` boards: each component good once, one of them with a defect too; goldens of the first components."""
    for board in range(first, first + boards):
        for number in range(components):
            save(root / good / f"SN{1000 + board}_R{number + 1}.png", shot(number, board))
        number = board % components
        save(root / bad / "bridge" / f"SN{1000 + board}_R{number + 1}.png", shot(number, 500 + board, defect=True))
    for number in range(goldens):
        save(root / golden / f"R{number + 1}.png", shot(number, 9000, move=0))
    return root
