"""base.names: one list of the words for a good part and for no label, and every reader of labels that asks it."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError, Refusals
from deft_aoi.base.names import means_good, names_nothing
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import read_rows, write_rows
from deft_aoi.cli.main import main
from deft_aoi.data.leakage import validate_training_csv
from deft_aoi.data.pairs import label_from_name
from deft_aoi.importers.pair_folders import read_notes
from deft_aoi.importers.pair_table import prepare_pairs
from deft_aoi.kpi.scored import read_scored
from deft_aoi.preflight.preflight import preflight
from pair_images import image
from small_workspace import make_workspace

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
GOOD = (
    "OK", "ok", "GOOD", "Pass", "passed", "G", "良品", "ＯＫ", "i.O.", "no_defect", "defect-free", "合格", "정상",
    "годный", "đạt", "Ok.", "OK 1", "PASS(良品)", " PASS", "False Call", "Normal",
)  # fmt: skip
DEFECTS = (
    "bridge",
    "missing",
    "NG",
    "no pass",
    "not good",
    "不良",
    "不合格",
    "n.i.O.",
    "goodness",
    "OK but shifted",
    "P1",
)
NOTHING = ("NA", "n/a", "#N/A", "null", "<NA>", "NaN", "None", "-", "--", "?", "0", "true")


@pytest.mark.parametrize("word", GOOD)
def test_words_for_a_good_part(word: str) -> None:
    assert means_good(word)
    assert not names_nothing(word)


@pytest.mark.parametrize("word", DEFECTS)
def test_a_defect_keeps_its_name(word: str) -> None:
    assert not means_good(word)
    assert not names_nothing(word)


@pytest.mark.parametrize("word", NOTHING)
def test_words_that_name_nothing(word: str) -> None:
    assert names_nothing(word)
    assert not means_good(word)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("line") / "ws")


def relabel(csv: Path, old: str, new: str, count: int) -> None:
    rows = read_rows(csv, required=("label",))
    rows.loc[rows.index[rows["label"] == old][:count], "label"] = new
    write_rows(csv, rows)


def refusals(root: Path) -> list[str]:
    with pytest.raises(Refusals) as caught:
        preflight({"workspace": str(root), "max_iterations": 1, "kpi_target": "FAR < 5% at recall = 100%"})
    return caught.value.problems


@pytest.mark.parametrize("word", ["OK", "Good", "良品"])
def test_a_word_for_good_is_refused_with_count_and_command_wherever_rows_are_judged(
    pristine: Path, tmp_path: Path, word: str
) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "ws"))
    workspace = Workspace(root)
    csvs = (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv, workspace.pool_csv)
    for csv in csvs:
        relabel(csv, "PASS", word, 17)
    found = refusals(root)
    for csv in csvs:
        mine = [text for text in found if str(csv) in text and "17 such rows" in text]
        assert mine, found
        assert f"deft fix-csv {csv} --accept" in mine[0]
    report = validate_training_csv(workspace.training_csv, root, lights=("WhiteLight", "SolderLight"), ext=".png")
    assert any("means a good part" in text and "17 such rows" in text for text in report.problems)


def test_a_scored_csv_with_a_word_for_good_is_refused_and_takes_it_as_the_pass_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv = tmp_path / "inference.csv"
    csv.write_text("label,siamese_score\nOK,0.1\nOK,0.2\nbridge,0.9\n")
    assert main(["analyze_kpi", str(csv), "--output-dir", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(words in said for words in ("the word means a good part", "2 such rows", "--pass-label OK")), said
    assert read_scored(csv, pass_label="OK").defect.tolist() == [False, False, True]
    csv.write_text("label,siamese_score\nPASS,0.1\nOK,0.2\nopen,0.9\n")
    with pytest.raises(InputError, match=r"line 3: label 'OK'; .* means a good part"):
        read_scored(csv)
    csv.write_text("label,siamese_score\nPASS,0.1\nnull,0.9\n")
    with pytest.raises(InputError, match="line 3: label 'null'"):
        read_scored(csv)


def test_importers_take_a_word_for_good_as_pass(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("image,label\na.png,OK\nb.png,良品\nc.png,Bridge\n", encoding="utf-8")
    assert read_notes(tmp_path / "l.csv", ["SolderLight"]).label == {"a": "PASS", "b": "PASS", "c": "bridge"}
    assert [label_from_name(f"PCB+{word}_1") for word in ("Ok", "passed", "合格", "ng")] == ["PASS"] * 3 + ["ng"]
    for folder in ("ng", "ok"):
        image(tmp_path / folder / "PCB+x_1.png", 1)
    assert prepare_pairs(tmp_path / "ng", tmp_path / "ok", tmp_path / "d.csv", label="Good")["by_label"] == {"PASS": 1}


@pytest.mark.parametrize("word", ["NA", "null", "nan"])
@pytest.mark.parametrize("column", ["label", "object_name"])
def test_a_word_for_an_empty_cell_is_one_finding_of_both_checks(
    pristine: Path, tmp_path: Path, word: str, column: str
) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "ws"))
    workspace = Workspace(root)
    csv = workspace.training_csv
    rows = read_rows(csv)
    if column == "object_name":
        for folder in rows.loc[3, ["input_path", "golden_path"]]:
            for path in list((root / "kpi/images" / folder).glob(f"{rows['object_name'][3]}_*")):
                shutil.copy(path, path.with_name(f"{word}_{path.name.rpartition('_')[2]}"))
    rows.loc[3, column] = word
    write_rows(csv, rows)
    found = [text for text in refusals(root) if f"'{word}'" in text]
    assert len(found) == 1, found
    report = validate_training_csv(csv, root, lights=("WhiteLight", "SolderLight"), ext=".png")
    mine = [text for text in report.problems if f"'{word}'" in text]
    assert len(mine) == 1, report.problems
    assert mine[0] in found[0]
    assert ("rename the part and its image files" if column == "object_name" else "write exactly PASS") in mine[0]


def word_lists(path: Path) -> list[int]:
    """Lines of literals that gather two or more of the commonest words for a good part."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            words = [e.value for e in node.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]
            if len({word.lower() for word in words} & {"ok", "okay", "pass", "passed", "good"}) > 1:
                found.append(node.lineno)
    return found


def test_there_is_one_list_of_words_for_good(tmp_path: Path) -> None:
    assert {path.name: lines for path in SCRIPTS.rglob("*.py") if (lines := word_lists(path))} == {}
    (tmp_path / "second.py").write_text('x = label in ("ok", "pass", "good")\n')
    assert word_lists(tmp_path / "second.py") == [1]
    callers = [path.name for path in SCRIPTS.rglob("*.py") if ".upper() == PASS" in path.read_text(encoding="utf-8")]
    assert callers == []
