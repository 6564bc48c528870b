"""A run that is killed anywhere ends as one that is not, and nothing heavy is done twice."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import faulty
from deft_aoi.base.paths import RunPaths
from deft_aoi.executors.local import LocalExecutor
from deft_aoi.loop.verify import verify
from null_engine import HOLD
from null_jobs import NullJobs

SEED, KILLS = 20260131, 25
STAGES = ("baseline/train", "iter1/data_merge", "iter1/loop_stop")


def check_same(run: Path, unbroken: Path) -> None:
    expected, found = faulty.outcome(unbroken), faulty.outcome(run)
    for part in expected:
        assert found[part] == expected[part], part
    assert faulty.repeated(run) == {}
    assert verify(RunPaths.at(run)) == []


@pytest.mark.nightly
def test_twenty_five_random_kills_change_nothing(workspace: Path) -> None:
    """Driver, job and whole machine, with jobs that are processes; `benchmarks/faults.py` does the same 200 times."""
    unbroken = faulty.begin(workspace, 800)
    seconds = faulty.finish(unbroken, jobs=LocalExecutor)
    rng, kills, number = random.Random(SEED), 0, 0
    while kills < KILLS:
        number += 1
        run = faulty.begin(workspace, number)
        kills += sum(faulty.batter(run, seconds, rng, KILLS - kills).values())
        check_same(run, unbroken)


def test_death_at_every_file_operation_changes_nothing(
    workspace: Path, unbroken: tuple[Path, list[float]], tmp_path: Path
) -> None:
    """Of a stage with a job, of one with files only, and of the hand-over; the benchmark does it for all stages."""
    run = faulty.begin(workspace, 900)
    kills = faulty.sweep(run, tmp_path, only=STAGES)
    assert all(kills[name] >= 15 for name in STAGES), kills
    check_same(run, unbroken[0])


@pytest.mark.parametrize("what", [faulty.DRIVER, faulty.JOB, faulty.MACHINE])
def test_a_kill_in_the_middle_of_a_job_changes_nothing(
    workspace: Path, unbroken: tuple[Path, list[float]], what: str
) -> None:
    """The driver, the job it waits for, or both; the job is a process that outlives its driver."""
    run = faulty.begin(workspace, 910 + len(what))
    (workspace / HOLD).touch()
    child = faulty.step(run, jobs=NullJobs)
    job = run / "jobs/baseline-train-train"
    try:
        wait_for((run / "baseline/train/status.json").is_file)
        if what != faulty.JOB:
            child.kill()
            child.join(60)
        if what != faulty.DRIVER:
            assert faulty.kill_job(job)
    finally:
        (workspace / HOLD).unlink()
    child.join(60)
    assert child.exitcode == (0 if what == faulty.JOB else -signal.SIGKILL)
    faulty.finish(run)
    check_same(run, unbroken[0])
    again = [one.name for one in (run / "jobs").glob("baseline-train-train.failed-*")]
    assert len(again) == (0 if what == faulty.DRIVER else 1)


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not reached in time"
        time.sleep(0.02)
