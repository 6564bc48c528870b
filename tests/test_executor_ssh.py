"""Tasks on another machine through a real sshd: what is sent and brought back, how an end is reported."""

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
from deft_aoi.executors.base import TAO_PYT, Container, JobState, Place, Task
from deft_aoi.executors.ssh.rented import BrevExecutor, LeptonExecutor
from deft_aoi.executors.ssh.ssh import SshExecutor
from slurm_cluster import wait
from ssh_machine import USER, Machine, kill, own_machine, processes, words

IMAGE = "nvcr.io/nvidia/tao/tao-toolkit:7.0.1-pyt"
SECRET = "hf_CANARYoverSSHeeeeeeeeeeee"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with own_machine() as started:
        started.shell()
        yield started


@pytest.fixture
def place(machine: Machine, tmp_path: Path) -> Place:
    settings = {
        "host": "rented",
        "ssh_config": str(machine.config),
        "container": "none",
        "venv": "~/tools",
        "gpus": "0",
    }
    return Place("ssh", settings, tmp_path, {TAO_PYT: IMAGE}, "tao")


def task(place: Place, script: str, **more: object) -> Task:
    """A task whose program over there runs `script`; $OUT in it is the task's output folder."""
    output = place.workspace / "results/run_1/baseline/train"
    output.mkdir(parents=True, exist_ok=True)
    spec = place.workspace / "results/run_1/baseline/specs/train.yaml"
    spec.parent.mkdir(parents=True, exist_ok=True)
    spec.write_text(f"OUT={output}\n{script}\n")
    command = ("visual_changenet", "train", "-e", str(spec))
    return replace(Task("train", command, output, image=TAO_PYT), **more)  # type: ignore[arg-type]


def job_of(place: Place, name: str = "baseline-train-train") -> Path:
    return place.workspace / "results/run_1/jobs" / name


def ended(executor: SshExecutor, job: Path, seconds: float = 120) -> JobState:
    deadline = time.monotonic() + seconds
    while (state := executor.poll(job)).kind == "running":
        assert time.monotonic() < deadline, f"still {state}"
        time.sleep(0.1)
    return state


def running(executor: SshExecutor, job: Path) -> None:
    """Wait until the command runs over there."""
    wait(lambda: (executor.poll(job).kind, executor.poll(job).reason) == ("running", ""), "job does not run")
    wait(lambda: executor.poll(job) and executor.log(job).is_file(), "the command printed nothing")


def there(machine: Machine, place: Place, job: Path) -> Path:
    """The job's control folder on the other machine."""
    name = json.loads((job / "handle.json").read_text())["container"]["name"]
    return machine.workspace(place.workspace) / job.relative_to(place.workspace) / name


def test_only_what_changed_goes_there_and_results_come_back_with_hashes(machine: Machine, place: Place) -> None:
    (place.workspace / "kpi").mkdir()
    (place.workspace / "kpi/a.csv").write_text("x\n")
    (place.workspace / ".env").write_text(f"HF_TOKEN={SECRET}\n")
    (place.workspace / "results/run_0").mkdir(parents=True)
    (place.workspace / "results/run_0/big").write_text("of another run")
    executor, job = SshExecutor(place), job_of(place)
    script = (
        'echo "$HOME"; echo ${#HF_TOKEN}; mkdir -p "$OUT/deep"; cd "$OUT"\n'
        "echo weights >deep/model_epoch_000.pth; ln -s deep/model_epoch_000.pth latest"
    )
    executor.submit(task(place, script, container=Container(secrets=("HF_TOKEN",))), job)
    state = ended(executor, job)
    assert (state.kind, state.returncode, state.reason) == ("finished", 0, ""), executor.log(job).read_text()
    assert executor.log(job).read_text().startswith(f"{machine.home}\n{len(SECRET)}\n")
    output = place.workspace / "results/run_1/baseline/train"
    assert (output / "deep/model_epoch_000.pth").read_text() == "weights\n"
    assert os.readlink(output / "latest") == "deep/model_epoch_000.pth"
    far = machine.workspace(place.workspace)
    assert (far / "kpi/a.csv").read_text() == "x\n"
    assert sorted(path.name for path in far.glob("results/*")) == ["run_1"]
    assert not (far / ".env").exists()
    holders = [path for root in (machine.home, job) for path in root.rglob("*") if path.is_file()]
    assert [path for path in holders if SECRET.encode() in path.read_bytes()] == []

    # The second task: a file that did not change keeps its inode there, one that did is replaced.
    inode = (far / "kpi/a.csv").stat().st_ino
    (place.workspace / "kpi/b.csv").write_text("new\n")
    second = job_of(place, "second")
    executor.submit(task(place, "exit 3"), second)
    state = ended(executor, second)
    assert (state.returncode, state.reason) == (3, "")
    assert (far / "kpi/a.csv").stat().st_ino == inode
    assert (far / "kpi/b.csv").read_text() == "new\n"


