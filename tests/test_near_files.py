"""base.near_files: before *missing* is said, what is nearly there is looked for, and the change is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deft_aoi.base.errors import Refusals
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import read_rows
from deft_aoi.data.leakage import validate_training_csv
from deft_aoi.importers.pair_folders import read_notes
from deft_aoi.preflight.preflight import preflight
from small_workspace import make_workspace


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("line") / "ws", counts=(16, 16, 16, 16))


def each(root: Path, change: Callable[[Path], Path]) -> None:
    for path in sorted((root / "kpi/images").rglob("*.png")):
        path.rename(change(path))


def upper(root: Path) -> None:
    each(root, lambda path: path.with_suffix(".PNG"))


def other_ending(root: Path) -> None:
    each(root, lambda path: path.with_suffix(".bmp"))


def other_capitals(root: Path) -> None:
    each(root, lambda path: path.with_name(path.name.lower()))


def no_light(root: Path) -> None:
    for path in sorted((root / "kpi/images").rglob("*_WhiteLight.png")):
        path.rename(path.with_name(path.name.replace("_WhiteLight", "")))


def misspelt_light(root: Path) -> None:
    each(root, lambda path: path.with_name(path.name.replace("WhiteLight", "Whitelite")))


def rewrite(root: Path, old: str, new: str) -> None:
    workspace = Workspace(root)
    for csv in (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv):
        csv.write_text(csv.read_text().replace(old, new))


def one_level_more(root: Path) -> None:
    rewrite(root, "T", "kpi/T")


def one_level_less(root: Path) -> None:
    images = root / "kpi/images"
    for folder in list(images.iterdir()):
        (images / "line1").mkdir(exist_ok=True)
        folder.rename(images / "line1" / folder.name)


def in_the_newer_place(root: Path) -> None:
    (root / "kpi/images").rename(root / "images")
    (root / "kpi/images/old").mkdir(parents=True)  # else the newer place is taken as it is


def folder_capitals(root: Path) -> None:
    for folder in list((root / "kpi/images").iterdir()):
        folder.rename(folder.with_name(folder.name.lower()))


def dangling(root: Path) -> None:
    path = next((root / "kpi/images/T0/test").glob("*_WhiteLight.png"))
    path.unlink()
    os.symlink("../gone.png", path)


NEAR = {
    upper: r"there is \w+Light\.PNG: set dataset\.classify\.image_ext to '\.PNG'",
    other_ending: r"there is \w+Light\.bmp: set dataset\.classify\.image_ext to '\.bmp'",
    other_capitals: r"there is \w+light\.png: names are distinguished by capitals",
    no_light: r"there is C0\.png without a light: rename it to C0_WhiteLight\.png",
    misspelt_light: r"there is C0_Whitelite\.png: is its light missing in dataset\.classify\.input_map, or misspelt",
    one_level_more: r"the rows name one folder too many: write T0/test",
    one_level_less: r"the rows name one folder too few: write line1/T0/test",
    in_the_newer_place: r"there is .*/images/T0/test/C0_SolderLight\.png: move or link the images below .*/kpi/images",
    folder_capitals: r"there is a folder .*/kpi/images/t0: write it so",
    dangling: r"it is a link to nothing: \.\./gone\.png is not there \(links inside the workspace are fine\)",
}


@pytest.mark.parametrize("change", NEAR, ids=lambda change: str(change.__name__))
def test_what_is_nearly_there_is_named(pristine: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "ws"))
    change(root)
    with pytest.raises(Refusals) as caught:
        preflight({"workspace": str(root), "max_iterations": 1})
    csv = Workspace(root).training_csv
    mine = [text for text in caught.value.problems if f"{csv}, line" in text and " is missing" in text]
    assert mine
    assert len(mine) <= 2, mine
    with pytest.raises(Refusals, match=NEAR[change]):
        raise Refusals(mine)
    if change is not in_the_newer_place:
        report = validate_training_csv(csv, root, lights=("WhiteLight", "SolderLight"), ext=".png")
        with pytest.raises(Refusals, match=r"but (there is|the rows name one|it is a link)"):
            raise Refusals(report.problems)


def test_back_slashes_have_a_command(pristine: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "ws"))
    rewrite(root, "/", "\\")
    csv = Workspace(root).kpi_csv
    with pytest.raises(Refusals) as caught:
        preflight({"workspace": str(root), "max_iterations": 1})
    assert [
        text
        for text in caught.value.problems
        if f"a backslash; write folders with / (16 such rows): deft fix-csv {csv}" in text
    ]
    assert "\\" in read_rows(csv)["input_path"][0]


def test_back_slashes_and_capitals_in_a_labels_table(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("image,label,golden\nC:\\line\\ng\\a_1.PNG,bridge,D:\\gold\\m.Tif\n")
    notes = read_notes(tmp_path / "l.csv", ["SolderLight"])
    assert (dict(notes.label), dict(notes.golden)) == ({"a_1": "bridge"}, {"a_1": "m"})
