"""data.import_deeppcb on a small set of synthetic boards in DeepPCB's layout."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import check_images, read_pool, read_rows
from deft_aoi.data.leakage import find_leaks
from deft_aoi.importers.deeppcb import ImportSummary, import_deeppcb
from deft_aoi.importers.deeppcb_windows import (
    TYPES,
    Board,
    Box,
    defect_windows,
    kpi_groups,
    pass_windows,
    read_boards,
    share_out,
)
from deft_aoi.spec.tree import load_spec, optics

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def draw_deeppcb(root: Path, boards: int = 40) -> Path:
    """`boards` boards of parallel tracks over four groups, each with six round blots of types 1 to 6."""
    for number in range(boards):
        generator = np.random.default_rng(number)
        group = f"{number % 4 + 1:05d}"
        name = f"{group}{number:03d}"
        images, notes = (root / f"group{group}" / part for part in (group, f"{group}_not"))
        images.mkdir(parents=True, exist_ok=True)
        notes.mkdir(parents=True, exist_ok=True)
        golden = np.full((640, 640), 255, np.uint8)
        for x in range(20, 640, 48):
            golden[:, x : x + 18] = 0
        test, lines = golden.copy(), []
        for kind in TYPES:
            x, y = (int(v) for v in generator.integers(40, 600, 2))
            cv2.circle(test, (x, y), 9, 128, -1)
            lines.append(f"{x - 10} {y - 10} {x + 10} {y + 10} {kind}")
        cv2.imwrite(str(images / f"{name}_temp.jpg"), golden)
        cv2.imwrite(str(images / f"{name}_test.jpg"), test)
        (notes / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def deeppcb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_deeppcb(tmp_path_factory.mktemp("deeppcb"))


@pytest.fixture(scope="module")
def made(deeppcb: Path, tmp_path_factory: pytest.TempPathFactory) -> ImportSummary:
    return import_deeppcb(deeppcb, tmp_path_factory.mktemp("made") / "w", scale=0.05)


def tables(root: Path) -> dict[str, pd.DataFrame]:
    w = Workspace(root)
    found = {"train": w.training_csv, "validation": w.validation_csv, "kpi": w.kpi_csv}
    return {name: read_rows(csv) for name, csv in found.items()} | {
        "pool": read_pool(w.pool_csv, w.root, ("SolderLight",), ".jpg")
    }


def tree_hash(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def test_workspace_is_what_the_loop_expects(made: ImportSummary) -> None:
    workspace = Workspace.at(made.workspace)
    assert optics(load_spec(workspace.spec), workspace.spec).lights == ("SolderLight",)
    for name, rows in tables(made.workspace).items():
        home = workspace.root if name == "pool" else workspace.images
        check_images(rows, Path(name), home, ["SolderLight"], ".jpg")
    window = cv2.imread(str(next(workspace.images.rglob("*/test/*.jpg"))), cv2.IMREAD_GRAYSCALE)
    assert window.shape == (96, 96)


def test_rows_and_labels_are_as_promised(made: ImportSummary) -> None:
    assert set(made.labels["train"]) == {"PASS", "open", "short"}
    for name in ("kpi", "pool"):
        assert set(made.labels[name]) == {"PASS", *TYPES.values()}
    assert made.labels["kpi"]["PASS"] == 135
    assert sum(made.labels["kpi"].values()) == 150


def test_no_board_is_in_two_splits_and_nothing_leaks(made: ImportSummary) -> None:
    found = tables(made.workspace)
    names = list(found)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            assert not set(found[first]["boardname"]) & set(found[second]["boardname"])
            assert not find_leaks(found[first], found[second])


def test_pass_windows_equal_their_golden_and_defects_do_not(made: ImportSummary) -> None:
    images = Workspace(made.workspace).images
    for row in tables(made.workspace)["kpi"].itertuples():
        pair = [
            cv2.imread(str(images / folder / f"{row.object_name}_SolderLight.jpg"), cv2.IMREAD_GRAYSCALE).astype(int)
            for folder in (row.input_path, row.golden_path)
        ]
        assert (np.abs(pair[0] - pair[1]).max() > 90) == (row.label != "PASS")


def test_same_arguments_same_bytes_and_another_seed_another_split(
    deeppcb: Path, made: ImportSummary, tmp_path: Path
) -> None:
    again = import_deeppcb(deeppcb, tmp_path / "again", scale=0.05)
    assert tree_hash(again.workspace) == tree_hash(made.workspace)
    other = import_deeppcb(deeppcb, tmp_path / "other", scale=0.05, seed=1)
    assert set(tables(other.workspace)["kpi"]["boardname"]) != set(tables(made.workspace)["kpi"]["boardname"])


def test_split_by_group_keeps_kpi_designs_out_of_the_rest(deeppcb: Path, tmp_path: Path) -> None:
    summary = import_deeppcb(deeppcb, tmp_path / "w", split_by="group", scale=0.05)
    rest = {group for name in ("train", "validation", "pool") for group in summary.groups[name]}
    assert summary.groups["kpi"]
    assert not rest & set(summary.groups["kpi"])


def test_a_defect_window_shows_its_defect_whole_and_no_other_type() -> None:
    boxes = (Box(100, 100, 130, 140, "open"), Box(128, 150, 150, 170, "spur"), Box(2, 2, 30, 30, "short"))
    board = Board("b", "g", Path(), Path(), boxes)
    for seed in range(50):
        for window in defect_windows(board, 96, np.random.default_rng(seed)):
            shown = [box for box in boxes if box.meets(window.x, window.y, 96, 0)]
            own = next(box for box in boxes if box.label == window.label)
            assert {box.label for box in shown} == {window.label}
            assert window.x <= own.x1
            assert window.y <= own.y1
            assert own.x2 <= window.x + 96
            assert own.y2 <= window.y + 96
        assert not any(
            box.meets(w.x, w.y, 96) for w in pass_windows(board, 96, np.random.default_rng(seed)) for box in boxes
        )


def test_share_out_is_even_and_never_above_what_is_there() -> None:
    assert share_out(7, {"a": 1, "b": 9, "c": 9}) == {"a": 1, "b": 3, "c": 3}
    assert share_out(99, {"a": 1, "b": 2}) == {"a": 1, "b": 2}


def test_one_group_cannot_be_split_by_group(deeppcb: Path) -> None:
    boards = [board for board in read_boards(deeppcb) if board.group == "group00001"]
    with pytest.raises(InputError, match="one group; use --split-by board"):
        kpi_groups(boards, 0.2, np.random.default_rng(0))


def test_an_unreadable_board_is_named_and_skipped(tmp_path: Path) -> None:
    root = draw_deeppcb(tmp_path / "d")
    (root / "group00001/00001/00001000_test.jpg").write_bytes(b"broken")
    summary = import_deeppcb(root, tmp_path / "w", scale=0.05)
    assert summary.unreadable == ("pcb00001000",)
    assert json.loads((tmp_path / "w/deeppcb.json").read_text())["unreadable"] == ["pcb00001000"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--size", "100"], "multiple of 16"),
        (["--scale", "0"], "--scale 0"),
        (["--seed", "-1"], "whole number"),
        (["--image-ext", "jpg"], "image extension 'jpg'"),
        (["--deeppcb", "."], "no DeepPCB boards"),
    ],
)
def test_bad_arguments_are_one_line_and_write_nothing(
    deeppcb: Path, tmp_path: Path, flags: list[str], says: str
) -> None:
    command = [
        sys.executable,
        "-m",
        "deft_aoi.cli.main",
        "import-deeppcb",
        "--deeppcb",
        str(deeppcb),
        "--workspace",
        "w",
        *flags,
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert not any(tmp_path.iterdir())


def test_a_bad_annotation_names_file_and_line(tmp_path: Path) -> None:
    root = draw_deeppcb(tmp_path / "d", 4)
    note = root / "group00001/00001_not/00001000.txt"
    note.write_text("1 2 3 4 1\n1 2 3 4 9\n")
    with pytest.raises(InputError, match=r"00001000.txt, line 2: '1 2 3 4 9'"):
        read_boards(root)


def test_an_existing_workspace_is_never_touched(deeppcb: Path, made: ImportSummary) -> None:
    before = tree_hash(made.workspace)
    with pytest.raises(InputError, match="already there and not empty"):
        import_deeppcb(deeppcb, made.workspace, scale=0.05)
    assert tree_hash(made.workspace) == before
