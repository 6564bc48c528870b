"""A SLURM of two nodes: jobs started again, a node lost, several nodes for one job, over ssh, a site's file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.versions import platform
from deft_aoi.executors.base import TAO_PYT, JobState, Place, Task
from deft_aoi.executors.slurm.slurm import SlurmExecutor
from deft_aoi.preflight.plan_values import platform_settings
from null_engine import HOLD
from real_loops import ONE, Loop, begun, finish, labelled_line, scores
from slurm_cluster import Cluster, own_cluster, wait
from ssh_machine import Machine, own_machine
from stand_in import step

NODES = ("deft1", "deft2")
BARE = {"container": "none", "gres": "gpu"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with own_cluster(*NODES) as started:
        yield started


@pytest.fixture(scope="module")
def login(cluster: Cluster) -> Iterator[Machine]:
    """A login node with a user of its own, that knows the cluster."""
    with own_machine(SLURM_CONF=os.environ["SLURM_CONF"]) as started:
        yield started


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place("slurm", BARE, tmp_path, {TAO_PYT: "image:1"}, "tao")


def task(place: Place, script: str, **more: object) -> Task:
    output = place.workspace / "results/run_1/baseline/train"
    output.mkdir(parents=True, exist_ok=True)
    return replace(Task("train", ("bash", "-c", script), output, image=TAO_PYT), **more)  # type: ignore[arg-type]


def job_of(place: Place) -> Path:
    return place.workspace / "results/run_1/jobs/baseline-train-train"


def started(executor: SlurmExecutor, job: Path) -> tuple[str, str]:
    """Id of a job that runs, and its node."""
    wait(lambda: (executor.poll(job).kind, executor.poll(job).reason) == ("running", ""), "job does not run", 120)
    number: str = json.loads((job / "handle.json").read_text())["job_id"]
    return number, node_of(number)


def node_of(number: str) -> str:
    done = subprocess.run(["squeue", "-h", "-j", number, "-o", "%N"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def ended(executor: SlurmExecutor, job: Path) -> JobState:
    wait(lambda: executor.poll(job).kind != "running", lambda: f"still {executor.poll(job)}", 120)
    return executor.poll(job)


def scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True, capture_output=True)


def begin_now(number: str) -> None:
    """SLURM lets a job that it takes back wait for two minutes; an administrator need not."""
    wait(lambda: not node_of(number), "job is not taken back")
    scontrol("update", f"JobId={number}", "StartTime=now")


def lose(cluster: Cluster, node: str, number: str) -> None:
    """The node goes down with all that ran on it, and stays away."""
    scontrol("update", f"NodeName={node}", "State=DOWN", "Reason=test")
    wait(lambda: not node_of(number), "job is not taken back")
    time.sleep(3)  # KillWait and one more: what ran there is gone
    cluster.stop(f"slurmd {node}", signal.SIGKILL)
    scontrol("update", f"NodeName={node}", "State=DOWN", "Reason=test")
    begin_now(number)


def test_a_job_taken_back_starts_afresh_on_the_other_node_when_its_own_is_lost(cluster: Cluster, place: Place) -> None:
    executor, job = SlurmExecutor(replace(place, settings=BARE | {"requeue": "fresh"})), job_of(place)
    go = place.workspace / "go"
    script = "ls {0}; cd {0}".format(place.workspace / "results/run_1/baseline/train")
    executor.submit(task(place, f"{script}; touch half; while [ ! -e {go} ]; do sleep 0.1; done; echo end >end"), job)
    number, node = started(executor, job)
    lose(cluster, node, number)
    _, other = started(executor, job)
    assert {node, other} == set(NODES)
    go.touch()
    assert ended(executor, job).returncode == 0
    cluster.start(f"slurmd {node}")
    output = place.workspace / "results/run_1/baseline/train"
    assert sorted(path.name for path in output.iterdir()) == ["end", "half"]
    assert "half" not in executor.log(job).read_text()  # the second start found nothing of the first
    assert (output.parent / "train.failed-requeue-1/half").is_file()


def test_a_training_asks_for_another_start_before_its_time_limit_and_goes_on(cluster: Cluster, place: Place) -> None:
    executor, job = SlurmExecutor(replace(place, settings=BARE | {"requeue": "resume", "time": "1"})), job_of(place)
    output = place.workspace / "results/run_1/baseline/train"
    script = f'cd {output}; echo epoch >>epochs; [ "$(wc -l <epochs)" = 2 ] || sleep 300'
    executor.submit(task(place, script), job)
    number, _ = started(executor, job)
    subprocess.run(["scancel", "--batch", "--signal=USR1", number], check=True)  # as SLURM does before the limit
    begin_now(number)
    assert ended(executor, job).returncode == 0
    assert (output / "epochs").read_text() == "epoch\nepoch\n"


def test_several_nodes_know_of_each_other(cluster: Cluster, place: Place) -> None:
    executor, job = SlurmExecutor(place), job_of(place)
    wait(lambda: cluster.up() == 2, cluster.tail)
    executor.submit(task(place, "echo $NODE_RANK of $WORLD_SIZE at $MASTER_ADDR", nodes=2), job)
    assert ended(executor, job).returncode == 0
    lines = sorted(executor.log(job).read_text().splitlines())
    assert lines == ["0 of 2 at deft1", "1 of 2 at deft1"]


def test_a_loop_over_ssh_survives_a_requeue_in_mid_train_and_a_lost_node(
    cluster: Cluster, login: Machine, null_engine_here: None, null_loop: Loop
) -> None:
    before = os.umask(0)  # the jobs' user is not this one; on a cluster it is
    try:
        with tempfile.TemporaryDirectory(prefix="deft-open-") as folder:
            os.chmod(folder, 0o777)
            workspace = labelled_line(Path(folder) / "ws")
            given = {"ssh": "rented", "ssh_config": str(login.config), "container": "none", "requeue": "fresh"}
            given |= {"venv": str(login.home / login.null_tao().removeprefix("~/")), "gres": ""}
            sets = [text for name, value in given.items() for text in ("--set", f"{name}={value}")]
            run = begun(workspace, "--platform", "slurm", *ONE, *sets)
            assert "submitted over ssh rented" in (run / "preflight_summary.md").read_text()

            (workspace / HOLD).touch()
            step(run, check=75, wait="1")
            number, _ = started(SlurmExecutor(place_of(run, given)), run / "jobs/baseline-train-train")
            wait(lambda: login.counted("train") == 1, "not trained")
            scontrol("requeue", number)
            begin_now(number)
            wait(lambda: login.counted("train") == 2, "not trained again")
            node = node_of(number)
            lose(cluster, node, number)
            wait(lambda: login.counted("train") == 3, "not trained on the other node")
            assert node_of(number) != node
            cluster.start(f"slurmd {node}")
            (workspace / HOLD).unlink()

            finish(run)
            assert scores(run) == scores(null_loop.path)
            assert len(list(run.glob("baseline/train.failed-requeue-*"))) == 2
    finally:
        os.umask(before)


def place_of(run: Path, settings: dict[str, str]) -> Place:
    return Place("slurm", settings, run.parents[1], {TAO_PYT: "image:1"}, "tao")


def test_a_site_writes_its_settings_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFT_SITE", str(tmp_path))
    (tmp_path / "slurm.yaml").write_text("partition: gpu\naccount: aoi\nqos: low\ntime: '4:00:00'\ncpus: 8\n")
    found = platform_settings(platform("slurm"), {"set": ["qos=high"]})
    chosen = {key: found[key] for key in ("partition", "account", "qos", "time", "cpus", "memory", "container")}
    assert chosen == {
        "partition": "gpu", "account": "aoi", "qos": "high", "time": "4:00:00", "cpus": "8", "memory": "",
        "container": "pyxis",
    }  # fmt: skip
    (tmp_path / "slurm.yaml").write_text("partion: gpu\n")
    with pytest.raises(InputError, match=r"slurm.yaml: partion: platform slurm has these settings: container, "):
        platform_settings(platform("slurm"), {})
