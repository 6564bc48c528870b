"""Tiny data sets for the engine's tests and a way to call it as a user does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml

import inside

SIZE = 48
LIGHTS = ("WhiteLight", "SolderLight")


def draw(path: Path, rng: np.random.Generator, defect: bool) -> None:
    """A bright part on a noisy board; a defect is a bright bar through it."""
    image = rng.normal(80, 5, (SIZE, SIZE, 3))
    left, top = 16 + rng.integers(-2, 3, 2)
    image[top : top + 18, left : left + 12] += 90
    if defect:
        image[20:25, 2:46] += rng.uniform(50, 110)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.clip(image, 0, 255).astype(np.uint8))


def make_rows(root: Path, name: str, count: int, seed: int, defects: int | None = None) -> Path:
    """`<root>/<name>.csv` with images under `<root>/images`; every fourth row is a defect unless `defects` says."""
    rng = np.random.default_rng(seed)
    total = count // 4 if defects is None else defects
    rows = []
    for number in range(count):
        defect = number < total
        for folder, shown in (("test", defect), ("golden", False)):
            for light in LIGHTS:
                draw(root / "images" / name / folder / f"{name}{number:03d}_{light}.png", rng, shown)
        label = "bridge" if defect else "PASS"
        rows.append((f"{name}/test", f"{name}/golden", label, f"{name}{number:03d}", f"0004{number}"))
    frame = pd.DataFrame(rows, columns=["input_path", "golden_path", "label", "object_name", "boardname"])
    frame = frame.sample(frac=1, random_state=seed)
    frame.to_csv(root / f"{name}.csv", index=False)
    return root / f"{name}.csv"


def make_set(root: Path) -> Path:
    """Four CSVs and a spec; returns the spec's path."""
    sets = {"train": 24, "validation": 16, "test": 16, "infer": 16}
    for seed, (name, count) in enumerate(sets.items()):
        make_rows(root, name, count, seed)
    datasets = {
        f"{name}_dataset": {"csv_path": str(root / f"{name}.csv"), "images_dir": str(root / "images")} for name in sets
    }
    spec = {
        "task": "classify",
        "results_dir": str(root / "results"),
        "dataset": {
            "classify": {
                **datasets,
                "image_ext": ".png",
                "image_width": SIZE,
                "image_height": SIZE,
                "input_map": {light: number for number, light in enumerate(LIGHTS)},
                "num_input": len(LIGHTS),
                "batch_size": 4,
            }
        },
        "train": {
            "num_epochs": 6,
            "checkpoint_interval": 2,
            "validation_interval": 1,
            "classify": {"loss": "ce", "cls_weight": [1.0, 10.0]},
        },
    }
    path = root / "spec.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


def engine(module: str, *arguments: str, cache: Path, cwd: Path | None = None) -> inside.Done:
    """`python -m deft_aoi.engine.<module> ...` with its own cache, in this process."""
    return inside.engine(module, *arguments, env={"DEFT_CACHE_DIR": str(cache)}, cwd=cwd)


def changed(spec: Path, target: Path, **values: Any) -> Path:
    """A copy of the spec with dotted keys (dots written as double underscores) set."""
    content = yaml.safe_load(spec.read_text(encoding="utf-8"))
    for key, value in values.items():
        node = content
        *parents, last = key.split("__")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    target.write_text(yaml.safe_dump(content), encoding="utf-8")
    return target
