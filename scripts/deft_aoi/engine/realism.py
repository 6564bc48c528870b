"""`realism_screen`: which synthetic pairs look unlike anything that the camera has seen.

Three measures of each pair, every one judged against what real parts show (their own 1st and 99th percentile):
the distance to the nearest real picture in the trunk's space, how steep the changed patch begins (a cut has a harder
seam than a lens draws), and how its grain compares with the picture around it. A flag is a question to a person, no
verdict: an unseen defect is far from every real one by its nature.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from deft_aoi.cli import guarded
from deft_aoi.contracts import PASS, read_rows, write_rows
from deft_aoi.engine.anomaly_source import defect_mask
from deft_aoi.engine.embedding import embed
from deft_aoi.engine.features import in_parallel
from deft_aoi.engine.images import Pair, decode, luminance, make_pair
from deft_aoi.errors import InputError
from deft_aoi.fsio import atomic_write_json

RESULT, LIMITS = "realism.csv", "limits.json"
FAR, SEAM, GRAIN, NOTHING = "far from every real part", "hard seam", "grain differs", "no visible change"
FEWEST = 12  # real defects, below which their percentiles say nothing
_EDGE = 1.0  # percentile at either end


@dataclass(frozen=True)
class Measures:
    """Of one pair; None where nothing changed. `grain`: log2 of the patch's grain over its surroundings'."""

    seam: float | None
    grain: float | None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="realism_screen", description=__doc__)
    columns = "CSV with name, label, light, test, golden: one row a picture"
    parser.add_argument("--pairs", type=Path, required=True, help=f"synthetic pairs: {columns}")
    parser.add_argument("--real", type=Path, required=True, help="the same of real parts, good and defective")
    parser.add_argument("--output", type=Path, required=True, help="folder for realism.csv and limits.json")
    args = parser.parse_args(argv)
    table, limits = screen(_read(args.pairs), _read(args.real))
    write_rows(args.output / RESULT, table)
    atomic_write_json(args.output / LIMITS, limits)
    print(f"{int((table['flags'] != '').sum())} of {len(table)} pairs flagged")
    return 0


def _read(csv: Path) -> pd.DataFrame:
    return read_rows(csv, required=("name", "label", "light", "test", "golden"))


def screen(pairs: pd.DataFrame, real: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float | int | None]]:
    """One row for each pair (name, label, distance, seam, grain, flags) and the limits that real parts gave."""
    near, own = _distances(pairs, real)
    made, known = _measure(pairs), _measure(real[real["label"] != PASS])
    seams = [m.seam for m in known.values() if m.seam is not None]
    grains = [m.grain for m in known.values() if m.grain is not None]
    enough = len(seams) >= FEWEST
    limits: dict[str, float | int | None] = {
        "real_parts": int(real["name"].nunique()),
        "real_defects": len(seams),
        "distance": float(np.percentile(list(own.values()), 100 - _EDGE)) if len(own) >= FEWEST else None,
        "seam": float(np.percentile(seams, 100 - _EDGE)) if enough else None,
        "grain_low": float(np.percentile(grains, _EDGE)) if enough else None,
        "grain_high": float(np.percentile(grains, 100 - _EDGE)) if enough else None,
    }
    rows = []
    for name, group in pairs.groupby("name", sort=False):
        found, distance = made[str(name)], near.get(str(name))
        rows.append(
            {
                "name": str(name), "label": str(group["label"].iloc[0]), "distance": _text(distance),
                "seam": _text(found.seam), "grain": _text(found.grain),
                "flags": "; ".join(_flags(found, distance, limits)),
            }
        )  # fmt: skip
    return pd.DataFrame(rows, dtype=str), limits


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _flags(found: Measures, distance: float | None, limits: dict[str, float | int | None]) -> list[str]:
    if found.seam is None or found.grain is None:
        return [NOTHING]
    flags = []
    far, seam, low, high = (limits[name] for name in ("distance", "seam", "grain_low", "grain_high"))
    if distance is not None and far is not None and distance > far:
        flags.append(FAR)
    if seam is not None and found.seam > seam:
        flags.append(SEAM)
    if low is not None and high is not None and not low <= found.grain <= high:
        flags.append(GRAIN)
    return flags


def _distances(pairs: pd.DataFrame, real: pd.DataFrame) -> tuple[dict[str, float], dict[str, float]]:
    """Cosine distance to the nearest other real part under the light where it is largest: of pairs, of real parts."""
    near: dict[str, float] = {}
    own: dict[str, float] = {}
    for light, group in pairs.groupby("light", sort=True):
        beside = real[real["light"] == light]
        vectors, known = _vectors(group), _vectors(beside)
        if not len(known) or not len(vectors):
            continue
        for names, table, skip, into in ((group["name"], vectors, False, near), (beside["name"], known, True, own)):
            similarity = table @ known.T
            if skip:
                np.fill_diagonal(similarity, -1.0)
            for name, value in zip(names, 1.0 - similarity.max(axis=1)):
                into[str(name)] = max(into.get(str(name), 0.0), float(value))
    return near, own


def _vectors(rows: pd.DataFrame) -> npt.NDArray[np.float32]:
    vectors = embed([str(path) for path in rows["test"]])
    lost = [path for path, vector in zip(rows["test"], vectors) if vector is None]
    if lost:
        raise InputError(f"{lost[0]}: no readable picture ({len(lost)} such)")
    table = np.stack([vector for vector in vectors if vector is not None]) if vectors else np.zeros((0, 1), np.float32)
    return np.asarray(table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9), np.float32)


def _measure(rows: pd.DataFrame) -> dict[str, Measures]:
    groups = [(str(name), list(zip(part["test"], part["golden"]))) for name, part in rows.groupby("name", sort=False)]
    work = lambda chunk: [(name, measure(files)) for name, files in chunk]  # noqa: E731
    return {name: found for part in in_parallel(work, groups, "pairs") for name, found in part}


def measure(files: Sequence[tuple[str, str]]) -> Measures:
    """Seam and grain of one pair from its (test, golden) files, one for each light. Raises InputError."""
    pairs = [_pair(test, golden) for test, golden in files]
    mask = defect_mask(pairs)
    if mask is None:
        return Measures(None, None)
    inside = mask > 0
    rim = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    seams, grains = [], []
    for pair in pairs:
        test = luminance(pair.test)
        difference = np.abs(test - luminance(pair.golden))
        slope = np.hypot(cv2.Sobel(difference, cv2.CV_32F, 1, 0), cv2.Sobel(difference, cv2.CV_32F, 0, 1)) / 8
        steepest = cv2.dilate(slope, np.ones((5, 5), np.uint8))  # the rim is known to a pixel or two only
        seams.append(float(steepest[rim].mean() / max(float(difference[inside].max()), 1.0)))
        fine = np.abs(test - cv2.GaussianBlur(test, (0, 0), 1.0))
        grains.append(float(np.log2((np.median(fine[inside]) + 0.1) / (np.median(fine[~inside]) + 0.1))))
    return Measures(max(seams), max(grains, key=abs))


def _pair(test: str, golden: str) -> Pair:
    pictures = []
    for name in (test, golden):
        picture = decode(Path(name).read_bytes())
        if picture is None:
            raise InputError(f"{name}: no readable picture")
        pictures.append(picture)
    return make_pair(pictures[0], pictures[1], pictures[0].shape[1], pictures[0].shape[0])


if __name__ == "__main__":
    sys.exit(guarded("realism_screen", main))