def test_bytes_that_changed_on_the_way_are_fetched_again(machine: Machine, place: Place) -> None:
    executor, job = SshExecutor(place), job_of(place)
    executor.submit(task(place, 'echo right >"$OUT/a"; echo right >"$OUT/b"'), job)
    wait(lambda: executor.poll(job).reason == "bringing the results back", "no results")
    wait(lambda: executor.courier.poll(job / "fetch").kind == "finished", "no results here")
    (place.workspace / "results/run_1/baseline/train/b").write_text("wrong\n")
    assert ended(executor, job).returncode == 0
    assert (place.workspace / "results/run_1/baseline/train/b").read_text() == "right\n"
    assert len(list(job.glob("fetch-*"))) == 1


def test_a_transfer_killed_at_half_goes_on_where_it_was(machine: Machine, place: Place) -> None:
    (place.workspace / "pool").mkdir()
    for number in range(40):
        (place.workspace / f"pool/{number:02}.png").write_bytes(os.urandom(200_000))
    executor, job = SshExecutor(place), job_of(place)
    far = machine.workspace(place.workspace) / "pool"
    executor.submit(task(place, "true"), job)
    wait(lambda: far.is_dir() and len(list(far.glob("*.png"))) >= 3, "nothing arrives")
    for pid in (pid for pid in processes() if str(place.workspace) in words(pid) and "rsync" in words(pid)):
        kill(pid)
    arrived = {path.name: path.stat().st_ino for path in far.glob("*.png")}
    assert len(arrived) < 40, "killed too late"
    assert ended(executor, job).returncode == 0
    assert len(list(far.glob("*.png"))) == 40
    assert {path.name: path.stat().st_ino for path in far.glob("*.png") if path.name in arrived} == arrived


def test_a_cancelled_job_ends_there_and_leaves_no_secret(machine: Machine, place: Place) -> None:
    (place.workspace / ".env").write_text(f"HF_TOKEN={SECRET}\n")
    executor, job = SshExecutor(place), job_of(place)
    executor.submit(task(place, "echo on; sleep 300", container=Container(secrets=("HF_TOKEN",))), job)
    running(executor, job)
    with pytest.raises(InputError, match="already runs"):
        executor.submit(task(place, "true"), job)
    executor.cancel(job)
    state = ended(executor, job)
    assert (state.kind, state.returncode, state.reason) == ("finished", 143, "cancelled")
    assert not [pid for pid in processes() if "sleep 300" in words(pid) and machine.owns(pid)]
    assert not (there(machine, place, job) / "secrets").exists()


