"""Jobs outlive the one who started them, are never started twice, and a dead one is told from a finished one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.executors.base import JobState, Task
from deft_aoi.executors.local import LocalExecutor, alive


class ShellExecutor(LocalExecutor):
    """The same executor for any program of this machine."""

    def command(self, task: Task) -> list[str]:
        return list(task.command)


@pytest.fixture
def executor(tmp_path: Path) -> ShellExecutor:
    return ShellExecutor(tmp_path / "cache")


def task(folder: Path, *command: str) -> Task:
    return Task("job", command, folder / "out")


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not reached in time"
        time.sleep(0.02)


def ended(executor: LocalExecutor, job: Path) -> JobState:
    wait_for(lambda: executor.poll(job).kind != "running")
    return executor.poll(job)


@pytest.mark.parametrize("code", [0, 7])
def test_exit_code_and_output_are_on_disk(tmp_path: Path, executor: ShellExecutor, code: int) -> None:
    job = tmp_path / "job"
    assert executor.poll(job).kind == "absent"
    executor.submit(task(tmp_path, "bash", "-c", f"echo said; exit {code}"), job)
    state = ended(executor, job)
    assert (state.kind, state.returncode) == ("finished", code)
    assert executor.log(job).read_text() == "said\n"


def test_a_running_job_is_never_started_twice(tmp_path: Path, executor: ShellExecutor) -> None:
    job = tmp_path / "job"
    executor.submit(task(tmp_path, "sleep", "30"), job)
    assert executor.poll(job).kind == "running"
    with pytest.raises(InputError, match="already runs"):
        executor.submit(task(tmp_path, "sleep", "30"), job)
    wait_for(lambda: "pid" in json.loads((job / "handle.json").read_text()))
    executor.cancel(job)
    assert ended(executor, job).kind in ("finished", "lost")


def test_a_command_whose_supervisor_died_still_counts_as_running(tmp_path: Path, executor: ShellExecutor) -> None:
    job = tmp_path / "job"
    script = f"echo $$ > {tmp_path}/pid; exec sleep 30"
    executor.submit(task(tmp_path, "bash", "-c", script), job)
    wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text().strip() != "")
    handle = json.loads((job / "handle.json").read_text())
    os.kill(handle["pid"], signal.SIGKILL)
    time.sleep(0.2)
    assert alive(job), "the training itself holds the lock"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert ended(executor, job) == JobState("lost", None, pytest.approx(0, abs=60))


def test_a_stopped_supervisor_with_its_child_is_lost_not_finished(tmp_path: Path, executor: ShellExecutor) -> None:
    job = tmp_path / "job"
    executor.submit(task(tmp_path, "sleep", "30"), job)
    wait_for(lambda: "pid" in json.loads((job / "handle.json").read_text()))
    os.killpg(json.loads((job / "handle.json").read_text())["pid"], signal.SIGKILL)
    assert ended(executor, job).kind == "lost"
