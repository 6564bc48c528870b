"""Disk space: what a stage will write, and the hard stop before a disk runs full in the middle of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from deft_aoi.base.errors import HardStop
from deft_aoi.base.paths import BASELINE, iter_label, iter_number
from deft_aoi.record.order import DATA_MINING, EVALUATE, ON, TRAIN
from deft_aoi.record.run import Run
from deft_aoi.spec.tree import get, load_spec

TAO_CHECKPOINT = 1_850_000_000  # C-RADIOv2-B with its optimizer
EMBEDDED_CHECKPOINT = {"features": 100_000, "net": 20_000_000}
RESERVE = 32 << 20  # journal, state, report, the small files of a stage
_CSV_COPIES = 3  # two inference CSVs and the KPI files of one
_VECTOR_BYTES = 8_192  # one embedded image with its path, in Parquet
CODE = "disk_full"

Free = Callable[[Path], int]


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write on the disk of `folder`."""
    return shutil.disk_usage(folder).free


def checkpoint_bytes(run: Run, label: str) -> tuple[int, str]:
    """(bytes of one checkpoint, where the figure comes from): the newest of an earlier training, else what is known."""
    for number in range(iter_number(label), -1, -1):
        files = [path for path in run.paths.train(iter_label(number)).glob("model_epoch_*.pth") if path.is_file()]
        if files:
            return max(path.stat().st_size for path in files), f"as in {iter_label(number)}"
    return EMBEDDED_CHECKPOINT.get(run.plan.engine, TAO_CHECKPOINT), f"engine {run.plan.engine}"


def needed(run: Run, label: str, stage: str) -> tuple[int, str]:
    """(bytes that the stage will write, how that was reckoned); an estimate, the reserve not counted."""
    if stage == TRAIN:
        spec = run.paths.folder(label) / "specs/train.yaml"
        interval = int(get(load_spec(spec), "train.checkpoint_interval", 1)) if spec.is_file() else 1
        count = max(1, run.plan.num_epochs // interval)
        count *= 2 if label == BASELINE and run.plan.noise_floor else 1
        each, source = checkpoint_bytes(run, label)
        return count * each, f"{count} checkpoints of {figure(each)}, {source}"
    if stage == EVALUATE:
        size = run.workspace.kpi_csv.stat().st_size
        return _CSV_COPIES * size, f"{_CSV_COPIES} copies of {run.workspace.kpi_csv.name} with scores"
    if stage == DATA_MINING and run.plan.pool == ON:
        rows = run.workspace.pool_csv.read_bytes().count(b"\n") * len(run.optics.lights)
        return rows * _VECTOR_BYTES, f"{rows} vectors of pool images"
    return 0, "small files"


def require(run: Run, label: str, stage: str, *, started: bool = False, free: Free = free_bytes) -> None:
    """Raise the hard stop `disk_full` where the disk has less than the stage needs.

    Once its heavy commands have `started`, only the reserve for journal and state is asked for.
    """
    wanted, why = (0, "its results") if started else needed(run, label, stage)
    there = free(run.paths.root)
    if there >= wanted + RESERVE:
        return
    raise HardStop(
        CODE,
        f"{stage} of {label} needs about {figure(wanted + RESERVE)} ({why}, and {figure(RESERVE)} for journal, state "
        f"and report); {figure(there)} are free",
        evidence=str(run.paths.root),
        remedy="free space (deft prune --results-dir R drops checkpoints that are neither best nor latest), then: "
        "deft resolve --reason TEXT",
    )


def figure(size: float) -> str:
    """Bytes for people: 1.85 GB, 33.6 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"
