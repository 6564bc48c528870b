"""Batch jobs through a real SLURM of one node: what is asked for, how their end is reported, what survives whom."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError, Unreachable
from deft_aoi.executors.base import ANOMALYGEN, TAO_PYT, Container, JobState, Place, Task
from deft_aoi.executors.slurm.slurm import SlurmExecutor
from slurm_cluster import NODE, Cluster, own_cluster, wait

IMAGE = "nvcr.io/nvidia/tao/tao-toolkit:7.0.1-pyt"
BARE = {"container": "none", "gres": "gpu"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with own_cluster() as started:
        yield started


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place("slurm", BARE, tmp_path, {TAO_PYT: IMAGE}, "tao")


def task(place: Place, script: str, **more: object) -> Task:
    output = place.workspace / "results/run_1/baseline/train"
    output.mkdir(parents=True, exist_ok=True)
    return replace(Task("train", ("bash", "-c", script), output, image=TAO_PYT), **more)  # type: ignore[arg-type]


def job_of(place: Place, name: str = "baseline-train-train") -> Path:
    return place.workspace / "results/run_1/jobs" / name


def ended(executor: SlurmExecutor, job: Path, seconds: float = 60) -> JobState:
    deadline = time.monotonic() + seconds
    while (state := executor.poll(job)).kind == "running":
        assert time.monotonic() < deadline, f"still {state}"
        time.sleep(0.1)
    return state


def started(executor: SlurmExecutor, job: Path) -> str:
    """Id of a job that runs on its node."""
    wait(lambda: (executor.poll(job).kind, executor.poll(job).reason) == ("running", ""), "job does not run")
    number: str = json.loads((job / "handle.json").read_text())["job_id"]
    return number


@pytest.mark.parametrize("code", [0, 7])
def test_exit_code_and_output_are_on_disk(cluster: Cluster, place: Place, code: int) -> None:
    executor, job = SlurmExecutor(place), job_of(place)
    executor.submit(task(place, f"pwd; echo $A; exit {code}", container=Container(environment={"A": "x y"})), job)
    state = ended(executor, job)
    assert (state.kind, state.returncode, state.reason) == ("finished", code, "")
    assert executor.log(job).read_text() == f"{job}\nx y\n"


def test_a_spec_s_gpus_are_asked_for_and_the_job_is_never_requeued(cluster: Cluster, place: Place) -> None:
    executor, job = SlurmExecutor(place), job_of(place)
    executor.submit(task(place, "echo $SLURM_JOB_GPUS; sleep 30", gpus=1), job)
    number = started(executor, job)
    shown = subprocess.run(["scontrol", "-o", "show", "job", number], capture_output=True, text=True, check=True).stdout
    assert "Requeue=0" in shown
    assert "gres:gpu:1" in shown
    second = job_of(place, "second")
    executor.submit(task(place, "true", gpus=1), second)
    wait(lambda: executor.poll(second).reason == "waiting in the queue (Resources)", "one GPU, two jobs")
    with pytest.raises(InputError, match="already runs"):
        executor.submit(task(place, "true"), second)
    executor.cancel(second)
    executor.cancel(job)
    for one in (job, second):
        state = ended(executor, one)
        assert (state.kind, state.reason, state.returncode) == ("finished", "cancelled", 143 if one == job else 1)


def test_more_than_the_cluster_has_is_refused_in_its_own_words(cluster: Cluster, place: Place) -> None:
    executor, job = SlurmExecutor(place), job_of(place)
    executor.submit(task(place, "true", gpus=4), job)
    state = executor.poll(job)
    assert (state.kind, state.returncode) == ("finished", 1)
    assert "Requested node configuration is not available" in state.reason


def test_a_caller_that_dies_before_or_after_sbatch_starts_nothing_twice(cluster: Cluster, place: Place) -> None:
    job, executor = job_of(place), SlurmExecutor(place)
    count = place.workspace / "count"
    executor.submit(task(place, f"echo x >> {count}; sleep 1"), job)
    handle = json.loads((job / "handle.json").read_text())
    number = handle.pop("job_id")
    (job / "handle.json").write_text(json.dumps(handle))
    assert SlurmExecutor(place).poll(job).kind == "running"
    assert json.loads((job / "handle.json").read_text())["job_id"] == number
    assert ended(executor, job).returncode == 0
    assert count.read_text() == "x\n"

    before = job_of(place, "before")
    executor.submit(task(place, f"echo y >> {count}"), before)
    handle = json.loads((before / "handle.json").read_text())
    ended(executor, before)
    (before / "exit.json").unlink()
    handle.pop("job_id")
    handle["container"]["name"] += "-unknown"  # as if sbatch had never been called
    (before / "handle.json").write_text(json.dumps(handle))
    assert ended(executor, before).returncode == 0
    assert count.read_text() == "x\ny\ny\n"


def test_a_time_limit_and_a_kill_are_told(cluster: Cluster, place: Place) -> None:
    executor, job = SlurmExecutor(place), job_of(place)
    executor.submit(task(place, "kill -9 $$"), job)
    assert ended(executor, job).reason.startswith("killed by SIGKILL")
    limited = SlurmExecutor(replace(place, settings=BARE | {"time": "1"}))
    late = job_of(place, "late")
    limited.submit(task(place, "sleep 300"), late)
    number = started(limited, late)
    subprocess.run(["scontrol", "update", f"JobId={number}", "EndTime=now"], check=True)
    state = ended(limited, late, 120)
    assert (state.kind, state.reason) == ("finished", "its time limit was reached; raise --set time")


def test_a_node_that_fails_loses_the_job_which_may_start_again(cluster: Cluster, place: Place) -> None:
    executor, job = SlurmExecutor(place), job_of(place)
    executor.submit(task(place, "sleep 300"), job)
    started(executor, job)
    subprocess.run(["scontrol", "update", f"NodeName={NODE}", "State=DOWN", "Reason=test"], check=True)
    state = ended(executor, job)
    assert (state.kind, state.reason) == ("lost", "its node failed")
    subprocess.run(["scontrol", "update", f"NodeName={NODE}", "State=RESUME"], capture_output=True, check=False)
    wait(lambda: cluster.state() == "idle", cluster.tail)


def test_a_controller_that_is_away_loses_nothing_and_an_old_job_is_found_in_its_records(
    cluster: Cluster, place: Place
) -> None:
    executor, job, failed = SlurmExecutor(place), job_of(place), job_of(place, "failed")
    executor.submit(task(place, "sleep 3; exit 4"), job)
    executor.submit(task(place, "exit 9"), failed)
    started(executor, job)
    cluster.stop("slurmctld")
    with pytest.raises(Unreachable, match="does not answer"):
        executor.poll(job)
    with pytest.raises(Unreachable):
        executor.submit(task(place, "true"), job_of(place, "new"))
    assert executor.poll(job_of(place, "new")).kind == "absent"
    assert [probe.level for probe in executor.probe()] == ["block"]
    cluster.start("slurmctld")
    assert ended(executor, job).returncode == 4
    assert ended(executor, failed).returncode == 9

    # Long after: the controller has forgotten the job; its records and the file that it left remain.
    (failed / "exit.json").unlink()
    handle = json.loads((failed / "handle.json").read_text())
    (failed / "handle.json").write_text(json.dumps(handle | {"job_id": "4242"}))
    state = executor.poll(failed)
    assert (state.kind, state.returncode) == ("finished", 9)


def test_secrets_reach_the_job_and_no_file(cluster: Cluster, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    (place.workspace / ".env").write_text('HF_TOKEN="hf_in_env_file"\n')
    executor, job = SlurmExecutor(place), job_of(place)
    executor.submit(task(place, "echo ${#HF_TOKEN} $HF_HUB_DISABLE_XET", container=ANOMALYGEN), job)
    ended(executor, job)
    assert executor.log(job).read_text() == f"{len('hf_in_env_file')} 1\n"
    written = "".join(path.read_text() for path in job.rglob("*") if path.is_file())
    assert "hf_in_env_file" not in written
    assert "HF_TOKEN" not in os.environ


def test_probes(cluster: Cluster, place: Place) -> None:
    found = SlurmExecutor(place).probe()
    assert {probe.level for probe in found} == {"ok"}, found
    assert any("gpu:1" in probe.text for probe in found)
    block = {
        "gres": ({"gres": "tpu"}, 6, "no node that is up offers the generic resource 'tpu'"),
        "partition": ({"partition": "none"}, 6, "no partition 'none'"),
        "container": ({"container": "podman"}, 5, "expected one of pyxis, apptainer, none"),
        "image": (
            {"container": "apptainer", "images": "/nowhere"},
            5,
            "no file /nowhere/nvcr.io_nvidia_tao_tao-toolkit_",
        ),
    }
    for name, (settings, check, text) in block.items():
        found = [p for p in SlurmExecutor(replace(place, settings=BARE | settings)).probe() if p.level == "block"]
        assert [(p.check, text in p.text) for p in found] == [(check, True)], name
    pulled = replace(place, settings={"container": "pyxis"}, air_gapped=True)
    assert [p.check for p in SlurmExecutor(pulled).probe() if p.level == "block"] == [5]
