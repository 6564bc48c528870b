"""Faults planted into a simulated line: wrong labels, copies across sets, absent defects, damage, a missing light."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from deft_aoi.simulate.camera import LIGHTS

EXT = ".jpg"
POOL, TRAINING, KPI = (
    "augmentation/mining_pool/mining_pool.csv", "train/base/training_set.csv", "kpi/testing_set.csv",
)  # fmt: skip


def read(root: Path, csv: str) -> pd.DataFrame:
    return pd.read_csv(root / csv, dtype=str, keep_default_na=False)


def mislabel(root: Path, rng: np.random.Generator, count: int) -> set[tuple[str, str, str]]:
    """Call good parts of training and pool defects; returns (csv, folder, object_name) of each."""
    planted = set()
    for csv, share in ((TRAINING, count // 4), (POOL, count - count // 4)):
        rows = read(root, csv)
        chosen = rng.choice(np.flatnonzero(rows["label"] == "PASS"), share, replace=False)
        rows.loc[chosen, "label"] = "bridge"
        rows.to_csv(root / csv, index=False)
        planted |= {(csv, _folder(rows["input_path"][i]), rows["object_name"][i]) for i in chosen}
    return planted


def copy_kpi_rows(root: Path, rng: np.random.Generator, count: int) -> set[str]:
    """Put re-encoded, brightened copies of KPI parts, moved by up to a pixel, into the pool; returns their names."""
    rows, kpi = read(root, POOL), read(root, KPI)
    added, names = [], set()
    for number, i in enumerate(rng.choice(len(kpi), count, replace=False)):
        row = kpi.iloc[i].copy()
        name = f"COPY{number}@1"
        for part in ("input_path", "golden_path"):
            kind = part.removesuffix("_path").replace("input", "test")
            for light in LIGHTS:
                source = root / "kpi/images" / row[part] / f"{row['object_name']}_{light}{EXT}"
                target = root / "augmentation/mining_pool/images/copies" / kind / f"{name}_{light}{EXT}"
                target.parent.mkdir(parents=True, exist_ok=True)
                picture = _disguise(cv2.imread(str(source)), rng)
                cv2.imwrite(str(target), picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(75, 95))])
            row[part] = f"images/copies/{kind}"
        row["object_name"], row["boardname"] = name, "copies"
        names.add(name)
        added.append(row)
    pd.concat([rows, pd.DataFrame(added)], ignore_index=True).to_csv(root / POOL, index=False)
    return names


def drop_from_pool(root: Path, labels: set[str]) -> None:
    rows = read(root, POOL)
    rows[~rows["label"].isin(labels)].to_csv(root / POOL, index=False)


def damage(root: Path, csv: str, images: str, rng: np.random.Generator, share: float) -> set[int]:
    """Cut test images of a share of the rows short, or fill them with noise; returns the CSV's lines."""
    rows = read(root, csv)
    chosen = rng.choice(len(rows), round(share * len(rows)), replace=False)
    for number, i in enumerate(chosen):
        name = f"{rows['object_name'][i]}_{LIGHTS[number % len(LIGHTS)]}{EXT}"
        path = root / images / _folder(rows["input_path"][i]) / name
        path.write_bytes(rng.bytes(400) if number % 2 else b"")
    return {int(i) + 2 for i in chosen}


def remove_light(root: Path, light: str) -> int:
    """Delete one light of one KPI board; returns how many files that were."""
    rows = read(root, KPI)
    gone = list((root / "kpi/images" / rows["input_path"][0]).glob(f"*_{light}{EXT}"))
    for path in gone:
        path.unlink()
    return len(gone)


def _disguise(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    dx, dy = rng.integers(-1, 2, 2)
    move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    moved = cv2.warpAffine(picture, move, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    return np.clip(moved * rng.uniform(0.95, 1.05) + rng.uniform(-5, 5), 0, 255).astype(np.uint8)


def _folder(path: str) -> str:
    return path.rpartition("/")[0] if path.endswith(EXT) else path
