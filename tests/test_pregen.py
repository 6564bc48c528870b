"""data.pregen and prestage_pregen.py: pairs are staged whole, and a changed source stops the run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pandas as pd
import pytest

from deft_aoi.base.errors import HardStop, InputError
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.base.rows import COLUMNS, read_rows
from deft_aoi.data.workspace_files import baseline_spec
from deft_aoi.spec.tree import Optics, dump_spec
from deft_aoi.synthetic.pregenerated import stage_pregen, verify_pregen
from pair_images import image

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/prestage_pregen.py"
OPTICS = Optics(("SolderLight",), ".jpg", 64, 64)


def line(root: Path, names: tuple[str, ...] = ("PCB+bridge_00000", "PCB+missing_00001")) -> tuple[Workspace, RunPaths]:
    workspace = Workspace(root.resolve())
    for number, name in enumerate(names):
        image(workspace.pregen_ng / f"{name}.png", number)
        image(workspace.pregen_ok / f"{name}.png", number + 100)
    run = workspace.results / "run_20260101_000000"
    run.mkdir(parents=True)
    dump_spec(workspace.spec, baseline_spec())
    return workspace, RunPaths.at(run)


def test_pairs_become_rows_with_images_where_they_say(tmp_path: Path) -> None:
    workspace, paths = line(tmp_path)
    manifest = stage_pregen(workspace, paths, OPTICS)
    assert (manifest["pairs"], manifest["by_label"], manifest["skipped"]) == (2, {"bridge": 1, "missing": 1}, [])
    rows = read_rows(paths.synth_pool / "sdg_rows.csv")
    assert tuple(rows.columns) == COLUMNS
    assert list(rows["label"]) == ["bridge", "missing"]
    for row in rows.itertuples():
        for folder in (row.input_path, row.golden_path):
            staged = cv2.imread(str(workspace.root / folder / f"{row.object_name}_SolderLight.jpg"))
            assert staged.shape == (32, 32, 3)
    source = cv2.imread(str(workspace.pregen_ng / "PCB+bridge_00000.png")).astype(int)
    staged = cv2.imread(str(paths.synth_pool / "images/synth_ng/PCB+bridge_00000_SolderLight.jpg")).astype(int)
    assert abs(source - staged).mean() < 4
    assert set(pd.read_parquet(paths.synth_pool / "source_pool.parquet")["origin"]) == {"synthetic"}


def test_two_lights_with_their_names(tmp_path: Path) -> None:
    names = tuple(f"PCB+bridge_0000{n}_{light}" for n in range(2) for light in ("White", "Red"))
    workspace, paths = line(tmp_path, (*names, "PCB+short_00009_White", "PCB+lonely_1"))
    manifest = stage_pregen(workspace, paths, Optics(("White", "Red"), ".png", 64, 64))
    assert manifest["by_label"] == {"bridge": 2}
    reasons = {entry["file"]: entry["reason"] for entry in manifest["skipped"]}
    assert reasons["PCB+short_00009_White.png"] == "no image for light Red"
    assert "no light in its name" in reasons["PCB+lonely_1.png"]


def test_unusable_files_are_listed_and_the_rest_is_staged(tmp_path: Path) -> None:
    workspace, paths = line(tmp_path)
    (workspace.pregen_ng / "PCB+broken_00002.png").write_bytes(b"no image")
    image(workspace.pregen_ok / "PCB+broken_00002.png", 5)
    image(workspace.pregen_ng / "PCB+alone_00003.png", 6)
    image(workspace.pregen_ng / "whatever.png", 7)
    image(workspace.pregen_ok / "whatever.png", 7)
    manifest = stage_pregen(workspace, paths, OPTICS)
    assert manifest["pairs"] == 2
    assert {entry["file"]: entry["reason"] for entry in manifest["skipped"]} == {
        "PCB+broken_00002.png": "not a readable image",
        "PCB+alone_00003.png": "no golden for light SolderLight",
        "whatever.png": "no label: expected a name like PCB+bridge_00000 or a labels CSV",
    }
    left = {path.name for path in (paths.synth_pool / "images/synth_ok").iterdir()}
    assert left == {"PCB+bridge_00000_SolderLight.jpg", "PCB+missing_00001_SolderLight.jpg"}


def test_one_stem_with_two_extensions_is_refused(tmp_path: Path) -> None:
    workspace, paths = line(tmp_path)
    image(workspace.pregen_ng / "PCB+bridge_00000.bmp", 3)
    with pytest.raises(InputError, match=r"PCB\+bridge_00000.bmp and PCB\+bridge_00000.png share the name"):
        stage_pregen(workspace, paths, OPTICS)
    assert not paths.synth_pool.exists()


@pytest.mark.parametrize("change", ["added", "removed", "changed"])
def test_a_changed_source_folder_is_a_hard_stop(tmp_path: Path, change: str) -> None:
    workspace, paths = line(tmp_path)
    stage_pregen(workspace, paths, OPTICS)
    assert verify_pregen(workspace, paths)["pairs"] == 2
    if change == "added":
        image(workspace.pregen_ng / "PCB+new_00007.png", 7)
    elif change == "removed":
        (workspace.pregen_ok / "PCB+bridge_00000.png").unlink()
    else:
        image(workspace.pregen_ng / "PCB+bridge_00000.png", 77)
    with pytest.raises(HardStop, match=f"PCB.* {change}") as stop:
        verify_pregen(workspace, paths)
    assert stop.value.code == "pregen_changed"


def test_staging_again_changes_nothing_and_force_keeps_the_old_aside(tmp_path: Path) -> None:
    workspace, paths = line(tmp_path)
    first = stage_pregen(workspace, paths, OPTICS)
    assert stage_pregen(workspace, paths, OPTICS) == first
    image(workspace.pregen_ng / "PCB+new_00007.png", 7)
    image(workspace.pregen_ok / "PCB+new_00007.png", 8)
    assert stage_pregen(workspace, paths, OPTICS, force=True)["pairs"] == 3
    assert (paths.root / "synth_pool.failed-1/manifest.json").is_file()


def test_script(tmp_path: Path) -> None:
    workspace, paths = line(tmp_path / "w")
    flags = ["--workspace", workspace.root, "--results-dir", paths.root]
    done = subprocess.run([sys.executable, SCRIPT, *flags], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"2 pairs in {paths.synth_pool}: bridge 1, missing 1\n"
    assert json.loads((paths.synth_pool / "manifest.json").read_text())["mode"] == "pregen_ingest"
    flags[-1] = tmp_path / "elsewhere"
    done = subprocess.run([sys.executable, SCRIPT, *flags], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "outside the workspace" in done.stderr
    assert not (tmp_path / "elsewhere").exists()
