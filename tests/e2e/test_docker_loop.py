"""The whole loop through a real Docker daemon, its containers killed, removed and left without a daemon on the way."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_daemon import Daemon, host_image, own_daemon
from inside import InsideExecutor, jobs_by
from loop_cli import entries
from null_engine import HOLD
from real_loops import Loop, scores
from stand_in import begin, deft, files, program, resolve, step

IMAGE = "deft-test/tao:1"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as started:
        texts = {f"/usr/bin/{name}": program(name) for name in ("visual_changenet", "embedding")}
        host_image(started, IMAGE, files(), texts)
        yield started


@pytest.fixture
def host_jobs() -> Iterator[None]:
    """Work that has no container, on this machine, runs in this process."""
    with jobs_by(InsideExecutor):
        yield


def test_the_loop_in_containers_goes_on_after_every_loss_and_ends_as_on_this_machine(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_jobs: None, weakness_loop: Loop
) -> None:
    for name in ("TAO_PYT_IMAGE", "TAO_DS_IMAGE"):
        monkeypatch.setenv(name, IMAGE)
    workspace = tmp_path / "ws"
    run = begin(workspace, "local-docker", gpus="0")
    summary = (run / "preflight_summary.md").read_text()
    assert "in NVIDIA's containers (Docker, no GPU)" in summary
    client = daemon.client()

    # Killed in the middle of the training: a hard stop says so, and after a person's word it goes on.
    (workspace / HOLD).touch()
    assert "train running for" in step(run, check=75, wait="2")
    client.containers.list()[0].kill()
    said = step(run, check=3)
    assert "HARD STOP task_failed at baseline/train" in said
    assert "killed by SIGKILL" in said
    (workspace / HOLD).unlink()
    resolve(run)
    step(run)

    # Removed in the middle of an inference: that is no verdict of anyone, it starts again by itself and says so.
    (workspace / HOLD).touch()
    step(run, check=75, wait="2")
    client.containers.list()[0].remove(force=True)
    (workspace / HOLD).unlink()
    assert "started again (its container was removed)" in step(run)

    # The daemon goes away: nothing is journaled; when it is back, what became of the job is reported.
    while entries(run)[-1]["stage"] != "data_merge":
        step(run)
    (workspace / HOLD).touch()
    step(run, check=75, wait="2")
    before = entries(run)
    daemon.stop(signal.SIGTERM)
    (workspace / HOLD).unlink()
    assert "does not answer" in step(run, check=2)
    assert entries(run) == before
    daemon.start()
    assert "HARD STOP task_failed at iter1/train" in step(run, check=3)
    resolve(run)

    deft("run", "--results-dir", str(run))
    assert entries(run)[-1]["stage"] == "loop_stop"
    assert deft("verify", "--results-dir", str(run)).startswith("verified: ")
    assert daemon.client().containers.list(all=True) == []
    commands = [json.loads(path.read_text()) for path in run.glob("jobs/*/handle.json")]
    inside = [handle["task"][1] for handle in commands if handle.get("platform") == "local-docker"]
    assert sorted(set(inside)) == ["inference", "train"]
    assert all(handle["container"]["command"] == handle["task"] for handle in commands if "container" in handle)

    assert scores(run) == scores(weakness_loop.path)
