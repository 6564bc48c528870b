"""A simulated inspection line as a workspace: four CSVs, their images, a mining pool, pre-generated pairs, a spec.

Same arguments, same bytes, whatever the number of processes: every picture draws from a generator of its own,
seeded by (seed, board, position).
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import COLUMNS, PASS, write_rows
from deft_aoi.base.threads import cores
from deft_aoi.data.workspace_files import baseline_spec
from deft_aoi.simulate.board import PRODUCTS, make_site
from deft_aoi.simulate.camera import LIGHTS
from deft_aoi.simulate.defects import DEFECTS
from deft_aoi.simulate.line import LOTS
from deft_aoi.simulate.line_plan import SPLITS, BoardPlan, RowPlan, plan_boards
from deft_aoi.simulate.render import EXT, render_board, render_pairs
from deft_aoi.simulate.scene import CROP
from deft_aoi.spec.tree import dump_spec

MIN_BOARDS = 6
MIN_ROWS_PER_BOARD = 30  # fewer, and the smallest validation set is below a batch
ROWS_PER_BOARD = 90
RECORD = "simulated_line.json"
_STAGING = ".simulating"
_PAIRS_AT_24_BOARDS = 40
_WORKSPACE = Workspace(Path())
#: Everything that a simulation writes; nothing else in a workspace is ever touched.
_OUTPUTS = tuple(
    path.as_posix()
    for path in (
        _WORKSPACE.spec, _WORKSPACE.training_csv, _WORKSPACE.validation_csv, _WORKSPACE.kpi_csv,
        _WORKSPACE.acceptance_csv, _WORKSPACE.images, _WORKSPACE.pool_dir, _WORKSPACE.pregen_ng, _WORKSPACE.pregen_ok,
    )
)  # fmt: skip

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SimulationSummary:
    """What was made. `counts`: split -> {boards, rows, labels}; `pairs` are the pre-generated NG/OK pairs."""

    workspace: Path
    seed: int
    boards: int
    rows: int
    pairs: int
    counts: dict[str, dict[str, Any]]
    seconds: float


def simulate(
    workspace: Path,
    *,
    seed: int = 0,
    boards: int = 24,
    rows_per_board: int = ROWS_PER_BOARD,
    acceptance_boards: int = 0,
    processes: int | None = None,
    progress: Progress | None = None,
) -> SimulationSummary:
    """Render a line of `boards` boards into `workspace`, and on top `acceptance_boards` for a sealed acceptance set.

    `processes` defaults to the cores that this process may use; `progress` is called with (boards done, boards).
    Raises InputError on a bad number, or where the folder holds anything but an earlier, unused simulation.
    """
    started = time.monotonic()
    workspace = Path(workspace).expanduser()
    _check_numbers(seed, boards, rows_per_board, processes, acceptance_boards)
    _check_target(workspace)
    plans = plan_boards(seed, boards, rows_per_board, acceptance_boards)
    pairs = max(len(DEFECTS), round(_PAIRS_AT_24_BOARDS * boards / 24))
    with _staged(workspace) as stage:
        jobs = [partial(render_board, plan, stage.root) for plan in plans]
        jobs += [partial(render_pairs, seed, numbers, stage.root) for numbers in _chunks(pairs)]
        _run(jobs, processes or cores(), progress)
        counts = _write_tables(stage, plans)
        dump_spec(stage.spec, baseline_spec(lights=LIGHTS, ext=EXT, size=CROP))
        record = {
            "seed": seed, "boards": boards, "rows_per_board": rows_per_board, "pairs": pairs, "lights": list(LIGHTS),
            "image_side": CROP, "lots": LOTS, "products": list(PRODUCTS), "counts": counts,
            "splits": {split.name: asdict(split) for split in SPLITS},
        }  # fmt: skip
        atomic_write_json(stage.root / RECORD, record)
    total = sum(entry["rows"] for entry in counts.values())
    return SimulationSummary(workspace.resolve(), seed, boards, total, pairs, counts, time.monotonic() - started)


def _check_numbers(seed: int, boards: int, rows_per_board: int, processes: int | None, acceptance_boards: int) -> None:
    checks = (
        ("--seed", seed, 0),
        ("--boards", boards, MIN_BOARDS),
        ("--rows-per-board", rows_per_board, MIN_ROWS_PER_BOARD),
        ("--acceptance-boards", acceptance_boards, 0),
        ("--processes", 1 if processes is None else processes, 1),
    )
    for flag, value, least in checks:
        if value < least:
            raise InputError(f"{flag} {value}: expected a whole number from {least}; nothing was written")


def _check_target(workspace: Path) -> None:
    """Refuse a folder with other things in it, and one whose simulation already has runs that rest on its images."""
    if workspace.exists() and not workspace.is_dir():
        raise InputError(f"{workspace}: a file; expected a new or empty folder for the workspace")
    if not workspace.exists():
        return
    found = {entry.name for entry in workspace.iterdir()} - {_STAGING}
    if found and RECORD not in found:
        raise InputError(
            f"{workspace}: not empty and no earlier simulation (no {RECORD}, but {', '.join(sorted(found)[:3])}); "
            "pass a new --workspace"
        )
    runs = Workspace(workspace).runs()
    if runs:
        raise InputError(
            f"{workspace}: {len(runs)} runs in results/ rest on the images there (latest {runs[-1].name}); "
            "pass a new --workspace"
        )


@contextmanager
def _staged(workspace: Path) -> Iterator[Workspace]:
    """Build in a temporary folder, then move into place, the record last: it marks a finished workspace."""
    is_new = not workspace.exists()
    staging = workspace / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield Workspace(staging)
        (workspace / RECORD).unlink(missing_ok=True)
        for name in (*_OUTPUTS, RECORD):
            target = workspace / name
            if target.is_dir():
                shutil.rmtree(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            if (staging / name).exists():
                os.replace(staging / name, target)
            else:  # the acceptance set, where none is asked for
                target.unlink(missing_ok=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if is_new and not any(workspace.iterdir()):
            workspace.rmdir()


def _chunks(pairs: int, size: int = 20) -> Iterator[range]:
    return (range(first, min(first + size, pairs)) for first in range(0, pairs, size))


def _run(jobs: Sequence[Callable[[], None]], processes: int, progress: Progress | None) -> None:
    """One process runs all jobs right here."""
    report = progress or (lambda done, total: None)
    if processes == 1:
        for done, job in enumerate(jobs, start=1):
            job()
            report(done, len(jobs))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the caller's threads half alive
    with ProcessPoolExecutor(
        min(processes, len(jobs)), mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        for done, future in enumerate(as_completed([pool.submit(job) for job in jobs]), start=1):
            future.result()
            report(done, len(jobs))


def _csv_row(plan: BoardPlan, row: RowPlan) -> dict[str, str]:
    site = make_site(plan.seed, plan.product, row.position)
    folder, tail = (
        (f"images/{plan.name}", f"/{site.name}_{LIGHTS[-1]}{EXT}") if plan.split == "pool" else (plan.name, "")
    )
    values = (
        f"{folder}/test{tail}", f"{folder}/golden{tail}", row.defect or PASS, site.name,
        PRODUCTS[plan.product], plan.name, site.package.name, "MFAIL" if row.defect else "MPASS", "1",
        site.name.partition("@")[0],
        f"{site.package.family}_{site.package.name}", str(site.package.pins),
        f"lot {'ABCDEFGH'[plan.lot]}, position {row.position + 1}", site.package.family,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _write_tables(stage: Workspace, plans: Sequence[BoardPlan]) -> dict[str, dict[str, Any]]:
    """Write the four CSVs, and the acceptance set where it has boards; return their counts."""
    targets = {
        "seed": stage.training_csv, "validation": stage.validation_csv, "kpi": stage.kpi_csv, "pool": stage.pool_csv,
        "acceptance": stage.acceptance_csv,
    }  # fmt: skip
    counts: dict[str, dict[str, Any]] = {}
    for split, path in targets.items():
        chosen = [plan for plan in plans if plan.split == split]
        if not chosen:
            continue
        frame = pd.DataFrame([_csv_row(plan, row) for plan in chosen for row in plan.rows], columns=list(COLUMNS))
        write_rows(path, frame)
        labels = frame["label"].value_counts()
        counts[split] = {
            "boards": len(chosen),
            "rows": len(frame),
            "labels": {label: int(labels[label]) for label in (PASS, *DEFECTS) if label in labels.index},
        }
    return counts