def test_a_machine_that_went_down_is_a_lost_job_and_one_that_was_wiped_too(machine: Machine, place: Place) -> None:
    executor, job = SshExecutor(place), job_of(place)
    executor.submit(task(place, "echo on; sleep 300"), job)
    running(executor, job)
    for pid in (pid for pid in processes() if machine.owns(pid)):
        kill(pid)
    state = ended(executor, job)
    assert (state.kind, state.reason) == ("lost", "that machine was restarted, or somebody ended the job there")

    wiped = job_of(place, "wiped")
    executor.submit(task(place, "true"), wiped)
    wait(lambda: executor.courier.poll(wiped / "send").kind == "finished", "not sent")
    subprocess.run(["rm", "-rf", str(machine.workspace(place.workspace))], check=True)
    state = ended(executor, wiped)
    assert (state.kind, state.reason) == ("lost", "its folder is gone from rented")


def test_a_full_disk_there_is_told_before_and_during_a_job(machine: Machine, place: Place) -> None:
    disk = machine.home / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    try:
        machine.own(disk)
        small = replace(place, settings={**place.settings, "folder": f"{disk}/ws"})
        blocked = [probe.text for probe in SshExecutor(small).probe() if probe.level == "block"]
        assert len(blocked) == 1
        assert blocked[0].startswith("disk of rented: 0.0 GB free")
        executor, job = SshExecutor(small), job_of(small)
        executor.submit(task(small, 'head -c 2000000 /dev/zero >"$OUT/big" || exit 9'), job)
        state = ended(executor, job)
        assert (state.kind, state.returncode) == ("finished", 9)
        assert state.reason.startswith("the disk of rented is full (")
        (small.workspace / "big").write_bytes(bytes(2_000_000))
        second = job_of(small, "second")
        executor.submit(task(small, "true"), second)
        state = ended(executor, second)
        assert (state.kind, state.returncode) == ("finished", 1)
        assert state.reason.startswith("no space left on rented or here: rsync")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_shared_workspace_is_used_where_it_is(machine: Machine, place: Place) -> None:
    root = machine.folder / "shared"
    root.mkdir()
    shared = replace(place, workspace=root, settings={**place.settings, "workspace": "shared"})
    asked = task(shared, 'echo here >"$OUT/a"')
    machine.own(root)
    executor, job = SshExecutor(shared), job_of(shared)
    job.mkdir(parents=True)
    asked = replace(asked, command=("sh", *asked.command[3:]))
    executor.submit(asked, job)
    machine.own(root)
    assert ended(executor, job).returncode == 0
    assert (asked.output / "a").read_text() == "here\n"
    assert not list(job.glob("send*"))
    elsewhere = replace(shared, workspace=root.parent / "not-there")
    blocked = [probe.text for probe in SshExecutor(elsewhere).probe() if probe.level == "block"]
    assert any("rented does not see the workspace" in text or "may not write" in text for text in blocked)


def test_probes_say_what_is_there_and_send_nothing(machine: Machine, place: Place) -> None:
    found = SshExecutor(place).probe()
    assert {probe.level for probe in found} == {"ok", "note"}, found
    assert not machine.workspace(place.workspace).exists()
    cases = {
        "may not write to /usr/x": {"folder": "/usr/x"},
        "has no visual_changenet in its PATH": {"venv": "~/nothing"},
        "has no GPU that nvidia-smi shows": {"gpus": "all"},
        "expected one of docker, podman, none": {"container": "slurm"},
        "expected one of shared, sync": {"workspace": "copy"},
        "expected a name of ~/.ssh/config or user@address": {"host": "-oProxyCommand=x"},
        "docker on rented does not answer": {"container": "docker"},
    }
    for text, settings in cases.items():
        blocked = [
            p.text
            for p in SshExecutor(replace(place, settings=place.settings | settings)).probe()
            if p.level == "block"
        ]
        assert [text in one for one in blocked] == [True], (text, blocked)


