"""The whole loop on another machine over a real sshd: connections cut, sshd restarted in mid-train, containers killed.

The null engine replaces TAO on both sides, so the end must be that of the local platform to the last digit.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from docker_daemon import host_image, own_daemon
from loop_cli import entries
from null_engine import HOLD
from real_loops import CANARIES, IN_FILE, ONE, SECRETS, Loop, begun, finish, labelled_line, scores
from slurm_cluster import wait
from ssh_machine import Machine, kill, own_machine, processes, words
from stand_in import deft, null_files, program, resolve, step

IMAGE = "deft-test/null:1"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with own_machine() as started:
        yield started


def start(workspace: Path, machine: Machine, **settings: str) -> Path:
    given = {"host": "rented", "ssh_config": str(machine.config), "gpus": "0"} | settings
    sets = [text for name, value in given.items() for text in ("--set", f"{name}={value}")]
    return begun(labelled_line(workspace), "--platform", "ssh", *ONE, *sets)


def calls(machine: Machine) -> list[int]:
    """Our ssh and rsync processes that talk to the machine."""
    return [pid for pid in processes() if str(machine.config) in words(pid) and "pytest" not in words(pid)]


def traces(folders: list[Path]) -> list[str]:
    """Files below the folders that hold a secret."""
    found = []
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name != ".env"):
        data = path.read_bytes()
        found += [str(path) for secret in SECRETS if secret.encode() in data]
    return found


def test_bare_and_synchronised_it_survives_cuts_and_a_restarted_sshd_and_ends_as_on_this_machine(
    machine: Machine,
    tmp_path: Path,
    null_engine_here: None,
    null_loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    workspace = tmp_path / "ws"
    run = start(workspace, machine, container="none", venv=machine.null_tao(), price="2.49 USD")
    (workspace / ".env").write_text("".join(f"{name}={value}\n" for name, value in IN_FILE.items()))
    summary = (run / "preflight_summary.md").read_text()
    assert "rented over ssh, from the Python environment ~/tao, workspace synchronised with rsync" in summary
    assert (
        "cost: about 0.1 h (from NVIDIA's times on an RTX 6000 Ada, without start and transfers) at 2.49 USD" in summary
    )
    assert not machine.workspace(workspace).exists()  # Pre-Flight sent nothing

    # sshd and every session of it end in the middle of the training: nothing is journaled, the training goes on.
    there = machine.workspace(workspace)
    there.mkdir(parents=True)
    (there / HOLD).touch()
    machine.own(machine.home)
    while machine.counted("train") == 0:
        step(run, check=75, wait="1")
    before = entries(run)
    machine.stop()
    assert "rented does not answer (" in step(run, check=2, wait="1")
    (there / HOLD).unlink()
    machine.start()
    assert entries(run) == before

    # Every session is cut once while the loop goes on.
    with ThreadPoolExecutor(1) as driving:
        end = driving.submit(finish, run)
        wait(lambda: machine.cut() > 0 or end.done(), "no session to cut", 120)
        end.result()

    assert entries(run)[-1]["stage"] == "loop_stop"
    assert deft("verify", "--results-dir", str(run)).startswith("verified: ")
    assert (machine.counted("train"), machine.counted("inference")) == (2, 3)
    assert scores(run) == scores(null_loop.path)
    assert traces([workspace, machine.home, machine.folder]) == []


def test_in_containers_of_a_docker_there_it_ends_as_on_this_machine(
    machine: Machine,
    tmp_path: Path,
    null_engine_here: None,
    null_loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workspace = tmp_path / "ws"
    for name in ("TAO_PYT_IMAGE", "TAO_DS_IMAGE"):
        monkeypatch.setenv(name, IMAGE)
    with own_daemon() as daemon:
        texts = {"/usr/bin/visual_changenet": program("visual_changenet", null=True)}
        host_image(daemon, IMAGE, null_files(), texts)
        os.chmod(daemon.folder / "docker.sock", 0o666)  # as membership in the group docker does
        machine.stop()
        machine.start(DOCKER_HOST=daemon.host)
        run = start(workspace, machine)
        assert "in NVIDIA's containers by docker" in (run / "preflight_summary.md").read_text()

        # The container is killed in the middle of the training: a hard stop says so, and it goes on after a word.
        (workspace / HOLD).touch()
        client = daemon.client()
        while not client.containers.list():
            step(run, check=75, wait="1")
        (workspace / HOLD).unlink()
        client.containers.list()[0].kill()
        said = step(run, check=3)
        assert "HARD STOP task_failed at baseline/train" in said
        assert "killed by SIGKILL" in said
        (machine.workspace(workspace) / HOLD).unlink()
        resolve(run)

        # The job's script there dies, its container does not: it is waited for, and nothing is trained twice.
        (workspace / HOLD).touch()
        while not client.containers.list():
            step(run, check=75, wait="1")
        (workspace / HOLD).unlink()
        for pid in (pid for pid in processes() if machine.owns(pid)):
            kill(pid)
        assert "train running" in step(run, check=75, wait="1")
        assert len(client.containers.list()) == 1
        (machine.workspace(workspace) / HOLD).unlink()

        finish(run)
        assert client.containers.list(all=True) == []
    assert scores(run) == scores(null_loop.path)
    owners = {path.stat().st_uid for path in machine.workspace(workspace).rglob("*")}
    assert owners == {machine.home.stat().st_uid}


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [1])
def test_ten_cuts_at_random_and_a_restarted_sshd_change_nothing(
    machine: Machine, tmp_path: Path, null_engine_here: None, null_loop: Loop, seed: int
) -> None:
    """Kills of our ssh and of sshd's sessions at random moments; sshd restarts in the middle of a training."""
    chance, workspace = random.Random(seed), tmp_path / "ws"
    run = start(workspace, machine, container="none", venv=machine.null_tao(f"tao-{seed}"))
    (machine.home / "slow").write_text("8")
    before = machine.counted("train"), machine.counted("inference")
    cuts = restarted = 0
    with ThreadPoolExecutor(1) as driving:
        end = driving.submit(finish, run)
        while not end.done() and cuts < 10:
            time.sleep(chance.uniform(0.3, 3))
            if not restarted and machine.counted("train") > before[0]:
                machine.stop()
                time.sleep(2)
                machine.start()
                restarted = 1
            elif chance.random() < 0.5:
                cuts += machine.cut() > 0
            else:
                ours = calls(machine)
                for pid in ours:
                    kill(pid)
                cuts += bool(ours)
        end.result()
    (machine.home / "slow").unlink()
    assert (cuts, restarted) == (10, 1)
    counted = machine.counted("train") - before[0], machine.counted("inference") - before[1]
    assert counted == (2, 3)
    assert deft("verify", "--results-dir", str(run)).startswith("verified: ")
    assert scores(run) == scores(null_loop.path)
