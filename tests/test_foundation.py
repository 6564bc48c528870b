"""Durable files, paths, rows and specs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from deft_aoi.base import files, rows
from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import Workspace, iter_label, iter_number
from deft_aoi.spec import tree


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    files.atomic_write_text(path, "old")

    def fail(stream: object) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.atomic_write(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_a_lock_is_exclusive(tmp_path: Path) -> None:
    with files.locked(tmp_path / "lock"), pytest.raises(BlockingIOError), files.locked(tmp_path / "lock", wait=False):
        pass


def test_half_written_folders_are_numbered_aside(tmp_path: Path) -> None:
    for expected in ("train.failed-1", "train.failed-2"):
        (tmp_path / "train").mkdir()
        assert files.move_aside(tmp_path / "train").name == expected


@pytest.mark.parametrize("label", ["iter0", "iter01", "iter-1", "Baseline", "iter1\n", ""])
def test_one_grammar_of_iteration_labels(label: str) -> None:
    with pytest.raises(InputError):
        iter_number(label)


def test_iteration_labels_round_trip() -> None:
    assert [iter_number(iter_label(n)) for n in range(12)] == list(range(12))


def test_a_path_must_stay_in_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws/link").symlink_to(tmp_path)
    workspace = Workspace.at(tmp_path / "ws")
    assert workspace.inside("a/b", "x") == tmp_path / "ws/a/b"
    for outside in ("../other", "/etc", "link/other"):
        with pytest.raises(InputError, match="outside the workspace"):
            workspace.inside(outside, "x")


def test_rows_keep_leading_zeros_na_and_unknown_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbfinput_path,golden_path,label,object_name,extra\r\n0041,g,NA,007,1\r\n")
    table = rows.pad_columns(rows.read_rows(path))
    assert list(table.columns) == [*rows.COLUMNS, "extra"]
    assert table.loc[0, ["input_path", "label", "object_name", "extra"]].tolist() == ["0041", "NA", "007", "1"]
    rows.write_rows(path, table)
    assert rows.read_rows(path).equals(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input_path,golden_path,object_name\na,b,c\n", "column label missing"),
        ("input_path,golden_path,label,object_name\n", "no rows"),
        ("", "not a readable"),
    ],
)
def test_unusable_tables_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "training_set.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        rows.read_rows(path)
    assert "training_set.csv" in str(error.value)


@pytest.mark.parametrize("label", ["pass", "Pass", " PASS", "", "  "])
def test_labels_that_tao_would_read_as_defects_are_refused_with_their_line(label: str) -> None:
    table = pd.DataFrame({"label": ["PASS", "bridge", label]})
    with pytest.raises(InputError, match="line 4"):
        rows.check_labels(table, Path("kpi.csv"))


def test_pool_paths_may_name_files(tmp_path: Path) -> None:
    pool = tmp_path / "augmentation/mining_pool/mining_pool.csv"
    pool.parent.mkdir(parents=True)
    pool.write_text(
        "input_path,golden_path,label,object_name\n"
        "images/R821@1_SolderLight.jpg,golden/R821@1_SolderLight.jpg,Bridge ,\n"
        "images/b2,golden/b2,PASS,C1\n"
    )
    table = rows.read_pool(pool, tmp_path, ("SolderLight",), ".jpg")
    prefix = "augmentation/mining_pool"
    assert table["input_path"].tolist() == [f"{prefix}/images", f"{prefix}/images/b2"]
    assert table["golden_path"].tolist() == [f"{prefix}/golden", f"{prefix}/golden/b2"]
    assert table["object_name"].tolist() == ["R821@1", "C1"]
    assert table["label"].tolist() == ["bridge", "PASS"]


def test_a_missing_image_is_named_with_its_row(tmp_path: Path) -> None:
    table = pd.DataFrame({"input_path": ["a"], "golden_path": ["g"], "label": ["PASS"], "object_name": ["C1"]})
    with pytest.raises(InputError, match=r"line 2: image .*a/C1_White\.jpg is missing"):
        rows.check_images(table, Path("t.csv"), tmp_path, ["White"], ".jpg")


def spec_file(folder: Path, text: str) -> Path:
    path = folder / "baseline_spec.yaml"
    path.write_text(text)
    return path


def test_unknown_spec_keys_are_refused_as_tao_does(tmp_path: Path) -> None:
    path = spec_file(tmp_path, "task: classify\ntrain:\n  automl_policy: off\n")
    with pytest.raises(InputError, match=r"Key 'train\.automl_policy' not in 'ExperimentConfig'"):
        tree.load_spec(path)


def test_light_names_and_grid_are_the_users_own(tmp_path: Path) -> None:
    text = "dataset:\n  classify:\n    image_ext: .jpg\n    input_map: {Solder: 1, White: 0}\n"
    path = spec_file(tmp_path, text)
    spec = tree.load_spec(path)
    assert tree.optics(spec, path).lights == ("Solder", "White"), "the order of the YAML, as TAO joins them"
    assert tree.get(tree.override(spec, ["train.num_epochs=3"]), "train.num_epochs") == 3
    with pytest.raises(InputError, match=r"Key 'train\.epochs'"):
        tree.override(spec, ["train.epochs=3"])


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "!!python/object:os.system {}\n", "\x00"])
def test_bad_yaml_is_one_clear_refusal(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"baseline_spec\.yaml"):
        tree.load_spec(spec_file(tmp_path, text))


def test_an_extension_without_its_dot_is_refused(tmp_path: Path) -> None:
    path = spec_file(tmp_path, "dataset: {classify: {image_ext: jpg, input_map: {White: 0}}}\n")
    with pytest.raises(InputError, match="with its dot"):
        tree.optics(tree.load_spec(path), path)
