"""The whole loop through rootless Podman where there is no Docker: its service answers as a Docker daemon does."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_daemon import host_image
from null_engine import HOLD
from podman_service import Service, own_podman
from real_loops import ONE, Loop, begun, finish, labelled_line, scores
from stand_in import deft, null_files, program, resolve, step

IMAGE = "localhost/deft-test/null:latest"  # importing, Podman knows no other tag


@pytest.fixture(scope="module")
def podman() -> Iterator[Service]:
    with own_podman() as started:
        texts = {"/usr/bin/visual_changenet": program("visual_changenet", null=True)}
        host_image(started, IMAGE, null_files(), texts)
        yield started


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder in which Podman's user may write, as it may in its own workspace: that user is not this one here."""
    before = os.umask(0)
    with tempfile.TemporaryDirectory(prefix="deft-open-") as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)
    os.umask(before)


def test_the_loop_in_rootless_containers_ends_as_on_this_machine(
    podman: Service, open_folder: Path, null_engine_here: None, null_loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TAO_PYT_IMAGE", "TAO_DS_IMAGE"):
        monkeypatch.setenv(name, IMAGE)
    workspace = labelled_line(open_folder / "ws")
    run = begun(workspace, "--platform", "local-docker", "--set", "gpus=0", *ONE)

    (workspace / HOLD).touch()
    assert "train running for" in step(run, check=75, wait="2")
    client = podman.client()
    client.containers.list()[0].kill()
    assert "HARD STOP task_failed at baseline/train" in step(run, check=3)
    (workspace / HOLD).unlink()
    resolve(run)

    finish(run)
    assert client.containers.list(all=True) == []
    assert deft("verify", "--results-dir", str(run)).startswith("verified: ")
    assert scores(run) == scores(null_loop.path)
