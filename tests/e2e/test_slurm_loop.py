"""The whole loop through a real SLURM, a job cancelled, the node and the controller lost on the way."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from inside import InsideExecutor, jobs_by
from loop_cli import entries
from null_engine import HOLD
from real_loops import Loop, scores
from slurm_cluster import NODE, Cluster, own_cluster, wait
from stand_in import begin, deft, programs, resolve, step


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with own_cluster() as started:
        yield started


@pytest.fixture
def host_jobs() -> Iterator[None]:
    """Work that is no batch job, on this machine, runs in this process."""
    with jobs_by(InsideExecutor):
        yield


def running_job(run: Path, name: str) -> str:
    """Id of the job of a task, once it runs."""
    number: str = json.loads((run / "jobs" / name / "handle.json").read_text())["job_id"]

    def runs() -> bool:
        done = subprocess.run(["squeue", "-h", "-j", number, "-o", "%T"], capture_output=True, text=True, check=False)
        return done.stdout.strip() == "RUNNING"

    wait(runs, f"job {number} does not run")
    return number


def test_the_loop_in_batch_jobs_goes_on_after_every_loss_and_ends_as_on_this_machine(
    cluster: Cluster, tmp_path: Path, host_jobs: None, weakness_loop: Loop
) -> None:
    workspace = tmp_path / "ws"
    (tmp_path / "tao").mkdir()
    programs(tmp_path / "tao/bin")
    run = begin(workspace, "slurm", container="none", venv=str(tmp_path / "tao"))
    assert "SLURM, bare on the nodes" in (run / "preflight_summary.md").read_text()

    # Cancelled in the middle of the training: a hard stop says so, and after a person's word it goes on.
    (workspace / HOLD).touch()
    step(run, check=75, wait="2")
    subprocess.run(["scancel", running_job(run, "baseline-train-train")], check=True)
    said = step(run, check=3)
    assert "HARD STOP task_failed at baseline/train" in said
    assert "cancelled" in said
    (workspace / HOLD).unlink()
    resolve(run)
    step(run)

    # The node goes down in the middle of an inference: it starts again by itself once there is a node, and says so.
    (workspace / HOLD).touch()
    step(run, check=75, wait="2")
    running_job(run, "baseline-evaluate-best_val")
    subprocess.run(["scontrol", "update", f"NodeName={NODE}", "State=DOWN", "Reason=test"], check=True)
    assert "best_val " in step(run, check=75, wait="3")
    (workspace / HOLD).unlink()
    subprocess.run(["scontrol", "update", f"NodeName={NODE}", "State=RESUME"], capture_output=True, check=False)
    assert "started again (its node failed)" in step(run)

    # The controller goes away: nothing is journaled, and the job is found again.
    while entries(run)[-1]["stage"] != "data_merge":
        step(run)
    (workspace / HOLD).touch()
    step(run, check=75, wait="2")
    running_job(run, "iter1-train-train")
    before = entries(run)
    cluster.stop("slurmctld")
    assert "does not answer" in step(run, check=2)
    assert entries(run) == before
    (workspace / HOLD).unlink()
    cluster.start("slurmctld")

    deft("run", "--results-dir", str(run))
    assert entries(run)[-1]["stage"] == "loop_stop"
    assert deft("verify", "--results-dir", str(run)).startswith("verified: ")
    handles = [json.loads(path.read_text()) for path in run.glob("jobs/iter*/handle.json")]
    numbers = [handle["job_id"] for handle in handles if handle.get("platform") == "slurm"]
    assert len(numbers) == len(set(numbers)) >= 5

    assert scores(run) == scores(weakness_loop.path)