def stand_in(folder: Path, name: str, answers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a provider's command line, which is not here: it answers as its documentation says."""
    cases = "".join(f"'{words}') cat <<'EOF'\n{text}\nEOF\n;;\n" for words, text in answers.items())
    (folder / name).write_text(f'#!/bin/sh\ncase "$*" in\n{cases}*) echo "unknown command $*" >&2; exit 1 ;;\nesac\n')
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_a_brev_instance_is_found_by_the_stand_in_for_its_command_line(
    machine: Machine, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rented = replace(place, platform="brev", settings={**place.settings, "instance": "rented"})
    monkeypatch.setenv("PATH", "/usr/bin")
    (probe,) = BrevExecutor(rented).probe()
    assert probe.text.startswith("brev is not installed here; ")
    table = (
        "You have 2 instances in Org x\n NAME    STATUS   URL  ID\n rented  {}  -    abc\n other   STOPPED  -    def"
    )
    folder = tmp_path_factory.mktemp("bin")
    stand_in(folder, "brev", {"refresh": "", "ls": table.format("\x1b[32mRUNNING\x1b[0m")}, monkeypatch)
    assert {probe.level for probe in BrevExecutor(rented).probe()} == {"ok", "note"}
    executor, job = BrevExecutor(rented), job_of(rented)
    executor.submit(task(rented, 'echo there >"$OUT/a"'), job)
    assert ended(executor, job).returncode == 0
    assert json.loads((job / "handle.json").read_text())["platform"] == "brev"
    stopped = BrevExecutor(replace(rented, settings={**rented.settings, "instance": "other"})).probe()
    assert [probe.text for probe in stopped] == [
        "Brev instance other is STOPPED; start it, which costs: brev start other"
    ]
    unknown = BrevExecutor(replace(rented, settings={**rented.settings, "instance": "third"})).probe()
    assert [probe.text for probe in unknown] == ["--set instance=third: brev ls lists no such instance"]


def test_a_lepton_pod_is_found_by_the_stand_in_for_its_command_line(
    machine: Machine, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pod = replace(place, platform="lepton", settings={**place.settings, "instance": "pod1"})
    row = "│ pod1 │ gpu.a10 │ {} │ {} │ 1 -> 2 │ - │ 2026-11-01 │"
    answers = {"pod list --pattern ^pod1$": row.format("Ready", f"ssh -p {machine.port} {USER}@127.0.0.1")}
    folder = tmp_path_factory.mktemp("bin")
    stand_in(folder, "lep", answers, monkeypatch)
    assert {probe.level for probe in LeptonExecutor(pod).probe()} == {"ok", "note"}
    stand_in(folder, "lep", {"pod list --pattern ^pod1$": row.format("Starting", "Not Available")}, monkeypatch)
    (probe,) = LeptonExecutor(pod).probe()
    assert probe.text == "Lepton pod pod1 has no ssh command yet (lep pod list); wait until it is Ready"


def test_a_changed_host_key_an_unknown_one_and_a_refused_key_are_one_clear_line_each(
    machine: Machine, place: Place
) -> None:
    known = machine.folder / "known_hosts"
    right = known.read_text()
    executor = SshExecutor(place)
    try:
        machine.know((machine.folder / "key.pub").read_text())
        with pytest.raises(Unreachable) as changed:
            executor.submit(task(place, "true"), job_of(place))
        assert str(changed.value).startswith("rented: its host key has changed (ED25519 SHA256:")
        assert f"ssh-keygen -f '{known}' -R" in str(changed.value).replace('"', "'")
        assert "\n" not in str(changed.value)
        assert executor.poll(job_of(place)).kind == "absent"
        known.unlink()
        assert [probe.text for probe in executor.probe()] == [
            "rented: its host key is unknown; compare and accept it once with: ssh rented true"
        ]
    finally:
        known.write_text(right)
    (machine.folder / "authorized").rename(machine.folder / "kept")
    try:
        assert "rented: no key of this user is accepted" in executor.probe()[0].text
    finally:
        (machine.folder / "kept").rename(machine.folder / "authorized")
