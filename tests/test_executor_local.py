"""Jobs outlive the one who started them, are never started twice, and a dead one is not taken for a finished one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
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


def blocked(folder: Path, name: str) -> tuple[Task, Path]:
    """A task of the engine that never ends, since its picture is a pipe that nobody writes; its job's folder."""
    os.mkfifo(folder / f"{name}.png")
    (folder / f"{name}.csv").write_text(f"filepath\n{folder / name}.png\n")
    spec = folder / f"{name}.yaml"
    spec.write_text(f"input_parquet: {folder / name}.csv\noutput_parquet: {folder / name}.parquet\nmodel: trunk\n")
    return Task(name, ("embedding", "image_embeddings", "-e", str(spec)), folder / name), folder / f"job-{name}"


def started(job: Path) -> int:
    """Process id of a job's supervisor, once it has one."""
    wait_for(lambda: "pid" in json.loads((job / "handle.json").read_text()))
    pid: int = json.loads((job / "handle.json").read_text())["pid"]
    return pid


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="jobs share a worker on Linux only")
def test_engine_jobs_of_one_process_share_a_worker_and_die_alone(tmp_path: Path) -> None:
    executor = LocalExecutor()
    (one, first), (other, second) = (blocked(tmp_path, name) for name in ("one", "other"))
    executor.submit(one, first)
    executor.submit(other, second)
    assert parent(started(first)) == parent(started(second))
    with pytest.raises(InputError, match="already runs"):
        executor.submit(one, first)
    os.killpg(started(first), signal.SIGKILL)
    assert ended(executor, first).kind == "lost"
    assert executor.poll(second).kind == "running"
    executor.submit(one, first)  # the worker is still there
    assert parent(started(first)) == parent(started(second))
    os.kill(parent(started(first)), signal.SIGKILL)
    time.sleep(0.1)
    assert executor.poll(second).kind == "running", "the worker's end is not the job's"
    for job in (first, second):
        os.killpg(started(job), signal.SIGKILL)
        assert ended(executor, job).kind == "lost"
    refused = Task("refused", ("embedding", "image_embeddings", "-e", str(tmp_path / "none.yaml")), tmp_path)
    executor.submit(refused, tmp_path / "job")  # by a new worker
    assert ended(executor, tmp_path / "job").returncode == 1
    assert "none.yaml: no such spec" in executor.log(tmp_path / "job").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="jobs share a worker on Linux only")
def test_an_engine_job_outlives_its_starter_and_the_worker_does_not(tmp_path: Path) -> None:
    task, job = blocked(tmp_path, "long")
    submit = "import sys; from pathlib import Path; from deft_aoi.executors.base import Task\n"
    submit += "from deft_aoi.executors.local import LocalExecutor\n"
    submit += f"LocalExecutor().submit(Task('long', {task.command!r}, Path({str(tmp_path)!r})), Path({str(job)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", submit], env=os.environ | {"HF_TOKEN": "hf_canary"}, capture_output=True, check=True
    )
    assert done.stderr == b""
    pid = started(job)
    wait_for(lambda: b"executors.worker" not in Path(f"/proc/{parent(pid)}/cmdline").read_bytes())
    time.sleep(1.0)
    assert LocalExecutor().poll(job).kind == "running"
    assert b"hf_canary" not in Path(f"/proc/{pid}/environ").read_bytes()
    os.killpg(pid, signal.SIGTERM)
    assert ended(LocalExecutor(), job).kind == "lost"
