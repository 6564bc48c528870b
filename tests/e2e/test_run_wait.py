"""`deft run --wait`: as many stages as fit into a time, and what the caller must know in between."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from deft_aoi.base.errors import COMPLETE, HARD_STOP, STILL_RUNNING
from deft_aoi.loop import driver
from deft_aoi.record.run import load_run
from loop_cli import begin, deft, entries


@pytest.fixture(autouse=True, scope="module")
def null_engine(null_engine_in_module: None) -> None:
    """Stages, not scores, are tested here."""


def test_a_loop_of_two_iterations_takes_two_calls(tmp_path: Path) -> None:
    run = begin(tmp_path / "ws")
    first = deft("run", "--results-dir", run, "--wait", "540", check=STILL_RUNNING).stdout
    assert [e["stage"] for e in entries(run)][-1] == "evaluate", "the reporter is due after an iteration's evaluate"
    assert len(re.findall(r"^\[iter ", first, re.M)) == len(entries(run)), "one line for each stage"
    assert re.search(r"^first: .*reporter", first, re.M)
    assert re.search(r"^look at: .*contact_sheet\.png", first, re.M)
    assert re.search(r"^next: .* run --results-dir .* --wait 540$", first, re.M)
    second = deft("run", "--results-dir", run, "--wait", "540", check=COMPLETE).stdout
    assert "loop complete" in second
    assert re.search(r"^next: .*align_token_usage", second, re.M)
    assert deft("run", "--results-dir", run, "--wait", "540", check=COMPLETE).stdout


def test_a_short_time_ends_after_a_stage_and_loses_nothing(tmp_path: Path) -> None:
    run = begin(tmp_path / "ws")
    done = []
    for _ in range(3):
        deft("run", "--results-dir", run, "--wait", "0", check=STILL_RUNNING)
        done.append([e["stage"] for e in entries(run)])
    assert done == [["train"], ["train", "evaluate"], ["train", "evaluate", "rca"]]


def test_a_hard_stop_ends_the_call(tmp_path: Path) -> None:
    run = begin(tmp_path / "ws")
    pool = run.parents[1] / "augmentation/mining_pool/mining_pool.csv"
    pool.unlink()
    said = deft("run", "--results-dir", run, "--wait", "540", check=HARD_STOP).stdout
    assert "HARD STOP" in said
    assert re.search(r"^after a person's decision: .* resolve ", said, re.M)


def test_time_in_which_nobody_was_there_is_not_time_of_a_stage(tmp_path: Path) -> None:
    run = begin(tmp_path / "ws")
    deft("run", "--results-dir", run, "--wait", "0", check=STILL_RUNNING)
    job, now = run / "jobs/baseline-evaluate-best_val", time.time()
    job.mkdir()
    for name, age in (("handle.json", 9000), ("exit.json", 8993)):
        (job / name).write_text("{}")
        os.utime(job / name, (now - age, now - age))
    following = driver.pending(load_run(run))
    assert following is not None
    assert driver._duration(load_run(run), following, now) in (7, 8)
