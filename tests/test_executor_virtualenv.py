"""TAO in a Python environment of this machine: found or named as missing, run with an environment of its own.

The environment's `visual_changenet` is the embedded engine's: it answers to the same command line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.executors.base import TAO_PYT, Place, Probe, Task
from deft_aoi.executors.platform_choice import make_executor
from deft_aoi.executors.python_env import VirtualenvExecutor, gpu_probes
from deft_aoi.preflight.preflight import tao_version
from deft_aoi.record.run import Plan

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def place(root: Path, venv: Path | str, *, air_gapped: bool = False) -> Place:
    return Place("virtualenv", {"venv": str(venv)}, root, {}, "tao", air_gapped=air_gapped)


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment whose python is this one, without NVIDIA TAO, with a program of its name."""
    program(tmp_path / "venv/bin", "python", f'exec "{sys.executable}" "$@"')
    program(tmp_path / "venv/bin", "visual_changenet", 'echo "$0 $@"; env')
    return tmp_path / "venv"


def blocks(probes: list[Probe]) -> list[str]:
    return [probe.text for probe in probes if probe.level == "block"]


def run(executor: VirtualenvExecutor, job: Path, *command: str) -> str:
    executor.submit(Task("train", command, job / "out", image=TAO_PYT), job)
    deadline = time.monotonic() + 20
    while executor.poll(job).kind == "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert executor.poll(job).returncode == 0
    return executor.log(job).read_text()


def test_what_is_missing_is_named(tmp_path: Path, venv: Path) -> None:
    assert "needs --set venv=FOLDER" in blocks(VirtualenvExecutor(place(tmp_path, "")).probe())[0]
    assert "no such environment" in blocks(VirtualenvExecutor(place(tmp_path, tmp_path / "none")).probe())[0]
    (tmp_path / "empty/bin").mkdir(parents=True)
    assert "has no visual_changenet" in blocks(VirtualenvExecutor(place(tmp_path, tmp_path / "empty")).probe())[0]
    said = blocks(VirtualenvExecutor(place(tmp_path, venv)).probe())
    assert "does not load: ModuleNotFoundError: No module named" in said[0]
    assert "sees none" in said[1]


def test_a_python_that_does_not_answer_is_named(tmp_path: Path, venv: Path) -> None:
    program(venv / "bin", "python", "exit 3")
    (text,) = blocks(VirtualenvExecutor(place(tmp_path, venv)).probe())
    assert "does not answer" in text


@pytest.mark.parametrize("given", ["", "bin", "bin/python"])
def test_folder_bin_and_python_name_the_same_environment(tmp_path: Path, venv: Path, given: str) -> None:
    executor = VirtualenvExecutor(place(tmp_path, venv / given))
    task = Task("train", ("visual_changenet", "train"), tmp_path)
    assert executor.command(task) == [str(venv / "bin/visual_changenet"), "train"]
    with pytest.raises(InputError, match="embedding is not in"):
        executor.command(Task("embed", ("embedding", "image_embeddings"), tmp_path))


def test_a_task_gets_the_environments_programs_and_no_secret(
    tmp_path: Path, venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NGC_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "se-cret")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    said = run(VirtualenvExecutor(place(tmp_path, venv)), tmp_path / "job", "visual_changenet", "train", "-e", "s.yaml")
    assert said.splitlines()[0] == f"{venv}/bin/visual_changenet train -e s.yaml"
    seen = dict(line.split("=", 1) for line in said.splitlines()[1:] if "=" in line)
    assert seen["PATH"].startswith(f"{venv}/bin{os.pathsep}"), "TAO's launcher starts python by its name"
    assert seen["CUDA_VISIBLE_DEVICES"] == "3"
    assert not {"NGC_KEY", "HF_TOKEN", "WORLD_SIZE", "PYTHONPATH", "HF_HUB_OFFLINE"} & set(seen)
    written = "".join(path.read_text() for path in (tmp_path / "job").iterdir())
    assert "se-cret" not in written


def test_air_gapped_tasks_are_told(tmp_path: Path, venv: Path) -> None:
    executor = VirtualenvExecutor(place(tmp_path, venv, air_gapped=True))
    assert "HF_HUB_OFFLINE=1" in run(executor, tmp_path / "job", "visual_changenet", "train").splitlines()


def test_only_tasks_with_a_container_image_go_to_the_environment(tmp_path: Path, venv: Path) -> None:
    executor = make_executor(place(tmp_path, venv))
    for name, image, platform in (("train", TAO_PYT, "virtualenv"), ("classical", None, "local")):
        executor.submit(Task(name, ("visual_changenet", "inference"), tmp_path / name, image=image), tmp_path / name)
        assert json.loads((tmp_path / name / "handle.json").read_text())["platform"] == platform


def test_gpus_that_torch_computed_on_are_told_with_their_memory() -> None:
    found = gpu_probes({"gpus": [["H100", 85_000_000_000]], "torch": "2.11"})
    assert [probe.check for probe in found] == [6, 8, 9]
    assert found[1].gpu_memory == (85_000_000_000,)
    assert found[2].shm > 0


def test_the_version_of_tao_comes_from_the_probe_else_from_the_images_tag() -> None:
    docker = Plan("/w", "FAR < 1%", 1, platform="local-docker")
    bare = Plan("/w", "FAR < 1%", 1, platform="virtualenv", settings={"venv": "/v"})
    image = "nvcr.io/nvidia/tao/tao-toolkit:7.0.1-pyt"
    assert tao_version([Probe(5, "ok", "", tao="7.3.0")], bare, image) == "7.3.0"
    assert tao_version([], bare, image) == "", "an image that is not used says nothing"
    assert tao_version([], docker, image) == "7.0.1"
    assert tao_version([], docker, "registry/tao@sha256:12") == ""
