"""The journal's writer: killed at every file operation, on a full disk, by twenty processes at once."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import faulty
from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import SKILL_ROOT, RunPaths
from deft_aoi.loop.verify import verify
from deft_aoi.record import journal, state
from log_stage import append_stage

STAGES = ("train", "evaluate", "rca")


def make_run(folder: Path, lines: int = 0) -> Path:
    folder.mkdir(parents=True)
    begun = state.initial(
        started_at="2026-01-01T00:00:00Z", kpi_target="FAR < 1%", results_dir="r", max_iterations=3, config={}
    )
    state.save(folder / "deft_state.json", begun)
    for stage in STAGES[:lines]:
        add(folder, stage)
    return folder


def add(run: Path, stage: str, status: str = "ok", summary: str = "done") -> int:
    return append_stage(
        run / "loop_log.jsonl", iter_label="baseline", stage=stage, status=status, summary=summary, duration_sec=1
    )


def test_a_writer_killed_at_every_file_operation_loses_nothing(tmp_path: Path) -> None:
    """Whatever was acknowledged is there; the next writer goes on, and everything fits."""
    note = tmp_path / "deaths.jsonl"
    for number in range(100):
        run = make_run(tmp_path / f"run{number}", lines=1)
        code = faulty.call(add, run, "evaluate", survived=faulty.deaths(note), note=note, root=run)
        entries = journal.read(run / "loop_log.jsonl")
        assert [e["stage"] for e in entries] in (["train"], ["train", "evaluate"])
        state.load(run / "deft_state.json")
        if code == 0:
            break
        for stage in STAGES[len(entries) :]:
            add(run, stage)
        assert [e["stage"] for e in journal.read(run / "loop_log.jsonl")] == list(STAGES)
        assert verify(RunPaths.at(run)) == []
    assert number == len(faulty.deaths(note)) == 2 + faulty.AFTER_WRITE


def append_many(run: Path, count: int) -> int:
    """Append `count` lines; a refusal means that another process was first, as with any shared journal."""
    done = 0
    while done < count:
        for stage, status in (("train", "error"), ("resolve", "ok")):
            try:
                add(run, stage, status)
            except InputError:
                continue
            done += 1
            break
    return done


def test_twenty_processes_append_a_thousand_lines(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with ProcessPoolExecutor(20) as pool:
        assert sum(pool.map(append_many, [run] * 20, [50] * 20)) == 1000
    entries = journal.read(run / "loop_log.jsonl")
    assert [entry["seq"] for entry in entries] == list(range(1, 1001))
    assert verify(RunPaths.at(run)) == []
    snapshot = state.load(run / "deft_state.json")
    assert snapshot["journal"]["lines"] == 1000
    assert snapshot == state.fold(snapshot, entries)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, spare: int) -> Path:
    """Use the disk up to `spare` bytes (rounded to pages)."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * (free - spare))
    return ballast


@pytest.mark.parametrize("spare", [0, 4096, 8192, 12288, 16384])
def test_a_full_disk_fails_clearly_and_leaves_everything_readable(small_disk: Path, spare: int) -> None:
    """With less and less room, the line, then the snapshot, then nothing fails."""
    run = make_run(small_disk / "run", lines=1)
    ballast = fill(small_disk, spare)
    command = [
        sys.executable, str(SKILL_ROOT / "scripts/log_stage.py"), "--log-path", str(run / "loop_log.jsonl"),
        "--iter-label", "baseline", "--stage", "evaluate", "--status", "ok", "--duration-sec", "1",
        "--summary", "x" * 9000,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    entries, snapshot = journal.read(run / "loop_log.jsonl"), state.load(run / "deft_state.json")
    assert (run / "loop_log.jsonl").read_bytes().endswith(b"}\n")
    if done.returncode:
        assert done.returncode == 2
        assert done.stderr.startswith(f"log_stage: {os.strerror(errno.ENOSPC)}: {run}/")
        assert "nothing is lost: free space" in done.stderr
        assert done.stderr.count("\n") == 1
        assert snapshot["journal"]["lines"] == 1
    ballast.unlink()
    for stage in STAGES[len(entries) :]:
        add(run, stage)
    assert verify(RunPaths.at(run)) == []
    if spare == 0:
        assert done.returncode == 2
        assert len(entries) == 1
