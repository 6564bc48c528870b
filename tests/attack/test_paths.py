"""Paths from CSVs, specs, states and manifests that try to leave the workspace."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attacks import KPI, POOL, SPEC, TRAINING, Attacker, change_spec, set_cells
from deft_aoi.base import safe_paths
from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.base.rows import check_images, read_pool, read_rows
from deft_aoi.preflight import preflight
from small_workspace import LIGHTS

KIND = "paths"
TEXTS = {
    "up": "../../../outside",
    "up by a detour": "K1/test/../../../../../outside",
    "absolute": "{outside}",
    "absolute with slashes": "//{outside}",
    "nul": "K1/test\0/../x",
    "line break": "K1\n/test",
    "carriage return": "K1/test\r",
    "escape": "K1/\x1b[2Jtest",
    "bidi": "K1/\u202etset",
    "zero width": "K1/te\u200bst",
    "fullwidth slash": "K1\uff0ftest",
    "fraction slash": "K1\u2044test",
    "division slash": "K1\u2215test",
    "fullwidth dots": "\uff0e\uff0e/\uff0e\uff0e/outside",
    "two dot leader": "\u2025/outside",
    "backslash": "..\\..\\outside",
    "long path": "a/" * 3000,
    "long name": "a" * 300,
    "link": "way_out",
    "link in the middle": "way_out/../outside",
}


def plan(workspace: Path, **more: Any) -> preflight.Preflight:
    return preflight.preflight({"workspace": str(workspace), "max_iterations": 1, **more})


def pair_from(workspace: Path, csv: str, text: str, outside: Path) -> None:
    """Both images of row 3 come from `text`: a golden left where it was would hide what the input does."""
    images = workspace / ("augmentation/mining_pool" if csv == POOL else "kpi/images")
    (images / "way_out").symlink_to(outside)
    text = text.replace("{outside}", str(outside))
    set_cells(workspace / csv, input_path=text, golden_path=text, object_name="C0")


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_no_row_leaves_the_workspace(attacker: Attacker, workspace: Path, outside: Path, text: str) -> None:
    root = workspace.resolve()

    def look(csv: str) -> None:
        if csv == POOL:
            rows, images = read_pool(workspace / csv, root, LIGHTS, ".png"), root
        else:
            rows, images = read_rows(workspace / csv), root / "kpi/images"
        check_images(rows, workspace / csv, images, LIGHTS, ".png", root=root)

    for csv in (KPI, POOL):
        pair_from(workspace, csv, text, outside)
        assert ", line 5: " in attacker.refused(lambda csv=csv: look(csv), what=f"{csv} {text[:40]!r}")


@pytest.mark.parametrize("name", ["../C0", "a/b", "C\0", "C\n0", "C\u202e0", "x" * 300, "C\uff0f0"])
def test_no_object_name_is_a_path(attacker: Attacker, workspace: Path, name: str) -> None:
    set_cells(workspace / KPI, object_name=name)
    rows = read_rows(workspace / KPI)
    images = workspace / "kpi/images"
    said = attacker.refused(lambda: check_images(rows, workspace / KPI, images, LIGHTS, ".png"), what=name)
    assert "line 5: object_name" in said


def test_preflight_refuses_with_the_row(attacker: Attacker, workspace: Path, outside: Path) -> None:
    pair_from(workspace, KPI, "../../../outside", outside)
    assert "testing_set.csv, line 5: input_path" in attacker.refused(lambda: plan(workspace))


@pytest.mark.parametrize(
    "place",
    [SPEC, TRAINING, KPI, POOL, "kpi/images", "augmentation/mining_pool", "augmentation/backbone", "results", "train"],
)
def test_no_fixed_place_is_a_link_out(attacker: Attacker, workspace: Path, outside: Path, place: str) -> None:
    """Nothing of the file that the link names is quoted: a YAML or CSV error would show its lines."""
    path = workspace / place
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(outside / "secret.txt" if path.suffix else outside)
    said = attacker.refused(lambda: plan(workspace), secret="CANARY", what=place)
    assert "outside the workspace" in said


def test_an_image_that_is_a_link_out_is_refused(attacker: Attacker, workspace: Path, outside: Path) -> None:
    row = read_rows(workspace / KPI).iloc[3]
    image = workspace / "kpi/images" / row["input_path"] / f"{row['object_name']}_{LIGHTS[0]}.png"
    image.unlink()
    image.symlink_to(outside / f"C0_{LIGHTS[0]}.png")
    assert "line 5: image" in attacker.refused(lambda: plan(workspace))


def test_a_staged_backbone_and_pregenerated_images_stay_inside(
    attacker: Attacker, workspace: Path, outside: Path
) -> None:
    from deft_aoi.data.pairs import list_images

    for folder in ("reconstructed_image", "original_image"):
        path = workspace / "augmentation/anomalygen" / folder
        path.mkdir(parents=True)
        (path / "PCB+bridge_00000.png").symlink_to(outside / f"C0_{LIGHTS[0]}.png")
        attacker.refused(lambda path=path: list_images(path, "pre-generated", workspace.resolve()), what=folder)
    weights = workspace / "augmentation/backbone/c_radio_v2_b.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.symlink_to(outside / "secret.txt")
    attacker.refused(lambda: Workspace.at(workspace).inside(weights, "backbone"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.pretrained_model_path", "/etc/passwd"),
        ("train.resume_training_checkpoint_path", "../../x.pth"),
        ("inference.checkpoint", "/root/model.pth"),
        ("results_dir", "/results/mine"),  # "/results" alone is the template's placeholder
        ("train.results_dir", "/data/../results"),
        ("model.backbone.pretrained_backbone_path", "/data/../etc/passwd"),
        ("dataset.classify.train_dataset.images_dir", "/home"),
        ("dataset.classify.train_dataset.csv_path", "../../outside/secret.txt"),
    ],
)
def test_no_spec_names_a_path_outside(attacker: Attacker, workspace: Path, key: str, value: str) -> None:
    from deft_aoi.spec.tree import put

    change_spec(workspace, lambda spec: put(spec, key, value))
    said = attacker.refused(lambda: plan(workspace), what=key)
    assert key in said


def test_legitimate_paths_still_work(workspace: Path, tmp_path: Path) -> None:
    """Absolute inside the workspace, container paths, references, a workspace reached through a link, `..` inside."""

    def change(spec: dict[str, Any]) -> None:
        spec["dataset"]["classify"]["train_dataset"] = {
            "csv_path": "/data/datasets/NV_PCB_Siamese/csv/training_set.csv",
            "images_dir": str(workspace.resolve() / "kpi/images"),
        }
        spec["model"]["backbone"]["pretrained_backbone_path"] = "/data/pretrained_models/c_radio_v2_b.safetensors"
        spec["results_dir"] = str(workspace.resolve() / "results")
        spec["train"]["results_dir"] = "${results_dir}/train"

    change_spec(workspace, change)
    inside = workspace / "augmentation/backbone"
    inside.mkdir(parents=True)
    (inside / "c_radio_v2_b.safetensors").write_bytes(b"staged")
    row = read_rows(workspace / KPI).iloc[3]
    set_cells(workspace / KPI, input_path=f"../images/{row['input_path']}", golden_path=f"./{row['golden_path']}/")
    link = tmp_path / "linked workspace"
    link.symlink_to(workspace)
    assert plan(link, platform="local").plan.workspace == str(workspace.resolve())


def test_the_run_directory_stays_inside(attacker: Attacker, workspace: Path, outside: Path) -> None:
    result = plan(workspace)
    for place in (outside, workspace / "results/../../outside/run", Path("/results/run_1")):
        attacker.refused(lambda place=place: preflight.write(result, place), what=str(place))
    assert sorted(path.name for path in outside.iterdir()) == sorted(
        [f"C0_{light}.png" for light in LIGHTS] + ["secret.txt"]
    )


@pytest.fixture
def started(workspace: Path) -> RunPaths:
    paths = preflight.write(plan(workspace, num_epochs=2))
    preflight.start(paths)
    return paths


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_a_preseeded_state_names_no_checkpoint_outside(attacker: Attacker, started: RunPaths, outside: Path) -> None:
    from deft_aoi.record.run import load_run
    from deft_aoi.stages.evaluate import checkpoints

    seeded = {"stage_completed": "train", "status": "in_progress", "best_ckpt_path": str(outside / "secret.txt")}
    edited(started.state, lambda state: state["iterations"]["baseline"].update(seeded))
    attacker.refused(lambda: checkpoints(load_run(started.root), "baseline"), secret="CANARY")


def test_a_state_names_no_other_workspace(
    attacker: Attacker, started: RunPaths, tmp_path: Path, pristine: Path
) -> None:
    from deft_aoi.record.run import approved, load_run

    edited(started.state, lambda state: state["config"]["plan"].update(workspace=str(pristine)))
    run = load_run(started.root)
    assert run.workspace.root == started.root.parents[1], "a run is in the workspace that its folder is in"
    attacker.refused(lambda: approved(run.paths, run.state))


@pytest.mark.parametrize("name", ["inference_csv", "best_ckpt_path"])
def test_a_journal_names_no_file_outside(attacker: Attacker, started: RunPaths, outside: Path, name: str) -> None:
    from deft_aoi.record import journal
    from deft_aoi.record.run import load_run

    common = {"iter_label": "baseline", "status": "ok", "summary": "s", "duration_sec": 1}
    journal.append(started.log, stage="train", **common)
    facts = {"champion": True, "far_pct": 1.0, name: str(outside / "secret.txt")}
    journal.append(started.log, stage="evaluate", facts=facts, **common)
    run = load_run(started.root)
    attacker.refused(run.champion, secret="CANARY")
    attacker.refused(lambda: run.facts("baseline", "evaluate"))


def test_an_artifact_of_the_journal_lies_in_the_run(attacker: Attacker, started: RunPaths) -> None:
    from deft_aoi.record import journal

    for path in ("../../../etc/passwd", "/etc/passwd", "a\0b", "a\u202eb"):
        attacker.refused(
            lambda path=path: journal.append(
                started.log, iter_label="baseline", stage="train", status="ok", summary="s", duration_sec=1,
                artifacts=[{"path": path, "bytes": 1, "sha256": "0"}],
            ),
            what=path,
        )  # fmt: skip


def test_best_model_names_no_spec_outside(attacker: Attacker, started: RunPaths, outside: Path) -> None:
    from deft_aoi.stages.finish import prepare_inference_spec

    for spec in (str(outside / "secret.txt"), "/etc/passwd", "../../../outside/secret.txt"):
        started.best_model.write_text(json.dumps({"threshold": 0.5, "training_spec": spec}))
        attacker.refused(lambda: prepare_inference_spec(started), secret="CANARY", what=spec)
    for record in ("[]", "{}", '{"threshold": "x", "training_spec": 1}', "[" * 100_000):
        started.best_model.write_text(record)
        attacker.refused(lambda: prepare_inference_spec(started), what=record[:40])


def test_the_report_shows_no_picture_from_outside(attacker: Attacker, workspace: Path, outside: Path) -> None:
    from deft_aoi.report.gallery import read_picture

    root = workspace.resolve()
    (root / "kpi/images/way_out").symlink_to(outside)
    good = next((root / "kpi/images").rglob("*.png"))
    assert read_picture(good, root) is not None
    for path in (outside / f"C0_{LIGHTS[0]}.png", root / "kpi/images/way_out" / f"C0_{LIGHTS[0]}.png"):
        attacker.attempt(lambda path=path: read_picture(path, root))
        assert read_picture(path, root) is None


def test_an_engine_at_work_follows_no_link_out(
    attacker: Attacker, workspace: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second line of defence: the image was swapped for a link after Pre-Flight."""
    from deft_aoi.engine.features.table import read_bytes

    monkeypatch.setenv(safe_paths.WORKSPACE_VARIABLE, str(workspace.resolve()))
    image = next((workspace.resolve() / "kpi/images").rglob("*.png"))
    assert read_bytes(str(image))
    image.unlink()
    image.symlink_to(outside / f"C0_{LIGHTS[0]}.png")
    attacker.refused(lambda: read_bytes(str(image)))
    attacker.refused(lambda: read_bytes(str(outside / f"C0_{LIGHTS[0]}.png")))
    attacker.refused(lambda: read_bytes(f"{image.parent}/../../../../../outside/C0_{LIGHTS[0]}.png"))


def test_the_check_of_rows_is_quick(tmp_path: Path) -> None:
    """100,000 rows of 300 boards are looked at by their distinct texts: at most one resolution each."""
    rows = pd.DataFrame({"object_name": [f"C{n}" for n in range(100_000)]})
    for column in ("input_path", "golden_path"):
        rows[column] = np.array([f"B{n % 300}" for n in range(100_000)], object)
    seen: list[str] = []
    real = safe_paths.real
    try:
        safe_paths.real = lambda path: seen.append(str(path)) or real(path)  # type: ignore[assignment, func-returns-value]
        safe_paths.check_cells(rows, tmp_path / "x.csv", tmp_path, tmp_path.resolve())
    finally:
        safe_paths.real = real
    assert len(seen) == 600


def test_a_name_without_tricks_is_left_alone() -> None:
    for text in ("K1/test", "Prüfling/Löt", "基板/試験", "R821@1", "a b", "", ".", "a..b", "Größe_½"[:5]):
        assert safe_paths.text_problem(text) is None, text
    assert os.path.isabs(safe_paths.inside(Path("/tmp").resolve(), "x", "path"))
    with pytest.raises(InputError, match="outside"):
        safe_paths.inside(Path("/tmp").resolve(), "/etc", "path")
