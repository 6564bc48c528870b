"""A tiny workspace made by code: grey chips on noise, defects that fade, move or bridge the chip."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import yaml

LIGHTS = ("WhiteLight", "SolderLight")
SIZE = 48
DEFECTS = ("missing", "shift", "bridge")


def draw(rng: np.random.Generator, label: str) -> np.ndarray:
    """One crop (SIZE, SIZE, 3) uint8; PASS parts move by up to two pixels, defects range from plain to invisible."""
    image = rng.normal(90 + rng.uniform(-12, 12), 6, (SIZE, SIZE, 3))
    severity = rng.uniform(0.05, 1.0)
    dx, dy = rng.integers(-2, 3, 2) + (round(7 * severity) if label == "shift" else 0)
    image[14 + dy : 34 + dy, 18 + dx : 30 + dx] += 90 * (1 - severity if label == "missing" else 1)
    if label == "bridge":
        image[20:24, 4:44] += 110 * severity
    return np.clip(image, 0, 255).astype(np.uint8)


def make_workspace(
    root: Path, *, seed: int = 0, counts: tuple[int, int, int, int] = (40, 32, 60, 80), share: float = 0.3,
    acceptance: int = 0,
) -> Path:  # fmt: skip
    """Write a workspace with (seed, validation, kpi, pool) rows, `share` of them defects; returns `root`.

    `acceptance` rows make a sealed acceptance set; the others are the same with and without it.
    """
    rng = np.random.default_rng(seed)
    sets = {
        "train/base/training_set.csv": ("kpi/images", "T", counts[0], DEFECTS[:2]),
        "train/base/validation_set.csv": ("kpi/images", "V", counts[1], DEFECTS),
        "kpi/testing_set.csv": ("kpi/images", "K", counts[2], DEFECTS),
        "augmentation/mining_pool/mining_pool.csv": ("augmentation/mining_pool", "P", counts[3], DEFECTS),
    }
    if acceptance:
        sets["kpi/acceptance_set.csv"] = ("kpi/images", "A", acceptance, DEFECTS)
    for csv, (images, board, count, defects) in sets.items():
        rows = [_row(rng, root / images, f"{board}{n % 4}", f"C{n}", _label(n, share, defects)) for n in range(count)]
        (root / csv).parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(root / csv, index=False)
    (root / "specs").mkdir(parents=True, exist_ok=True)
    (root / "specs/baseline_spec.yaml").write_text(yaml.safe_dump(spec()))
    return root


def _label(number: int, share: float, defects: tuple[str, ...]) -> str:
    every = round(1 / share)
    return defects[number // every % len(defects)] if number % every == 0 else "PASS"


def _row(rng: np.random.Generator, images: Path, board: str, name: str, label: str) -> dict[str, str]:
    for folder, kind in ((f"{board}/test", label), (f"{board}/golden", "PASS")):
        (images / folder).mkdir(parents=True, exist_ok=True)
        for light in LIGHTS:
            cv2.imwrite(str(images / folder / f"{name}_{light}.png"), draw(rng, kind))
    return {
        "input_path": f"{board}/test",
        "golden_path": f"{board}/golden",
        "label": label,
        "object_name": name,
        "boardname": board,
    }


def spec() -> dict[str, object]:
    """A TAO spec of two lights, four epochs."""
    return {
        "task": "classify",
        "model": {
            "backbone": {"type": "fan_tiny_8_p4_hybrid"},  # takes these sizes; C-RADIO only 224 x 224
            "classify": {"difference_module": "learnable"},
        },
        "dataset": {
            "classify": {
                "image_ext": ".png",
                "image_width": SIZE,
                "image_height": SIZE,
                "num_input": len(LIGHTS),
                "concat_type": "linear",
                "input_map": {name: number for number, name in enumerate(LIGHTS)},
                "batch_size": 8,
                "num_classes": 2,
                "fpratio_sampling": 0.2,
            }
        },
        "train": {
            "num_epochs": 4,
            "checkpoint_interval": 1,
            "validation_interval": 1,
            "seed": 7,
            "classify": {"loss": "ce", "cls_weight": [1.0, 10.0]},
        },
    }
