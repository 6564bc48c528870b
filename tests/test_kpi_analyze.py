"""kpi.analyze: what is read, what is refused, what the files say."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.kpi.analyze import FILES, analyze, write_analysis
from deft_aoi.kpi.printed_summary import point_line
from deft_aoi.kpi.scored import read_scored
from deft_aoi.kpi.target import parse_target

HEADER = "input_path,golden_path,label,object_name,boardname,siamese_score"


def scored_csv(folder: Path, rows: list[tuple[str, str]], name: str = "inference.csv") -> Path:
    path = folder / name
    lines = [f"in,gold,{label},C{index},0004,{score}" for index, (label, score) in enumerate(rows)]
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def usual(folder: Path, n: int = 400, seed: int = 3) -> Path:
    generator = np.random.default_rng(seed)
    labels = np.where(generator.random(n) < 0.2, np.where(generator.random(n) < 0.5, "short", "open"), "PASS")
    score = np.float32(generator.normal(size=n) + 2.0 * (labels != "PASS"))
    return scored_csv(folder, list(zip(labels, map(str, score), strict=True)))


def test_printed_threshold_gives_the_same_decisions_when_read_back(tmp_path: Path) -> None:
    path = usual(tmp_path)
    record = analyze(path)
    printed = float(point_line(record["recall_100"]).split(" ")[0])
    scored = read_scored(path)
    called = scored.score > printed
    assert called[scored.defect].all()
    assert int(called[~scored.defect].sum()) == record["recall_100"]["fp"]
    assert record["recall_100"]["recall"] == 1.0


def test_scores_closer_than_six_decimals_keep_full_recall(tmp_path: Path) -> None:
    path = scored_csv(tmp_path, [("PASS", "0.30000001"), ("short", "0.30000002"), ("PASS", "0.1")])
    threshold = float(point_line(analyze(path)["recall_100"]).split(" ")[0])
    assert 0.30000001 <= threshold < 0.30000002


def test_all_files_of_the_contract_are_written(tmp_path: Path) -> None:
    record = write_analysis(usual(tmp_path), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    for name in FILES:
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert json.loads((tmp_path / "out/kpi.json").read_text()) == json.loads(json.dumps(record))
    assert (tmp_path / "out/confusion_matrix_best_f1.png").read_bytes().startswith(b"\x89PNG")


def test_summary_of_a_usual_set_fits_a_screen(tmp_path: Path) -> None:
    path, generator = tmp_path / "inference.csv", np.random.default_rng(0)
    names = [f"a_defect_with_quite_a_long_name_{n}" for n in range(15)]
    lines = ["input_path,golden_path,label,object_name,boardname,comp_type_1,light,siamese_score"]
    for n in range(2000):
        label = names[n % 15] if n % 8 == 0 else "PASS"
        score = generator.normal() + 3 * (label != "PASS")
        lines.append(
            f"in,gold,{label},C{n},BOARD_{n % 40:012d},COMPONENT_TYPE_{n % 7:012d},Light{n % 2},{np.float32(score)!s}"
        )
    path.write_text("\n".join(lines) + "\n")
    write_analysis(path, tmp_path / "out", contract=parse_target("FAR < 0.5% at recall >= 99.5%"))
    shown = (tmp_path / "out/summary.txt").read_text().splitlines()
    assert len(shown) <= 33
    assert max(map(len, shown)) <= 100
    assert shown[0].startswith("100% recall threshold: ")
    for words in ("false calls by board (40)", "by component (7)", "by light (2)", "9 more labels", "One defect sets"):
        assert any(words in line for line in shown), words


def test_threshold_metrics_can_be_read_back_exactly(tmp_path: Path) -> None:
    path = usual(tmp_path)
    record = write_analysis(path, tmp_path / "out")
    with open(tmp_path / "out/threshold_metrics.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        "threshold", "tp", "fp", "tn", "fn", "precision", "recall", "f1", "far",
        "accuracy", "predicted_no_pass_count", "actual_no_pass_count", "actual_pass_count",
    ]  # fmt: skip
    assert len(rows) == len(np.unique(read_scored(path).score)) + 1
    full = [row for row in rows if float(row["recall"]) == 1.0][-1]
    assert float(full["threshold"]) == record["recall_100"]["threshold"]
    assert float(full["far"]) == record["recall_100"]["far"]
    tp, fp, tn, fn = (int(full[name]) for name in ("tp", "fp", "tn", "fn"))
    assert float(full["accuracy"]) == (tp + tn) / (tp + fp + tn + fn)
    assert (full["predicted_no_pass_count"], full["actual_no_pass_count"]) == (str(tp + fp), str(tp + fn))
    said = (tmp_path / "out/summary.txt").read_text()
    assert said.splitlines()[1].startswith("Best F1 threshold: ")
    assert f"TN={tn:,}, FP={fp:,}, FN={fn:,}, TP={tp:,}" in said


def test_missed_defects_at_best_f1_are_listed_with_their_line(tmp_path: Path) -> None:
    path = scored_csv(tmp_path, [("PASS", "0.1"), ("short", "0.05"), *[("open", "0.9")] * 3, *[("PASS", "0.2")] * 9])
    record = write_analysis(path, tmp_path / "out")
    with open(tmp_path / "out/best_f1_missed_no_pass_samples.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["line"], row["label"], row["object_name"], row["boardname"]) for row in rows] == [
        ("3", "short", "C1", "0004")
    ]
    named = {name.removeprefix("analysis_"): value for name, value in rows[0].items() if name.startswith("analysis_")}
    threshold = record["best_f1"]["threshold"]
    assert named == {
        "row_index": "1", "score": "0.05", "threshold": str(threshold), "actual_label_group": "NO_PASS",
        "predicted_label_group": "PASS", "outcome": "FN",
    }  # fmt: skip


def test_record_says_which_defect_sets_the_threshold(tmp_path: Path) -> None:
    path = scored_csv(tmp_path, [("PASS", "0.4"), ("PASS", "0.1"), ("short", "0.3"), ("open", "0.9")])
    record = analyze(path)
    assert record["recall_100"]["far"] == 0.5
    assert record["threshold_set_by"] == {
        "line": 4, "label": "short", "score": 0.3,
        "without_lowest_defect": 0.0, "threshold_without": 0.4, "false_calls_less": 1,
    }  # fmt: skip
    assert record["by_label"]["PASS"]["called_no_pass"] == 1


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("PASS", "0.1"), ("short", "nan")], r"inference.csv, line 3: score nan"),
        ([("PASS", "0.1"), ("short", "inf")], r"line 3: score inf"),
        ([("PASS", "0.1"), ("short", "")], r"line 3: siamese_score is ''"),
        ([("PASS", "0.1"), ("short", "x1")], r"line 3: siamese_score is 'x1'"),
        ([("PASS", "0.1"), ("", "0.5")], r"line 3: label ''"),
        ([("PASS", "0.1"), ("  ", "0.5")], r"line 3: label '  '"),
        ([("pass", "0.1"), ("short", "0.5")], r"line 2: label 'pass'; expected exactly PASS"),
        ([("PASS", "0.1"), ("PASS", "0.5")], r"all 2 rows are PASS: recall"),
        ([("short", "0.1"), ("open", "0.5")], r"all 2 rows are defects: FAR"),
        ([("PASS", "0.1"), ("short", "-Infinity")], r"line 3: score -inf"),
        (
            [("PASS", "nan"), ("short", "1"), *[("open", "NaN")] * 6],
            r"lines 2, 4, 5, 6, 7, \.\.\.: score nan.*\(7 such",
        ),
        ([], r"no rows below the header"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_its_line(tmp_path: Path, rows: list[tuple[str, str]], says: str) -> None:
    with pytest.raises(InputError, match=says):
        write_analysis(scored_csv(tmp_path, rows), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_repeated_row_is_refused(tmp_path: Path) -> None:
    path = scored_csv(tmp_path, [("PASS", "0.1"), ("short", "0.8")])
    path.write_text(path.read_text() + "in,gold,PASS,C0,0004,0.1\n")
    with pytest.raises(InputError, match=r"line 4: same .* as line 2"):
        analyze(path)


def test_a_missing_column_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"column score missing.*--score-column"):
        analyze(usual(tmp_path), score_column="score")


def test_an_unquoted_comma_does_not_shift_columns(tmp_path: Path) -> None:
    path = tmp_path / "inference.csv"
    path.write_text("object_name,label,siamese_score\nR1, red,PASS,0.1\nR2, red,short,0.9\n")
    with pytest.raises(InputError, match="more cells than the header"):
        analyze(path)


def test_an_empty_row_is_refused_with_its_line(tmp_path: Path) -> None:
    path = scored_csv(tmp_path, [("PASS", "0.1"), ("short", "0.8")])
    for text, says in (
        (path.read_text().replace("in,gold,short", "\nin,gold,short"), "line 3: label ''"),
        (path.read_text() + ",,,,,\n", "line 4: label ''"),
        (path.read_text() + "in,gold\n", "line 4: 2 cells, the header has 6"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(InputError, match=says):
            analyze(tmp_path / "bad.csv")


def test_line_numbers_count_line_breaks_inside_cells(tmp_path: Path) -> None:
    path = tmp_path / "inference.csv"
    path.write_text('object_name,label,siamese_score\n"a\nb",PASS,0.1\nC1,short,0.9\nC2,PASS,0.2\nC3,PASS,nan\n')
    with pytest.raises(InputError, match="line 6: score nan"):
        analyze(path)
    path.write_text(path.read_text().replace("nan", "0.3"))
    assert analyze(path)["threshold_set_by"]["line"] == 4


def test_the_same_part_under_two_lights_is_no_repeat(tmp_path: Path) -> None:
    path = tmp_path / "inference.csv"
    rows = [f"in,gold,{label},C{n},{light},{score}" for n, label, score in ((1, "PASS", 0.1), (2, "short", 0.9))
            for light in ("White", "Solder")]  # fmt: skip
    path.write_text("\n".join(["input_path,golden_path,label,object_name,light,siamese_score", *rows]) + "\n")
    record = analyze(path)
    assert [(row["name"], row["n_pass"]) for row in record["by_light"]["rows"]] == [("Solder", 1), ("White", 1)]


def test_groups_count_what_the_threshold_does(tmp_path: Path) -> None:
    path = tmp_path / "inference.csv"
    path.write_text(
        "label,boardname,part_type,siamese_score\nPASS,b1,R,0.1\nPASS,b1,C,0.6\nPASS,b2,C,0.2\nshort,b2,C,0.5\n"
        "open,b1,R,0.9\n"
    )
    record = analyze(path)
    keys = ("name", "false_calls", "n_pass", "n_defect", "far")
    boards = [tuple(row[key] for key in keys) for row in record["by_board"]["rows"]]
    assert boards == [("b1", 1, 2, 1, 0.5), ("b2", 0, 1, 1, 0.0)]
    assert record["by_component"]["column"] == "part_type"
    assert record["by_light"] is None
    assert record["by_label"]["short"]["far"] == pytest.approx(1 / 3)
    assert record["by_label"]["open"]["far"] == 0.0
    assert record["boards"]["boards"] == 2


def test_pictures_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    path = usual(tmp_path)
    for name in ("one", "two"):
        write_analysis(path, tmp_path / name)
    for name in FILES:
        if name.endswith((".png", ".svg")):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert "<svg" in (tmp_path / "one/roc_curve.svg").read_text()
