"""data.leakage: the same image is found under any label and spelling; a CSV is checked with one stat a file."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.data import leakage
from deft_aoi.data.leakage import find_leaks, validate_training_csv

HEADER = "input_path,golden_path,label,object_name,boardname\n"


def table(*rows: tuple[str, str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["input_path", "golden_path", "label", "object_name", "boardname"])


def workspace(root: Path, names: str = "abcdef", base: str = "kpi/images") -> Path:
    for folder in ("in", "gold"):
        (root / base / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / base / folder / f"{name}_SolderLight.jpg").touch()
    return root


def write(path: Path, *rows: str) -> Path:
    path.write_text(HEADER + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_same_image_under_another_label_is_a_leak() -> None:
    leaks = find_leaks(table(("in", "g", "PASS", "a", "B1")), table(("in", "g", "short", "a", "B2")))
    assert [(leak.first_line, leak.second_line, leak.by) for leak in leaks.rows] == [(2, 2, "image")]


@pytest.mark.parametrize("other", ["in/", "./in", " in", "x/../in", "in//"])
def test_spelling_of_the_folder_does_not_hide_a_leak(other: str) -> None:
    assert find_leaks(table(("in", "g", "PASS", "a", "")), table((other, "g2", "PASS", "a", "")))


def test_different_images_do_not_leak_but_shared_boards_are_told() -> None:
    leaks = find_leaks(table(("in", "g", "PASS", "a", "B1")), table(("in", "g", "PASS", "b", "B1")))
    assert not leaks
    assert leaks.shared_boards == ("B1",)


def test_prefixed_and_unprefixed_paths_meet(tmp_path: Path) -> None:
    merged, held = table(("kpi/images/in", "g", "PASS", "a", "")), table(("in", "g", "PASS", "a", ""))
    assert not find_leaks(merged, held)
    assert find_leaks(merged, held, images_first=tmp_path, images_second=tmp_path / "kpi/images")


def test_sentence_names_the_first_rows_of_both() -> None:
    rows = table(*[("in", "g", "PASS", name, "") for name in "abcde"])
    text = find_leaks(rows, rows).sentence("train.csv", "val.csv")
    assert text.startswith("5 rows of val.csv are also in train.csv: train.csv line 2 = val.csv line 2 (in/a)")
    assert "and 2 more" in text


def test_a_good_csv_passes_with_either_base(tmp_path: Path) -> None:
    root = workspace(workspace(tmp_path), "xy", "augmentation/mining_pool/images")
    pool = "augmentation/mining_pool/images"
    csv = write(
        tmp_path / "t.csv", "in,gold,PASS,a,B", f"{pool}/in,{pool}/gold,short,x,B", "kpi/images/in,gold,open,b,B"
    )
    report = validate_training_csv(csv, root, validation_csv=write(tmp_path / "v.csv", "in,gold,PASS,c,V"))
    assert report.problems == []
    assert (report.rows, report.missing_files, report.labels) == (3, 0, {"PASS": 1, "short": 1, "open": 1})


def test_an_absolute_folder_of_the_workspace_and_two_spellings_of_a_label(tmp_path: Path) -> None:
    root = workspace(tmp_path)
    csv = write(tmp_path / "t.csv", f"{root}/kpi/images/in,{root}/kpi/images/gold,PASS,a,B", "in,gold,Short,b,B")
    report = validate_training_csv(csv, root)
    assert report.problems == [
        f"{csv}, line 3: label 'Short'; expected 'short': a second spelling would be a defect of its own (1 such rows)"
    ]
    record = report.to_json()
    assert [record[name] for name in ("rows_checked", "missing_file_count", "train_val_leakage_overlap_count")] == [
        2,
        0,
        0,
    ]


def test_leak_is_found_between_merged_and_base_paths(tmp_path: Path) -> None:
    root = workspace(tmp_path)
    csv = write(tmp_path / "t.csv", "kpi/images/in/,kpi/images/gold,short,a,B", "in,gold,PASS,b,B")
    report = validate_training_csv(csv, root, validation_csv=write(tmp_path / "v.csv", "in,gold,PASS,a,V"))
    assert len(report.leaks) == 1
    assert "t.csv line 2 = " in report.problems[0]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("in,gold,pass,a,B", r"line 3: label 'pass'"),
        ("in,gold,,a,B", r"line 3: label ''"),
        (" in,gold,open,a,B", r"line 3: input_path is ' in'"),
        ("in,gold,open,zz,B", r"line 3: image gold/zz_SolderLight.jpg is missing"),
        ("in,gold,PASS,a,B", r"no defect among 2 rows"),
    ],
)
def test_each_fault_of_a_row_is_named_with_its_line(tmp_path: Path, row: str, says: str) -> None:
    report = validate_training_csv(write(tmp_path / "t.csv", "in,gold,PASS,b,B", row), workspace(tmp_path))
    assert not report.ok
    assert pd.Series(report.problems).str.contains(says).any(), report.problems


def test_copies_that_disagree_are_refused_and_others_are_warned_of(tmp_path: Path) -> None:
    csv = write(tmp_path / "t.csv", "in,gold,PASS,a,B", "in/,gold,open,a,B", "in,gold,PASS,b,B", "in,gold,PASS,b,B")
    report = validate_training_csv(csv, workspace(tmp_path))
    assert [text for text in report.problems if "line 3: same" in text and "and another label" in text]
    assert any("1 rows repeat" in text for text in report.warnings)
    assert any("1 images have two labels, the first at line 2: PASS, line 3: open" in text for text in report.warnings)


def test_shared_boards_are_a_warning(tmp_path: Path) -> None:
    csv = write(tmp_path / "t.csv", "in,gold,PASS,a,B", "in,gold,open,b,B")
    held = write(tmp_path / "v.csv", "in,gold,PASS,c,B")
    report = validate_training_csv(csv, workspace(tmp_path), validation_csv=held)
    assert report.ok
    assert "1 boards" in report.warnings[0]


def test_validation_rows_that_point_nowhere_cannot_rule_leakage_out(tmp_path: Path) -> None:
    csv = write(tmp_path / "t.csv", "in,gold,PASS,a,B", "in,gold,open,b,B")
    held = write(tmp_path / "v.csv", "elsewhere,gold,PASS,c,V")
    report = validate_training_csv(csv, workspace(tmp_path), validation_csv=held)
    assert "v.csv, line 2: image elsewhere/c_SolderLight.jpg is missing" in report.problems[0]


def test_an_unquoted_comma_does_not_shift_columns(tmp_path: Path) -> None:
    csv = tmp_path / "t.csv"
    csv.write_text(HEADER + "in,gold,PASS,a,B\nin,gold,open,b,board, the second\n")
    with pytest.raises(InputError, match="quote cells that hold a comma"):
        validate_training_csv(csv, workspace(tmp_path))


def test_one_stat_for_each_distinct_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, seen = workspace(tmp_path), []
    csv = write(tmp_path / "t.csv", *["in,gold,PASS,a,B", "in,gold,open,b,B"] * 500)
    plain = os.path.isfile
    monkeypatch.setattr(leakage.os.path, "isfile", lambda name: (seen.append(str(name)), plain(name))[1])
    validate_training_csv(csv, root)
    images = [name for name in seen if name.endswith(".jpg")]
    assert len(images) == len(set(images)) == 8  # four files, each looked for under two bases
