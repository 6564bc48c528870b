"""Long commands end in order on SIGTERM, started from cron or by nohup too, where other signals are ignored."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deft_aoi.base.paths import SKILL_ROOT, RunPaths
from deft_aoi.executors.local import alive
from faulty import kill_job
from inside import jobs_by
from loop_cli import begin, deft, entries, environment
from null_engine import HOLD
from null_jobs import NullJobs
from report_run import baseline_only


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Path]:
    """A run whose training goes on until the workspace's file HOLD is gone."""
    with jobs_by(NullJobs):
        run = begin(tmp_path / "ws", max_iterations="1")
        (tmp_path / "ws" / HOLD).touch()
        deft("step", "--results-dir", run, "--wait", "0", check=75)
        yield run
        kill_job(run / "jobs/baseline-train-train")


def start(*words: object, **streams: int) -> subprocess.Popen[str]:
    """A command as `nohup` or cron starts it."""
    ignoring = ("sh", "-c", "trap '' INT HUP QUIT; exec \"$@\"", "sh")
    command = [*ignoring, sys.executable, "-m", "deft_aoi.cli.main", *map(str, words)]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen(command, env=environment(), text=True, **streams)


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not reached in time"
        time.sleep(0.05)


def locked(run: Path) -> bool:
    with open(RunPaths(run).lock, "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("name", ["step", "run"])
def test_a_terminated_driver_gives_its_lock_back_and_the_job_goes_on(waiting: Path, name: str) -> None:
    job = waiting / "jobs/baseline-train-train"
    before = json.loads((job / "handle.json").read_text())
    with start(name, "--results-dir", waiting) as driver:
        wait_for(lambda: locked(waiting))
        time.sleep(0.2)
        driver.send_signal(signal.SIGTERM)
        said = driver.communicate(timeout=60)
    assert (driver.returncode, said) == (
        143, ("", f"deft {name}: terminated; nothing is lost, the next `deft step` goes on\n")
    )  # fmt: skip
    assert not locked(waiting)
    assert alive(job)
    (waiting.parents[1] / HOLD).unlink()
    deft("step", "--results-dir", waiting)
    assert entries(waiting)[-1]["stage"] == "train"
    assert json.loads((job / "handle.json").read_text())["submitted"] == before["submitted"]
    assert deft("verify", "--results-dir", waiting).stdout.startswith("verified: ")


def test_serve_ends_quietly(tmp_path: Path) -> None:
    run = baseline_only(tmp_path).finish()
    with start("serve", "--results-dir", run, "--port", "0") as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("http://127.0.0.1:")
        server.send_signal(signal.SIGTERM)
        assert server.communicate(timeout=60) == ("", "deft serve: ended\n")
    assert server.returncode == 0


def test_watch_ends_quietly(tmp_path: Path) -> None:
    run = baseline_only(tmp_path).finish()
    leader, follower = pty.openpty()
    with start("watch", "--results-dir", run, stdout=follower) as watch:
        os.close(follower)
        assert os.read(leader, 1)
        watch.send_signal(signal.SIGTERM)
        assert watch.wait(60) == 0
        assert watch.stderr is not None
        assert watch.stderr.read() == ""
    os.close(leader)


def test_the_launcher_hands_the_signal_on(tmp_path: Path) -> None:
    """Also `deft demo`, terminated while it draws its line."""
    command = [str(SKILL_ROOT / "scripts/deft"), "demo", "--boards", "60"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        assert demo.stderr.readline().startswith("simulating 60 boards")
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(60) == 143
        assert demo.stderr.read() == "deft demo: terminated; nothing is lost, the next `deft step` goes on\n"
