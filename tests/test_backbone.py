"""data.backbone and stage_backbone.py: from a file, from the hub's cache, and without either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deft_aoi.data.backbone import stage_backbone
from deft_aoi.errors import InputError

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/stage_backbone.py"
USUAL = {"repo_id": "nvidia/C-RADIOv2-B", "filename": "model.safetensors", "stage_name": "c.safetensors"}


def run(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_local_file_is_copied_and_stays_unless_forced(tmp_path: Path) -> None:
    source = tmp_path / "w.bin"
    source.write_bytes(b"one")
    staged = stage_backbone(tmp_path / "b", source=source, **USUAL)
    assert staged.read_bytes() == b"one"
    source.write_bytes(b"two")
    assert stage_backbone(tmp_path / "b", source=source, **USUAL).read_bytes() == b"one"
    assert stage_backbone(tmp_path / "b", source=source, force=True, **USUAL).read_bytes() == b"two"


@pytest.mark.parametrize("name", ["weights.bin", "../c.pth", "a/b.pth"])
def test_a_stage_name_that_the_loop_would_not_find_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="--stage-name"):
        stage_backbone(tmp_path, source=tmp_path / "w", **{**USUAL, "stage_name": name})


def test_an_empty_source_is_refused_and_nothing_is_staged(tmp_path: Path) -> None:
    (tmp_path / "w").touch()
    with pytest.raises(InputError, match="no such weights file, or empty"):
        stage_backbone(tmp_path / "b", source=tmp_path / "w", **USUAL)
    assert not (tmp_path / "b").exists()


def test_script_takes_the_hub_cache_and_prints_the_path_last(tmp_path: Path) -> None:
    snapshot = tmp_path / "hf/hub/models--nvidia--C-RADIOv2-B/snapshots/abc/model.safetensors"
    snapshot.parent.mkdir(parents=True)
    snapshot.write_bytes(b"weights")
    (tmp_path / "w").mkdir()
    done = run(tmp_path / "hf", "--workspace", tmp_path / "w")
    staged = tmp_path / "w/augmentation/backbone/c_radio_v2_b.safetensors"
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(staged)
    assert staged.read_bytes() == b"weights"


def test_script_without_any_source_says_what_to_do(tmp_path: Path) -> None:
    done = run(tmp_path / "hf", "--dest", tmp_path / "b")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--source FILE" in done.stderr
    assert not (tmp_path / "b").exists()
