"""A run that is killed anywhere ends as one that is not, and nothing heavy is done twice."""

from __future__ import annotations

import random
from pathlib import Path

import faulty
from deft_aoi.base.paths import RunPaths
from deft_aoi.loop.verify import verify

SEED, KILLS = 20260131, 25


def check_same(run: Path, unbroken: Path) -> None:
    expected, found = faulty.outcome(unbroken), faulty.outcome(run)
    for part in expected:
        assert found[part] == expected[part], part
    assert faulty.repeated(run) == {}
    assert verify(RunPaths.at(run)) == []


def test_twenty_five_random_kills_change_nothing(workspace: Path, unbroken: tuple[Path, list[float]]) -> None:
    """Driver, job and whole machine; `benchmarks/faults.py` does the same 200 times."""
    rng, kills, number = random.Random(SEED), 0, 0
    while kills < KILLS:
        number += 1
        run = faulty.begin(workspace, number)
        kills += sum(faulty.batter(run, unbroken[1], rng, KILLS - kills).values())
        check_same(run, unbroken[0])


def test_death_at_every_file_operation_changes_nothing(
    workspace: Path, unbroken: tuple[Path, list[float]], tmp_path: Path
) -> None:
    """Of a stage with a job, of one with files only, and of the hand-over; the benchmark does it for all stages."""
    run = faulty.begin(workspace, 900)
    kills = faulty.sweep(run, tmp_path, only=("baseline/train", "iter1/data_merge", "iter1/loop_stop"))
    assert all(kills[name] >= 15 for name in ("baseline/train", "iter1/data_merge", "iter1/loop_stop")), kills
    check_same(run, unbroken[0])
