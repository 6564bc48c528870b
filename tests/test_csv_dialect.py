"""base.csv_dialect and csv_text: what people's spreadsheets do to a table has one cause and one remedy; lines are the
file's own; there is one reader."""

from __future__ import annotations

import ast
from pathlib import Path

import pandas as pd
import pytest

from deft_aoi.base.csv_dialect import read_dialect, sheet_words
from deft_aoi.base.csv_text import line_of
from deft_aoi.base.errors import InputError, Refusals
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import read_rows
from deft_aoi.cli.main import main
from deft_aoi.kpi.scored import read_scored
from deft_aoi.preflight.preflight import preflight
from small_workspace import make_workspace

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
HEADER = ["input_path", "golden_path", "label", "object_name", "boardname"]
ROWS = [[f"B{n}/test", f"B{n}/golden", "PASS" if n % 3 else "bridge", f"C{n}", f"Prüf{n}"] for n in range(6)]
PLAIN = [HEADER, *ROWS]


def text(separator: str = ",", *, gap: str = "", end: str = "\n", table: list[list[str]] = PLAIN) -> str:
    return "".join((separator + gap).join(row) + end for row in table)


SHEETS = {
    "semicolons": (text(";").encode(), "separated by semicolons"),
    "tabs": (text("\t").encode(), "separated by tabs"),
    "bars": (text("|").encode(), "separated by bars"),
    "full-width commas": (text("，").encode(), "full-width commas"),
    "sep line": (("sep=;\n" + text(";")).encode(), "separated by semicolons"),
    "utf-16": (text("\t").encode("utf-16"), "UTF-16 text"),
    "utf-16 without mark": (text().encode("utf-16-le"), "UTF-16-LE text"),
    "utf-32": (text().encode("utf-32"), "UTF-32 text"),
    "blanks after commas": (text(gap=" ").encode(), "the header has ' golden_path'"),
    "blanks in cells": (text(table=[HEADER, *([f" {c}" for c in row] for row in ROWS)]).encode(), "blanks around"),
    "empty tail": ((text() + ",,,,\n" * 3).encode(), "3 empty rows (lines 8, 9, 10)"),
    "empty tail of a sheet": ((text(";") + ";;;;\n" * 2).encode(), "2 empty rows"),
    "comma at the end of rows": (text(table=[HEADER, *([*row, ""] for row in ROWS)]).encode(), "have more cells"),
    "title": (("Line 3 export\n\n" + text()).encode(), "stand above the header"),
    "other capitals": (text(table=[[c.title() for c in HEADER], *ROWS]).encode(), "the header has 'Input_Path'"),
    "other words": (text(table=[[c.replace("_", " ").upper() for c in HEADER], *ROWS]).encode(), "the header has"),
    "one quoted cell a line": ("".join(f'"{",".join(row)}"\n' for row in PLAIN).encode(), "each line is one quoted"),
    "formulas": (text(table=[HEADER, *([*row[:3], f'"=""{row[3]}"""', row[4]] for row in ROWS), [""] * 5]).encode(),
                 "formulas like"),
    "quoted after a blank": (text(table=[HEADER, *([row[0], *(f' "{c}"' for c in row[1:])] for row in ROWS)]).encode(),
                             "blanks before quoted cells"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHEETS)
def test_a_sheet_has_one_cause_and_one_remedy_that_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    data, cause = SHEETS[name]
    path = tmp_path / "testing_set.csv"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert cause in str(caught.value), caught.value
    assert f"deft fix-csv {path} --accept" in str(caught.value)
    assert "quote cells" not in str(caught.value)
    assert main(["fix-csv", str(path)]) == 0
    assert "would change" in capsys.readouterr().out
    assert path.read_bytes() == data
    assert main(["fix-csv", str(path), "--accept"]) == 0
    assert read_rows(path).to_numpy().tolist() == ROWS
    assert path.with_name("testing_set.csv.original").read_bytes() == data
    assert sheet_words(path) is None


@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "gb18030", "euc_kr"])
def test_another_encoding_is_asked_for_and_then_read(tmp_path: Path, encoding: str) -> None:
    word = {"cp1252": "Prüfstück", "cp932": "基板", "gb18030": "电路板", "euc_kr": "기판"}[encoding]
    path = tmp_path / "testing_set.csv"
    path.write_bytes(text(table=[HEADER, *([*row[:4], word] for row in ROWS)]).encode(encoding))
    with pytest.raises(InputError, match=r"6 lines are not UTF-8 .*say which encoding it is .*--encoding"):
        read_rows(path)
    sheet = read_dialect(path, encoding)
    assert sheet is not None
    assert [row[4] for row in sheet.rows] == [word] * 6


