"""DeepPCB as a workspace: windows around its defects and windows without any, the template as golden."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from deft_aoi.base import safe_images
from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import PASS
from deft_aoi.base.threads import cores
from deft_aoi.data.pairs import check_ext, encode
from deft_aoi.data.workspace_files import (
    SPLITS,
    baseline_spec,
    check_tables,
    count_labels,
    new_workspace,
    rows_frame,
    write_workspace,
)
from deft_aoi.importers.deeppcb_windows import (
    SIDE,
    Board,
    Quota,
    Window,
    defect_windows,
    pass_windows,
    pick_defects,
    read_boards,
    share_out,
    split_boards,
)

LIGHT = "SolderLight"
SEED_TYPES = ("open", "short")
QUOTAS = {
    "train": Quota(0.06, 50, 200, SEED_TYPES),
    "validation": Quota(0.08, 100, 400),
    "kpi": Quota(0.24, 300, 2700),
    "pool": Quota(0.62, 1140, 4560),
}
RECORD = "deeppcb.json"
_COPPER = 127
_PLAIN = 0.04
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImportSummary:
    """What was written: rows by label and boards for each split, and what was left out."""

    workspace: Path
    split_by: str
    labels: dict[str, dict[str, int]]
    boards: dict[str, int]
    groups: dict[str, list[str]]
    unreadable: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Job:
    """One board's work: its defect windows, and PASS candidates of which `passes` are wanted."""

    board: Board
    split: str
    defects: tuple[Window, ...]
    candidates: tuple[Window, ...]
    passes: int


def import_deeppcb(
    deeppcb: Path, workspace: Path, *, split_by: str = "board", seed: int = 0, size: int = 96, ext: str = ".jpg",
    scale: float = 1.0, progress: Progress | None = None,
) -> ImportSummary:  # fmt: skip
    """Write a workspace of DeepPCB windows of `size` x `size` pixels.

    Seed of 250 rows with two defect types, 500 validation, 3,000 KPI (90 % PASS) and 5,700 pool rows, times `scale`,
    where the data has as many. No board is in two splits; with `split_by="group"` no group of the KPI set is in
    another split either. The same arguments give the same bytes. Raises InputError where the data or an argument does
    not fit, or the workspace exists.
    """
    started = time.monotonic()
    _check(split_by, seed, size, scale)
    check_ext(ext)
    rng = np.random.default_rng(seed)
    quotas = {
        name: replace(quota, defects=round(quota.defects * scale), passes=round(quota.passes * scale))
        for name, quota in QUOTAS.items()
    }
    chosen = split_boards(read_boards(deeppcb), quotas, rng, split_by == "group")
    jobs = [job for name in SPLITS for job in plan_split(name, chosen[name], quotas[name], size, rng)]
    with new_workspace(workspace) as stage:
        rows, unreadable = _cut_all(stage, jobs, size, ext, progress)
        tables = {name: rows_frame(rows[name]) for name in SPLITS}
        check_tables(tables)
        write_workspace(stage, tables, baseline_spec(lights=(LIGHT,), ext=ext, size=size))
        labels = count_labels(tables)
        boards = {name: int(tables[name]["boardname"].nunique()) for name in SPLITS}
        groups = {name: sorted(set(tables[name]["project"])) for name in SPLITS}
        record = {
            "data": "DeepPCB (Tang et al., 2019), MIT licence", "seed": seed, "split_by": split_by, "size": size,
            "scale": scale, "labels": labels, "boards": boards, "groups": groups, "unreadable": unreadable,
        }  # fmt: skip
        atomic_write_json(stage.root / RECORD, record)
    home, seconds = workspace.expanduser().resolve(), time.monotonic() - started
    return ImportSummary(home, split_by, labels, boards, groups, tuple(unreadable), seconds)


