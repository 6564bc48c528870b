"""A simulated inspection line as a workspace: four CSVs, their images, a mining pool, pre-generated pairs, a spec.

Same arguments, same bytes, whatever the number of processes: every picture draws from a generator of its own,
seeded by (seed, board, position).
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import COLUMNS, PASS, write_rows
from deft_aoi.data.workspace_files import baseline_spec
from deft_aoi.simulate.board import PRODUCTS, Site, make_site
from deft_aoi.simulate.camera import LIGHTS
from deft_aoi.simulate.defects import DEFECTS, can_have
from deft_aoi.simulate.line import LOTS, Lot, make_lot
from deft_aoi.simulate.line_plan import SPLITS, BoardPlan, RowPlan, plan_boards
from deft_aoi.simulate.pair import Pictures, golden_pictures, line_pictures, synthetic_pair
from deft_aoi.simulate.scene import CROP
from deft_aoi.spec.tree import dump_spec

MIN_BOARDS = 6
MIN_ROWS_PER_BOARD = 30  # fewer, and the smallest validation set is below a batch
ROWS_PER_BOARD = 90
RECORD = "simulated_line.json"
EXT = ".jpg"
_QUALITY = 92
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
_PARENTS = {Path(output).parts[0] for output in _OUTPUTS}

Progress = Callable[[int, int], None]
Rows = list[dict[str, str]]


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
        jobs = [functools.partial(_render_board, plan, stage.root) for plan in plans]
        jobs += [functools.partial(_render_pairs, seed, numbers, stage.root) for numbers in _chunks(pairs)]
        tables = _run(jobs, processes or len(os.sched_getaffinity(0)), progress)
        counts = _write_tables(stage, plans, tables)
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


def _run(jobs: Sequence[Callable[[], Rows]], processes: int, progress: Progress | None) -> list[Rows]:
    """Results in the order of the jobs; one process runs them right here."""
    report = progress or (lambda done, total: None)
    if processes == 1:
        results = []
        for job in jobs:
            results.append(job())
            report(len(results), len(jobs))
        return results
    context = multiprocessing.get_context("spawn")  # a fork would copy the caller's threads half alive
    with ProcessPoolExecutor(
        min(processes, len(jobs)), mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        futures: list[Future[Rows]] = [pool.submit(job) for job in jobs]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            report(done, len(jobs))
        return [future.result() for future in futures]


@functools.cache
def _lot(seed: int, number: int) -> Lot:
    return make_lot(seed, number)


def _render_board(plan: BoardPlan, root: Path) -> Rows:
    """Write the images of one board under `root` and return its CSV rows."""
    images = root / (_WORKSPACE.pool_dir / "images" if plan.split == "pool" else _WORKSPACE.images)
    for part in ("test", "golden"):
        (images / plan.name / part).mkdir(parents=True)
    rows = []
    for row in plan.rows:
        site = make_site(plan.seed, plan.product, row.position)
        rng = np.random.default_rng([plan.seed, 5, plan.serial, row.position])
        test = line_pictures(rng, site, _lot(plan.seed, plan.lot), plan.drift, row.defect or None, row.severity)
        golden = golden_pictures(rng, site, _lot(plan.seed, 0))
        _write_pictures(images / plan.name / "test" / site.name, test, EXT)
        _write_pictures(images / plan.name / "golden" / site.name, golden, EXT)
        rows.append(_csv_row(plan, row, site))
    return rows


def _write_pictures(stem: Path, pictures: Pictures, ext: str) -> None:
    """`<stem>_<light><ext>` per light. Not fsynced one by one: the staged folder counts only once it is complete."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if ext == EXT else []
    for light, picture in pictures.items():
        encoded = cv2.imencode(ext, np.ascontiguousarray(picture[:, :, ::-1]), options)[1]
        stem.with_name(f"{stem.name}_{light}{ext}").write_bytes(encoded.tobytes())


def _csv_row(plan: BoardPlan, row: RowPlan, site: Site) -> dict[str, str]:
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


def _render_pairs(seed: int, numbers: range, root: Path) -> Rows:
    """Pre-generated NG/OK pairs `PCB+<defect>_<idx>_<light>.png`; they belong to no board, so there are no rows."""
    stage = Workspace(root)
    for folder in (stage.pregen_ng, stage.pregen_ok):
        folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        defect = DEFECTS[number % len(DEFECTS)]
        rng = np.random.default_rng([seed, 13, number])
        product = number % len(PRODUCTS)
        sites = (make_site(seed, product, int(rng.integers(10_000, 20_000))) for _ in iter(int, 1))
        site = next(site for site in sites if can_have(site, defect))
        lot = _lot(seed, number // len(DEFECTS) % LOTS)
        ng, ok = synthetic_pair(rng, site, lot, defect, float(rng.uniform(0.1, 1.0)))
        _write_pictures(stage.pregen_ng / f"PCB+{defect}_{number:05d}", ng, ".png")
        _write_pictures(stage.pregen_ok / f"PCB+{defect}_{number:05d}", ok, ".png")
    return []


def _write_tables(stage: Workspace, plans: Sequence[BoardPlan], tables: Sequence[Rows]) -> dict[str, dict[str, Any]]:
    """Write the four CSVs, and the acceptance set where it has boards; return their counts."""
    targets = {
        "seed": stage.training_csv, "validation": stage.validation_csv, "kpi": stage.kpi_csv, "pool": stage.pool_csv,
        "acceptance": stage.acceptance_csv,
    }  # fmt: skip
    counts: dict[str, dict[str, Any]] = {}
    for split, path in targets.items():
        chosen = [(plan, rows) for plan, rows in zip(plans, tables, strict=False) if plan.split == split]
        if not chosen:
            continue
        frame = pd.DataFrame([row for _, rows in chosen for row in rows], columns=list(COLUMNS))
        write_rows(path, frame)
        labels = frame["label"].value_counts()
        counts[split] = {
            "boards": len(chosen),
            "rows": len(frame),
            "labels": {label: int(labels[label]) for label in (PASS, *DEFECTS) if label in labels.index},
        }
    return counts