def test_mixed_encodings_keep_the_lines_that_are_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "testing_set.csv"
    lines = text().splitlines(keepends=True)
    path.write_bytes(b"".join(line.encode("cp1252" if n == 3 else "utf-8") for n, line in enumerate(lines)))
    with pytest.raises(InputError, match=r"1 lines are not UTF-8 \(line 4\), others are: two encodings in one file"):
        read_rows(path)
    sheet = read_dialect(path, "cp1252")
    assert sheet is not None
    assert sheet.rows == ROWS


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK\x03\x04rest", "an Excel or LibreOffice workbook, no CSV"),
        (b"\xd0\xcf\x11\xe0rest", "an old Excel workbook"),
        (b"<!DOCTYPE html><table>", "a web page"),
        (text(table=[HEADER, [*ROWS[0], "more"]]).encode(), "line 2 has 6 cells, the header 5"),
    ],
)
def test_what_nobody_can_read_for_sure_is_left_to_a_person(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "testing_set.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=says):
        read_rows(path)
    assert main(["fix-csv", str(path), "--accept"]) == 2
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("label;siamese_score\nPASS;0,12\nbridge;0,95\n", "separated by semicolons; .*decimal commas in siamese_score"),
        ('label,siamese_score\nPASS,"0,12"\nbridge,"0,95"\n', "decimal commas in siamese_score; .*fix-csv"),
        ("label,siamese_score\nPASS,0,12\nbridge,0,95\n", "a decimal comma cannot be distinguished from a separator"),
        ("Label, siamese_score\nPASS, 0.1\nbridge, 0.9\n", r"the header has 'Label', ' siamese_score'"),
    ],
)
def test_a_scored_sheet_is_recognised(tmp_path: Path, body: str, says: str) -> None:
    path = tmp_path / "inference.csv"
    path.write_text(body)
    with pytest.raises(InputError, match=says):
        read_scored(path)


def test_preflight_names_one_cause_for_a_sheet(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", counts=(16, 16, 16, 16))
    csv = Workspace(root).kpi_csv
    csv.write_text(csv.read_text().replace(",", ";"))
    with pytest.raises(Refusals) as caught:
        preflight({"workspace": str(root), "max_iterations": 1})
    mine = [problem for problem in caught.value.problems if str(csv) in problem]
    assert len(mine) == 1, mine
    assert "separated by semicolons" in mine[0]


@pytest.mark.parametrize("blank", ["\n\n\n", "   \n\n\t\n", "\r\n\r\n\n"])
def test_lines_are_the_files_own_below_empty_lines(tmp_path: Path, blank: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes((text(table=PLAIN[:4]) + blank + text(table=PLAIN[4:])).encode())
    assert [line_of(path, row) for row in range(6)] == [2, 3, 4, 8, 9, 10]
    path.write_bytes((blank + text() + '"a\nb",g,PASS,C8,\nx,g,PASS,C9,\n').encode())
    assert [line_of(path, row) for row in (0, 5, 6, 7)] == [5, 10, 11, 13]


def test_every_check_names_the_files_own_line(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", counts=(16, 16, 16, 16))
    workspace = Workspace(root)
    for csv in (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv, workspace.pool_csv):
        header, *rows = csv.read_text().splitlines()
        csv.write_text("\n".join([header, *rows[:5], "", "", *rows[5:]]) + "\n")
    rows = read_rows(workspace.kpi_csv)
    assert line_of(workspace.kpi_csv, 10) == 14
    (root / "kpi/images" / rows["input_path"][10] / f"{rows['object_name'][10]}_WhiteLight.png").unlink()
    train = workspace.training_csv
    train.write_text(train.read_text().replace("PASS", "0").replace("0", "PASS", 11))
    first_bad = next(n for n, line in enumerate(train.read_text().splitlines(), 1) if ",0," in line)
    with pytest.raises(Refusals) as caught:
        preflight({"workspace": str(root), "max_iterations": 1})
    said = "\n".join(caught.value.problems)
    assert f"{workspace.kpi_csv}, line 14: image" in said
    assert f"{train}, line {first_bad}: label '0'" in said


def test_repeated_training_rows_are_a_note_unless_copies_disagree(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", counts=(24, 24, 48, 60))
    csv = Workspace(root).training_csv
    rows = read_rows(csv)
    defects = rows[rows["label"] != "PASS"]
    pd.concat([rows, defects, defects.head(2)]).to_csv(csv, index=False)
    asked = {"workspace": str(root), "max_iterations": 1, "kpi_target": "FAR < 5% at recall = 100%"}
    notes = [finding.text for finding in preflight(asked).findings if finding.level == "note"]
    assert [text for text in notes if f"({len(defects) + 2} repeated rows)" in text], notes
    pd.concat([rows, defects.head(1).assign(label="PASS")]).to_csv(csv, index=False)
    with pytest.raises(Refusals, match=rf"line {len(rows) + 2}: same .*\(1 parts\) and another label"):
        preflight(asked)


READERS = {"reader", "DictReader", "read_csv", "open_csv", "read_excel"}
HOMES = {"csv_text.py", "csv_dialect.py", "rows.py"}


def readers(path: Path) -> set[str]:
    """Calls in `path` that read a CSV."""
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    return {name for node in calls if (name := ast.unparse(node.func)).rpartition(".")[2] in READERS}


def test_there_is_one_reader_of_csvs(tmp_path: Path) -> None:
    found = {path.name: calls for path in SCRIPTS.rglob("*.py") if (calls := readers(path))}
    assert set(found) == HOMES, found
    (tmp_path / "x.py").write_text("from csv import DictReader\nimport pandas as p\nDictReader(f)\np.read_csv(f)\n")
    assert readers(tmp_path / "x.py") == {"DictReader", "p.read_csv"}
