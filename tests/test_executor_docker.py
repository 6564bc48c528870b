"""Containers through a real Docker daemon: what they get, how their end is reported, what survives whom."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError, Unreachable
from deft_aoi.executors.base import (
    ANOMALYGEN,
    DATA_SERVICES,
    PAIDF_ANOMALYGEN,
    TAO_PYT,
    Container,
    JobState,
    Mount,
    Place,
    Task,
)
from deft_aoi.executors.docker.docker_engine import DockerExecutor
from docker_daemon import Daemon, host_image, own_daemon

IMAGE = "deft-test/mini:1"
WAITING = "trap 'exit 0' TERM; while true; do sleep 0.1; done"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with own_daemon() as started:
        host_image(started, IMAGE)
        yield started


@pytest.fixture
def place(daemon: Daemon, tmp_path: Path) -> Place:
    for folder in ("kpi/images", "train/base", "augmentation/backbone"):
        (tmp_path / folder).mkdir(parents=True)
    images = {TAO_PYT: IMAGE, PAIDF_ANOMALYGEN: IMAGE}
    return Place("local-docker", {"gpus": "0", "memory": ""}, tmp_path, images, "tao")


def task(place: Place, script: str, container: Container | None = None, gpus: int = 0) -> Task:
    output = place.workspace / "results/run_1/baseline/train"
    output.mkdir(parents=True, exist_ok=True)
    return Task("train", ("bash", "-c", script), output, image=TAO_PYT, container=container or Container(), gpus=gpus)


def job_of(place: Place, name: str = "baseline-train-train") -> Path:
    return place.workspace / "results/run_1/jobs" / name


def ended(executor: DockerExecutor, job: Path, seconds: float = 60) -> JobState:
    deadline = time.monotonic() + seconds
    while (state := executor.poll(job)).kind == "running":
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.05)
    return state


def ran(place: Place, script: str, container: Container | None = None) -> tuple[JobState, str]:
    state = submit_and_wait(place, task(place, script, container))
    return state, (job_of(place) / "output.log").read_text()


@pytest.mark.parametrize("code", [0, 7])
def test_exit_code_and_output_stay_when_the_container_is_gone(daemon: Daemon, place: Place, code: int) -> None:
    state, said = ran(place, f"echo said; echo loud >&2; exit {code}")
    assert (state.kind, state.returncode, state.reason) == ("finished", code, "")
    assert sorted(said.splitlines()) == ["loud", "said"]
    assert DockerExecutor(place).poll(job_of(place)) == state, "read from the record from now on"
    assert daemon.client().containers.list(all=True) == []


def test_training_has_its_own_shared_memory_and_sees_the_workspace_and_the_contract_paths(place: Place) -> None:
    (place.workspace / "kpi/images/a.png").write_text("a")
    (place.workspace / "kpi/testing_set.csv").write_text("k")
    (place.workspace / "train/base/training_set.csv").write_text("t")
    (place.workspace / "augmentation/backbone/weights.pth").write_text("w")
    data = "/data/datasets/NV_PCB_Siamese"
    state, said = ran(
        place,
        f"pwd; df --output=size /dev/shm; cat {data}/images/a.png {data}/kpi/testing_set.csv "
        f"{data}/csv/training_set.csv /data/pretrained_models/weights.pth; echo; "
        f"touch {place.workspace}/results/new; touch {data}/images/b.png",
    )
    lines = [line.strip() for line in said.splitlines()]  # the daemon hands on stdout and stderr in no fixed order
    assert str(job_of(place)) in lines
    assert int(lines[lines.index("1K-blocks") + 1]) == 8 << 20, "8g in kB, whatever the host has"
    assert "aktw" in said
    assert (place.workspace / "results/new").is_file()
    assert state.returncode == 1
    assert "Read-only file system" in said


def test_anomalygen_runs_as_the_caller_with_the_host_ipc(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_the_shell")
    host_memory = os.stat("/dev/shm").st_dev
    script = "id -u; pwd; echo $HF_HUB_DISABLE_XET $HF_TOKEN; cat /etc/passwd; stat -c %d /dev/shm"
    state, said = ran(place, script, ANOMALYGEN)
    assert state.returncode == 0, said
    lines = said.splitlines()
    assert lines[:3] == [str(os.getuid()), "/workspace/paidf-anomalygen", "1 hf_secret_of_the_shell"]
    assert Path("/etc/passwd").read_text().strip() in said
    assert int(lines[-1]) == host_memory
    for path in place.workspace.rglob("*"):
        assert path.name == "output.log" or not path.is_file() or "hf_secret" not in path.read_text(), path


def test_data_services_find_their_folder_in_the_working_directory(place: Place) -> None:
    state, said = ran(place, "id -u; ls -d experiment_specs", DATA_SERVICES)
    assert (state.returncode, said) == (0, "0\nexperiment_specs\n")


def test_own_mounts_and_environment_and_being_offline(place: Place, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_text("weights")
    extra = Container(environment={"A": "1"}, mounts=(Mount(tmp_path / "weights.bin", "/opt/weights.bin"),))
    _, said = ran(replace(place, air_gapped=True), "cat /opt/weights.bin; echo; echo $A $HF_HUB_OFFLINE", extra)
    assert said == "weights\n1 1\n"
    lacking = task(place, "true", Container(mounts=(Mount(tmp_path / "nothing", "/opt/x"),)))
    with pytest.raises(InputError, match=r"nothing, to be mounted at /opt/x, does not exist"):
        DockerExecutor(place).submit(lacking, job_of(place, "other"))


def as_somebody(user: int, work: Callable[[], JobState]) -> None:
    """In a forked process: the end of it, 0 where `work` ended without a reason."""
    try:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        state = work()
        print(state, file=sys.stderr)
        os._exit(1 if state.reason else 0)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        os._exit(1)


def submit_and_wait(place: Place, one: Task) -> JobState:
    executor = DockerExecutor(place)
    executor.submit(one, job_of(place))
    return ended(executor, job_of(place))


def test_what_the_image_user_wrote_is_given_to_the_caller(daemon: Daemon, place: Place) -> None:
    """A person who is not root, as on a real machine: outputs and job folder are theirs at the end."""
    os.chmod(daemon.host.removeprefix("unix://"), 0o666)
    with tempfile.TemporaryDirectory() as folder:
        mine = replace(place, workspace=Path(folder))
        one = task(mine, f"mkdir {folder}/results/run_1/baseline/train/deep; id -u; id -u > experiment_specs")
        subprocess.run(["chown", "-R", "4242:4242", folder], check=True)
        if (child := os.fork()) == 0:
            as_somebody(4242, lambda: submit_and_wait(mine, one))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (job_of(mine) / "output.log").read_text() == "0\n"
        assert (one.output / "deep").stat().st_uid == 4242
        assert (job_of(mine) / "experiment_specs").stat().st_uid == 4242


def test_another_process_finds_the_job_and_never_starts_a_second_one(daemon: Daemon, place: Place) -> None:
    job = job_of(place)
    DockerExecutor(place).submit(task(place, WAITING), job)
    other = DockerExecutor(place)
    assert other.poll(job).kind == "running"
    with pytest.raises(InputError, match="already runs"):
        other.submit(task(place, "sleep 60"), job)
    assert len(daemon.client().containers.list()) == 1
    other.cancel(job)
    state = ended(other, job)
    assert (state.kind, state.reason) == ("finished", "cancelled")


def test_a_caller_that_dies_between_name_and_container_loses_nothing(daemon: Daemon, place: Place) -> None:
    job, executor = job_of(place), DockerExecutor(place)
    executor.submit(task(place, "echo once"), job)
    name = json.loads((job / "handle.json").read_text())["container"]["name"]
    ended(executor, job)
    handle = json.loads((job / "handle.json").read_text())
    del handle["created"]  # as on disk before the daemon was asked
    (job / "handle.json").write_text(json.dumps(handle))
    (job / "exit.json").unlink()
    assert executor.poll(job).kind == "running"
    assert daemon.client().containers.list(all=True)[0].name == name
    assert ended(executor, job).returncode == 0


def test_a_kill_a_removal_and_a_lack_of_memory_are_told(daemon: Daemon, place: Place) -> None:
    executor, job = DockerExecutor(place), job_of(place)
    executor.submit(task(place, "sleep 60"), job)
    daemon.client().containers.list()[0].kill()
    state = ended(executor, job)
    assert (state.returncode, state.reason.split(":")[0]) == (137, "killed by SIGKILL")

    removed = job_of(place, "removed")
    executor.submit(task(place, "sleep 60"), removed)
    daemon.client().containers.list()[0].remove(force=True)
    state = ended(executor, removed)
    assert (state.kind, state.reason) == ("lost", "its container was removed")

    small = DockerExecutor(replace(place, settings={"gpus": "0", "memory": "32m"}))
    hungry = job_of(place, "hungry")
    small.submit(task(place, "dd if=/dev/zero of=/dev/null bs=150M count=1; exit $?"), hungry)
    state = ended(small, hungry)
    assert state.returncode == 137
    assert state.reason.startswith("out of memory")


def test_a_gpu_that_is_not_there_is_told_in_the_words_of_docker(place: Place) -> None:
    executor, job = DockerExecutor(replace(place, settings={"gpus": "all"})), job_of(place)
    executor.submit(task(place, "true", gpus=1), job)
    state = executor.poll(job)
    assert (state.kind, state.returncode) == ("finished", 125)
    assert "could not select device driver" in state.reason
    block = next(probe for probe in executor.probe() if probe.level == "block")
    assert (block.check, "could not select device driver" in block.text) == (6, True)
    assert "--set gpus=0" in block.text


def test_probes_of_a_machine_that_is_ready(place: Place) -> None:
    found = DockerExecutor(place).probe()
    assert {probe.level for probe in found} == {"ok", "note"}
    assert {probe.check for probe in found} == {3, 4, 5, 6}


def test_an_image_that_is_not_here_is_never_pulled_by_a_probe_or_air_gapped(
    daemon: Daemon, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NGC_KEY", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(place.workspace))
    absent = replace(place, images={TAO_PYT: "nvcr.io/nvidia/tao/tao-toolkit:7.0.1-pyt"})
    found = {probe.check: probe for probe in DockerExecutor(absent).probe()}
    assert (found[3].level, found[5].level) == ("block", "note")
    assert "NGC_KEY" in found[3].text
    (place.workspace / ".env").write_text("export NGC_KEY='nv_secret'\n")
    found = {probe.check: probe for probe in DockerExecutor(absent).probe()}
    assert (found[3].level, found[4].text) == ("ok", "registry login: nvcr.io by NGC_KEY")
    gapped = DockerExecutor(replace(absent, air_gapped=True))
    assert {p.check for p in gapped.probe() if p.level == "block"} == {5}
    gapped.submit(task(place, "true"), job_of(place))
    state = gapped.poll(job_of(place))
    assert (state.returncode, "nothing may be pulled" in state.reason) == (125, True)


def test_several_nodes_are_refused(place: Place) -> None:
    with pytest.raises(InputError, match="2 nodes; one Docker daemon is one node"):
        DockerExecutor(place).submit(replace(task(place, "true"), nodes=2), job_of(place))


def test_a_daemon_that_is_away_loses_nothing(daemon: Daemon, place: Place) -> None:
    """The last one, since the daemon ends: its containers die with it, and that too is reported when it is back."""
    executor, job = DockerExecutor(place), job_of(place)
    executor.submit(task(place, WAITING), job)
    fast = job_of(place, "fast")
    executor.submit(task(place, "exit 5"), fast)
    daemon.stop(signal.SIGTERM)
    for call in (lambda: executor.poll(job), lambda: executor.cancel(fast)):
        with pytest.raises(Unreachable, match="does not answer"):
            call()
    with pytest.raises(Unreachable):
        executor.submit(task(place, "true"), job_of(place, "new"))
    assert executor.poll(job_of(place, "new")).kind == "absent"
    assert [probe.level for probe in executor.probe()] == ["block"]
    daemon.start()
    assert ended(executor, job).kind == "finished"
    assert ended(executor, fast).returncode == 5
