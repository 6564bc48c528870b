"""The simulated inspection line: same bytes for the same arguments, a workspace that the contract accepts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import inside
from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import COLUMNS, check_images, check_labels, read_pool, read_rows
from deft_aoi.simulate.board import make_site
from deft_aoi.simulate.defects import DEFECTS, can_have
from deft_aoi.simulate.line import make_lot
from deft_aoi.simulate.line_plan import board_counts, plan_boards
from deft_aoi.simulate.pair import synthetic_pair
from deft_aoi.simulate.scene import norm
from deft_aoi.simulate.workspace import RECORD, simulate
from deft_aoi.spec.tree import load_spec, optics

BOARDS, ROWS = 6, 30
LIGHTS = ("WhiteLight", "SolderLight")
TOP = {"specs", "train", "kpi", "augmentation", RECORD}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("line") / "workspace"
    simulate(root, seed=3, boards=BOARDS, rows_per_board=ROWS, processes=1)
    return Workspace.at(root)


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def tables(line: Workspace) -> dict[str, pd.DataFrame]:
    return {
        "seed": read_rows(line.training_csv),
        "validation": read_rows(line.validation_csv),
        "kpi": read_rows(line.kpi_csv),
        "pool": read_pool(line.pool_csv, line.root, LIGHTS, ".jpg"),
    }


def test_same_seed_gives_the_same_bytes_with_one_and_with_two_processes(line: Workspace, tmp_path: Path) -> None:
    simulate(tmp_path / "again", seed=3, boards=BOARDS, rows_per_board=ROWS, processes=2)
    assert digests(tmp_path / "again") == digests(line.root)


def test_lengths_do_not_depend_on_where_the_numbers_are_in_memory() -> None:
    x, y = np.random.default_rng(0).random((2, 21, 21), np.float32)
    memory = np.empty(x.size + 16, np.float32)
    found = set()
    for start in range(16):
        moved = memory[start : start + x.size].reshape(x.shape)
        moved[:] = x
        found.add(norm(moved, y.copy()).tobytes())
    assert len(found) == 1


def test_another_seed_gives_other_pictures(line: Workspace) -> None:
    image = sorted(line.images.rglob("*_SolderLight.jpg"))[0].read_bytes()
    product = plan_boards(4, BOARDS, ROWS)[0].product
    site, lot = make_site(4, product, 0), make_lot(4, 0)
    ng, _ = synthetic_pair(np.random.default_rng(0), site, lot, "missing", 1.0)
    assert image != cv2.imencode(".jpg", ng["SolderLight"])[1].tobytes()
    assert plan_boards(3, BOARDS, ROWS) != plan_boards(4, BOARDS, ROWS)


def test_every_table_has_the_fourteen_columns_filled_and_all_its_images(line: Workspace) -> None:
    spec = load_spec(line.spec)
    facts = optics(spec, line.spec)
    assert (facts.lights, facts.ext) == (LIGHTS, ".jpg")
    for name, rows in tables(line).items():
        assert tuple(rows.columns) == COLUMNS
        assert (rows != "").all().all(), name
        check_labels(rows, line.spec)
        images = line.root if name == "pool" else line.images
        check_images(rows, line.spec, images, facts.lights, facts.ext)


def test_images_have_the_size_that_the_spec_names(line: Workspace) -> None:
    facts = optics(load_spec(line.spec), line.spec)
    image = cv2.imread(str(next(line.images.rglob("*.jpg"))))
    assert image is not None
    assert image.shape == (facts.height, facts.width, 3)


def test_spec_paths_lead_to_the_tables(line: Workspace) -> None:
    classify = load_spec(line.spec)["dataset"]["classify"]
    for name in ("train_dataset", "validation_dataset", "test_dataset", "infer_dataset"):
        assert (line.root / classify[name]["csv_path"]).is_file()
        assert (line.root / classify[name]["images_dir"]).is_dir()


def test_no_board_is_in_two_splits(line: Workspace) -> None:
    boards = [set(rows["boardname"]) for rows in tables(line).values()]
    assert sum(map(len, boards)) == len(set.union(*boards)) == BOARDS


def test_pool_validation_and_kpi_have_every_defect_and_the_seed_has_two(line: Workspace) -> None:
    found = {name: set(rows["label"]) for name, rows in tables(line).items()}
    everything = {"PASS", *DEFECTS}
    assert found == {
        "seed": {"PASS", "missing", "bridge"}, "validation": everything, "kpi": everything, "pool": everything,
    }  # fmt: skip


def test_no_position_is_exported_twice_from_one_board(line: Workspace) -> None:
    for rows in tables(line).values():
        assert not rows.duplicated(["boardname", "object_name"]).any()


def test_pairs_come_with_both_lights_and_differ_only_at_the_defect(line: Workspace) -> None:
    names = sorted(path.name for path in line.pregen_ng.iterdir())
    assert names == sorted(path.name for path in line.pregen_ok.iterdir())
    assert {
        f"PCB+{defect}_{number:05d}_{light}.png" for number, defect in enumerate(DEFECTS) for light in LIGHTS
    } <= set(names)
    name = "PCB+missing_00000_WhiteLight.png"
    ng, ok = (cv2.imread(str(folder / name)).astype(int) for folder in (line.pregen_ng, line.pregen_ok))
    changed = np.abs(ng - ok).max(2)
    assert changed[24:72, 24:72].max() > 40
    assert changed[:6].max() <= 3  # the shadow ends softly


def test_every_defect_at_its_faintest_shows_under_one_of_the_lights() -> None:
    lot = make_lot(0, 0)
    for defect in DEFECTS:
        sites = [site for site in (make_site(0, 0, number) for number in range(80)) if can_have(site, defect)][:6]
        assert sites, defect
        for number, site in enumerate(sites):
            ng, ok = synthetic_pair(np.random.default_rng(number), site, lot, defect, 0.0)
            changed = max(np.abs(ng[light].astype(int) - ok[light]).max() for light in LIGHTS)
            assert changed > 40, (defect, site.name)


def test_record_counts_what_was_written(line: Workspace) -> None:
    record = json.loads((line.root / RECORD).read_text())
    for name, rows in tables(line).items():
        assert record["counts"][name]["rows"] == len(rows)
        assert record["counts"][name]["labels"] == rows["label"].value_counts().to_dict()
        assert record["counts"][name]["boards"] == rows["boardname"].nunique()


def test_twenty_four_boards_give_the_sizes_that_the_help_names() -> None:
    assert board_counts(24) == {"seed": 2, "validation": 4, "kpi": 8, "pool": 10}
    sizes: dict[str, int] = {}
    for plan in plan_boards(0, 24, 90):
        sizes[plan.split] = sizes.get(plan.split, 0) + len(plan.rows)
    assert sizes == {"seed": 180, "validation": 200, "kpi": 720, "pool": 1190}


def test_a_simulation_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    simulate(tmp_path, seed=0, boards=6, rows_per_board=30, processes=1)
    (tmp_path / ".env").write_text("NGC_KEY=x\n")
    backbone = tmp_path / "augmentation/backbone/weights.pth"
    backbone.parent.mkdir()
    backbone.write_text("w")
    simulate(tmp_path, seed=1, boards=6, rows_per_board=30, processes=1)
    assert json.loads((tmp_path / RECORD).read_text())["seed"] == 1
    assert backbone.read_text() == "w"
    assert {path.name for path in tmp_path.iterdir()} == TOP | {".env"}
    boards = set(read_rows(tmp_path / "kpi/testing_set.csv")["boardname"]) | set(
        read_rows(tmp_path / "train/base/training_set.csv")["boardname"]
    )
    assert boards <= {path.name for path in (tmp_path / "kpi/images").iterdir()}


def test_a_workspace_with_runs_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text("{}")
    (tmp_path / "results/run_20260101_000000").mkdir(parents=True)
    with pytest.raises(InputError, match="run_20260101_000000"):
        simulate(tmp_path, boards=6)
    assert {path.name for path in tmp_path.iterdir()} == {RECORD, "results"}


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "new", boards=6, rows_per_board=30, processes=1, progress=stop)
    assert not (tmp_path / "new").exists()


def deft(folder: Path, *arguments: str) -> inside.Done:
    return inside.deft("simulate", *arguments, check=None, cwd=folder)


def test_command_makes_a_workspace_and_says_what_is_in_it(tmp_path: Path) -> None:
    done = deft(tmp_path, "--workspace", "ws", "--boards", "6", "--rows-per-board", "30", "--processes", "2")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "ws").iterdir()} == TOP
    assert done.stdout.splitlines()[-2].startswith(f"wrote {tmp_path.resolve() / 'ws'}: ")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--boards", "5"), "--boards 5: expected a whole number from 6"),
        (("--seed", "-1"), "--seed -1"),
        (("--rows-per-board", "3"), "--rows-per-board 3"),
        (("--processes", "0"), "--processes 0"),
    ],
)
def test_bad_numbers_are_one_line_and_write_nothing(tmp_path: Path, arguments: tuple[str, ...], part: str) -> None:
    done = deft(tmp_path, "--workspace", "ws", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("deft simulate: ")
    assert part in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws/notes.txt").write_text("mine")
    done = deft(tmp_path, "--workspace", "ws", "--boards", "6")
    assert done.returncode == 2
    assert "notes.txt" in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "ws").iterdir()] == ["notes.txt"]
