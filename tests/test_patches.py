"""Stage `anomalygen` with `--synthetic patches`: pairs from PASS rows, either image changed, traced to their source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from deft_aoi.base.errors import COMPLETE, InputError, Refusals
from deft_aoi.base.files import sha256_file
from deft_aoi.base.paths import RunPaths
from deft_aoi.loop import driver
from deft_aoi.preflight import preflight
from deft_aoi.record.run import load_run
from deft_aoi.spec.tree import Optics
from deft_aoi.stages import anomalygen_patches
from deft_aoi.synthetic.patch_pairs import LABEL, Patch, make_patches, shows
from small_workspace import LIGHTS, SIZE, make_workspace

OPTICS = Optics(LIGHTS, ".png", SIZE, SIZE)
ASKED = {"max_iterations": 2, "mine_rows": 12, "num_epochs": 2, "synthetic": "patches", "num_sdg": 5,
         "kpi_target": "FAR <= 0% at recall = 100%", "batch_size": 8}  # fmt: skip


def table(root: Path) -> pd.DataFrame:
    """Training rows, paths relative to the workspace."""
    rows = pd.read_csv(root / "train/base/training_set.csv", dtype=str)
    for column in ("input_path", "golden_path"):
        rows[column] = "kpi/images/" + rows[column]
    return rows


def folders(home: Path) -> dict[str, Path]:
    found = {name: home / name for name in ("test", "golden", "mask")}
    for folder in found.values():
        folder.mkdir(parents=True)
    return found


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("patches") / "w", counts=(40, 24, 48, 60))


def test_each_pair_changes_one_image_of_a_pass_row_inside_its_mask_under_every_light(
    workspace: Path, tmp_path: Path
) -> None:
    rows, homes = table(workspace), folders(tmp_path)
    made = make_patches(rows, 12, [7], workspace, OPTICS, homes)
    assert [one.side for one in made] == ["test", "golden"] * 6
    for one in made:
        source = rows.iloc[one.source]
        assert source["label"] == "PASS"
        mask = cv2.imread(str(homes["mask"] / f"{one.name}.png"), cv2.IMREAD_GRAYSCALE) > 0
        changed = np.zeros((SIZE, SIZE), bool)
        for light in LIGHTS:
            for side, column in (("test", "input_path"), ("golden", "golden_path")):
                before = cv2.imread(str(workspace / source[column] / f"{source['object_name']}_{light}.png"))
                after = cv2.imread(str(homes[side] / f"{one.name}_{light}.png"))
                differs = (before != after).any(2)
                assert not differs[~mask].any()
                assert side == one.side or not differs.any()
                changed |= differs
        assert changed.any()


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(workspace: Path, tmp_path: Path) -> None:
    found = []
    for number, seed in enumerate((1, 1, 2)):
        homes = folders(tmp_path / str(number))
        make_patches(table(workspace), 6, [seed], workspace, OPTICS, homes)
        found.append(sorted(sha256_file(path) for path in (tmp_path / str(number)).rglob("*.png")))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_a_plain_image_gives_no_pair_and_a_faint_change_is_no_defect(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for light in LIGHTS:
            cv2.imwrite(str(tmp_path / folder / f"C_{light}.png"), np.full((SIZE, SIZE), 90, np.uint8))
    row = {"input_path": "a", "golden_path": "b", "object_name": "C", "label": "PASS"}
    assert make_patches(pd.DataFrame([row]), 3, [0], tmp_path, OPTICS, folders(tmp_path / "out")) == []
    dark = np.zeros((SIZE, SIZE), np.uint8)
    patch, bright = Patch(0.5, 0.5, 0.1, 0.1, ellipse=False, from_y=0.5, from_x=0.0), dark.copy()
    bright[:8] = 200
    assert shows(bright, patch.onto(bright))
    assert not shows(bright // 20, patch.onto(bright // 20))


def test_an_unreadable_image_is_named(workspace: Path, tmp_path: Path) -> None:
    rows = table(workspace).assign(golden_path="gone")
    with pytest.raises(InputError, match=r"gone/.*\.png: not a readable image"):
        make_patches(rows, 1, [0], workspace, OPTICS, folders(tmp_path))


def begin(root: Path, **asked: Any) -> RunPaths:
    paths = preflight.write(preflight.preflight({**ASKED, "workspace": str(root), **asked}))
    preflight.start(paths)
    return paths


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A whole run; one training board is also a KPI board, one is an acceptance board."""
    root = make_workspace(tmp_path_factory.mktemp("loop") / "w", counts=(40, 24, 48, 60), acceptance=20)
    csv = root / "train/base/training_set.csv"
    rows = pd.read_csv(csv, dtype=str)
    rows.loc[rows["boardname"] == "T3", "boardname"] = "K0"
    rows.to_csv(csv, index=False)
    paths = begin(root)
    assert driver.drive(paths.root, lambda line: None, report=False) == COMPLETE
    return paths


def test_a_loop_trains_on_the_pairs_of_each_iteration_and_knows_their_source(finished: RunPaths) -> None:
    run = load_run(finished.root)
    for label, count in (("iter1", 5), ("iter2", 10)):
        found = run.facts(label, "anomalygen")
        assert (found["mode"], found["pairs"], found["by_side"]) == ("patches", 5, {"golden+patch": 2, "test+patch": 3})
        merged = pd.read_csv(run.facts(label, "data_merge")["combined_training_csv"], dtype=str)
        provenance = pd.read_csv(run.facts(label, "data_merge")["provenance_csv"], dtype=str)
        assert int((merged["label"] == LABEL).sum()) == int((provenance["origin"] == "synthetic").sum()) == count
        traced = pd.read_csv(found["provenance_csv"], dtype=str)
        rows = pd.read_csv(found["rows_csv"], dtype=str)
        assert list(rows["boardname"]) == list(traced["source_boardname"])
        assert not set(traced["source_boardname"]) & {"K0", "K1", "K2", "K3", "V0", "V1", "V2", "V3"}
        record = json.loads((finished.root / label / "anomalygen/pairs.json").read_text())
        images = run.paths.dataset(label) / "images"
        assert record["files"] == {
            path.relative_to(images).as_posix(): sha256_file(path) for path in images.rglob("*.png")
        }
        assert len(record["files"]) == 5 * (2 * len(LIGHTS) + 1)


def test_the_pairs_are_not_made_twice_and_never_from_a_board_that_judges(finished: RunPaths) -> None:
    run = load_run(finished.root)
    before = sha256_file(run.paths.anomalygen("iter1") / "pairs.json")
    anomalygen_patches.stage(run, "iter1")
    assert sha256_file(run.paths.anomalygen("iter1") / "pairs.json") == before
    rows = anomalygen_patches.good_rows(run, "iter1")
    assert set(rows["label"]) == {"PASS"}
    assert set(rows["boardname"]) == {"T0", "T1", "T2"}


def test_preflight_counts_the_rows_and_blocks_where_there_is_none(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "w", counts=(40, 24, 48, 60))
    result = preflight.preflight({**ASKED, "workspace": str(root)})
    said = [finding for finding in result.findings if "patches" in finding.text]
    assert [finding.level for finding in said] == ["ok"]
    csv = root / "train/base/training_set.csv"
    rows = pd.read_csv(csv, dtype=str)
    assert f"{(rows['label'] == 'PASS').sum()} PASS training rows" in said[0].text
    rows.assign(boardname="K0").to_csv(csv, index=False)
    with pytest.raises(Refusals, match=r"patches: .* 0 PASS training rows .*--synthetic off"):
        preflight.preflight({**ASKED, "workspace": str(root)})