def plan_split(name: str, boards: Sequence[Board], quota: Quota, size: int, rng: np.random.Generator) -> list[Job]:
    """Which windows each board of a split gives."""
    # A board's windows depend on the board alone: another seed splits the same windows again, and caches stay warm.
    offered = {board.name: np.random.default_rng(zlib.crc32(board.name.encode())) for board in boards}
    defects = pick_defects({b.name: defect_windows(b, size, offered[b.name]) for b in boards}, quota, rng)
    passes = {b.name: pass_windows(b, size, offered[b.name]) for b in boards}
    shares = share_out(quota.passes, {board: len(windows) for board, windows in passes.items()})
    return [
        Job(board, name, tuple(defects[board.name]), tuple(passes[board.name]), shares[board.name])
        for board in boards
        if defects[board.name] or shares[board.name]
    ]


def cut_board(job: Job, stage: Workspace, size: int, ext: str) -> list[dict[str, str]] | None:
    """Write a board's windows and return their rows; None where an image cannot be read as 640 x 640."""
    test, golden = (safe_images.read(path, cv2.IMREAD_GRAYSCALE) for path in (job.board.test, job.board.golden))
    if test is None or golden is None or test.shape != (SIDE, SIDE) or golden.shape != (SIDE, SIDE):
        return None
    folder = f"images/{job.board.group}" if job.split == "pool" else job.board.group
    home = stage.pool_dir if job.split == "pool" else stage.images
    for part in ("test", "golden"):
        (home / folder / part).mkdir(parents=True, exist_ok=True)
    rows = []
    for window in (*job.defects, *structured_first(golden, job.candidates, size)[: job.passes]):
        name = f"{job.board.name}_x{window.x:03d}y{window.y:03d}"
        for part, image in (("test", test), ("golden", golden)):
            cut = np.ascontiguousarray(image[window.y : window.y + size, window.x : window.x + size])
            (home / folder / part / f"{name}_{LIGHT}{ext}").write_bytes(encode(cut, ext))
        rows.append(_row(job.board, window, name, folder, size))
    return rows


def structured_first(golden: cv2.typing.MatLike, windows: Sequence[Window], size: int) -> list[Window]:
    """The same windows, those that show bare board or plain copper (under 4 % of the other) last."""

    def plain(window: Window) -> bool:
        share = float((golden[window.y : window.y + size, window.x : window.x + size] > _COPPER).mean())
        return min(share, 1 - share) < _PLAIN

    return sorted(windows, key=plain)


def _cut_all(
    stage: Workspace, jobs: Sequence[Job], size: int, ext: str, progress: Progress | None
) -> tuple[dict[str, list[dict[str, str]]], list[str]]:
    rows: dict[str, list[dict[str, str]]] = {name: [] for name in SPLITS}
    unreadable = []
    with ThreadPoolExecutor(cores()) as workers:  # OpenCV decodes and encodes without the interpreter lock
        results = workers.map(lambda job: cut_board(job, stage, size, ext), jobs)
        for done, (job, result) in enumerate(zip(jobs, results), start=1):
            if result is None:
                unreadable.append(job.board.name)
            else:
                rows[job.split] += result
            if progress:
                progress(done, len(jobs))
    return rows, unreadable


def _row(board: Board, window: Window, name: str, folder: str, size: int) -> dict[str, str]:
    return {
        "input_path": f"{folder}/test", "golden_path": f"{folder}/golden", "label": window.label, "object_name": name,
        "project": board.group, "boardname": board.name, "mpass_mfail": "MPASS" if window.label == PASS else "MFAIL",
        "is_valid": "1", "comp_name": f"x{window.x:03d}y{window.y:03d}", "part_type": "window",
        "description": f"window of {size} x {size} px",
    }  # fmt: skip


def _check(split_by: str, seed: int, size: int, scale: float) -> None:
    if split_by not in ("board", "group"):
        raise InputError(f"--split-by {split_by}: expected board or group")
    if seed < 0:
        raise InputError(f"--seed {seed}: expected a whole number from 0")
    if not 48 <= size <= 320 or size % 16:
        raise InputError(f"--size {size}: expected a multiple of 16 from 48 to 320")
    if not 0 < scale <= 1:
        raise InputError(f"--scale {scale:g}: expected a number above 0 and at most 1")
