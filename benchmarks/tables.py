"""How long the tables of a run take, compared with straightforward loops over the same rows, in one process.

Usage: python benchmarks/tables.py [--kpi-rows 10000] [--many 1000000] [--training-rows 100000]

Threshold sweep with its files against one pass over all rows for each threshold; the check of a training CSV against a
loop that asks for every file of every row. Prints seconds and ratios; results must agree.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft_aoi.data.leakage import validate_training_csv
from deft_aoi.kpi.analyze import swept_of, write_analysis, write_threshold_metrics
from deft_aoi.kpi.scored import read_scored
from deft_aoi.kpi.sweep import operating_point

Out = TypeVar("Out")
NAMES = 20_000  # distinct images of the training CSV


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kpi-rows", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--training-rows", type=int, default=100_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sweeps(root, args.kpi_rows, args.many)
        checks(root, args.training_rows)


def sweeps(root: Path, rows: int, many: int) -> None:
    small, large = scored_csv(root / "small.csv", rows), scored_csv(root / "large.csv", many)
    write_analysis(small, root / "warm")  # imports and fonts
    slow, loop = timed(lambda: threshold_loop(small, root / "loop.csv"))
    fast, point = timed(lambda: sweep_files(small, root / "fast.csv"))
    assert (point.threshold, point.far) == loop, "both name the same threshold"
    everything, _ = timed(lambda: write_analysis(small, root / "all"))
    print(f"{rows:,} scored rows: loop over thresholds {slow:.2f} s, sweep and table {fast:.3f} s: {slow / fast:.0f}x; "
          f"with every file and picture {everything:.2f} s: {slow / everything:.0f}x")  # fmt: skip
    table, _ = timed(lambda: sweep_files(large, root / "large_metrics.csv"))
    everything, _ = timed(lambda: write_analysis(large, root / "all_large"))
    print(f"{many:,} scored rows: sweep and its table {table:.2f} s, with every file and picture {everything:.2f} s")


def checks(root: Path, rows: int) -> None:
    training, held = training_csvs(root, rows)
    fast, report = timed(lambda: validate_training_csv(training, root, validation_csv=held))
    slow, missing = timed(lambda: row_loop(training, held, root))
    assert (report.missing_files, len(report.leaks)) == (missing, 0)
    print(f"{rows:,} training rows, {report.distinct_files:,} files: loop over rows {slow:.2f} s, "
          f"validate_training_csv {fast:.2f} s: {slow / fast:.1f}x")  # fmt: skip


def timed(work: Callable[[], Out]) -> tuple[float, Out]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def scored_csv(path: Path, rows: int) -> Path:
    rng = np.random.default_rng(0)
    defect = rng.random(rows) < 0.1
    frame = pd.DataFrame({
        "input_path": "in", "golden_path": "gold", "object_name": [f"C{n}" for n in range(rows)],
        "label": np.where(defect, "bridge", "PASS"), "boardname": [f"B{n % 50}" for n in range(rows)],
        "siamese_score": np.where(defect, rng.beta(5, 2, rows), rng.beta(2, 6, rows)),
    })  # fmt: skip
    frame.to_csv(path, index=False)
    return path


def sweep_files(path: Path, out: Path):  # type: ignore[no-untyped-def]
    swept = swept_of(read_scored(path))
    write_threshold_metrics(out, swept)
    return operating_point(swept)


def threshold_loop(path: Path, out: Path) -> tuple[float, float]:
    """For each threshold one pass over all rows, as one writes it down first."""
    with open(path, newline="", encoding="utf-8") as stream:
        rows = [(float(row["siamese_score"]), row["label"] != "PASS") for row in csv.DictReader(stream)]
    unique = sorted({score for score, _ in rows})
    below = float(np.nextafter(np.float32(unique[0]), np.float32(-np.inf)))
    best = (below, 1.0)
    with open(out, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["threshold", "tp", "fp", "tn", "fn", "precision", "recall", "f1", "far"])
        for threshold in [below, *unique]:
            tp = fp = tn = fn = 0
            for score, defect in rows:
                if score > threshold:
                    if defect:
                        tp += 1
                    else:
                        fp += 1
                elif defect:
                    fn += 1
                else:
                    tn += 1
            precision, recall, far = tp / max(tp + fp, 1), tp / (tp + fn), fp / (fp + tn)
            writer.writerow([threshold, tp, fp, tn, fn, precision, recall, 2 * tp / max(2 * tp + fp + fn, 1), far])
            if fn == 0:
                best = (threshold, far)
    return best


def training_csvs(root: Path, rows: int) -> tuple[Path, Path]:
    """A training CSV that names NAMES images and goldens several times, and a validation CSV of other images."""
    images = root / "kpi/images"
    for name in ("in", "gold", "held"):
        (images / name).mkdir(parents=True)
        for number in range(NAMES):
            (images / name / f"C{number}_SolderLight.jpg").touch()
    frame = pd.DataFrame({
        "input_path": "in", "golden_path": "gold", "label": ["PASS" if n % 4 else "bridge" for n in range(rows)],
        "object_name": [f"C{n % NAMES}" for n in range(rows)], "boardname": [f"B{n % 40}" for n in range(rows)],
    })  # fmt: skip
    frame.to_csv(root / "training.csv", index=False)
    frame.head(NAMES).assign(input_path="held", boardname="V").to_csv(root / "held.csv", index=False)
    return root / "training.csv", root / "held.csv"


def row_loop(training: Path, held: Path, root: Path) -> int:
    """Number of missing files; every file of every row is asked for, every row compared with the held-out rows."""
    with open(held, newline="", encoding="utf-8") as stream:
        judged = {(r["input_path"], r["golden_path"], r["label"], r["object_name"]) for r in csv.DictReader(stream)}
    missing = 0
    with open(training, newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            for folder in ("input_path", "golden_path"):
                name = f"{row[folder]}/{row['object_name']}_SolderLight.jpg"
                if not any(os.path.isfile(base / name) for base in (root, root / "kpi/images")):
                    missing += 1
            assert (row["input_path"], row["golden_path"], row["label"], row["object_name"]) not in judged
    return missing


if __name__ == "__main__":
    main()
