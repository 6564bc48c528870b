"""deft rca and deft spot-check on a small scored set: every file of the contract, planted causes, a checked sheet."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import inside
from deft_aoi.rca.contact_sheet import contact_sheet
from deft_aoi.rca.tables import component_column, tables
from engine_set import LIGHTS, SIZE, make_rows, make_set

COUNT, DEFECTS = 48, 12


@dataclass(frozen=True)
class Case:
    root: Path
    csv: Path
    output: Path
    weak: pd.DataFrame


def deft(*arguments: object) -> inside.Done:
    return inside.deft(*arguments, check=None, env={"DEFT_LINES": "all"})


def scored_rows(root: Path) -> Path:
    """A scored set: one good part called a bridge, one lit badly, one photographed 9 pixels off."""
    csv = make_rows(root, "kpi", COUNT, seed=3, defects=DEFECTS)
    rows = pd.read_csv(csv, dtype=str).sort_values("object_name", ignore_index=True)
    rng = np.random.default_rng(0)
    rows["siamese_score"] = np.where(rows["label"] == "PASS", rng.uniform(0, 0.5, COUNT), rng.uniform(0.6, 1, COUNT))
    rows["boardname"] = [f"B{n % 6}" for n in range(COUNT)]
    rows["comp_type_1"] = ["RES" if n % 2 else "CAP" for n in range(COUNT)]
    rows["part_type"], rows["project"] = "R1", "P"
    rows.loc[COUNT - 1, ["label", "siamese_score"]] = ["bridge", 0.05]  # the mislabelled part sets the threshold
    rows.loc[COUNT - 2, "siamese_score"] = rows.loc[COUNT - 3, "siamese_score"] = 0.9
    for light in LIGHTS:
        dark, moved = (root / "images/kpi/test" / f"kpi{n:03d}_{light}.png" for n in (COUNT - 2, COUNT - 3))
        cv2.imwrite(str(dark), (cv2.imread(str(dark)) * 0.55).astype(np.uint8))
        shift = np.array([[1, 0, 11], [0, 1, 0]], np.float32)
        picture = cv2.imread(str(moved))
        cv2.imwrite(str(moved), cv2.warpAffine(picture, shift, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE))
    rows.to_csv(root / "inference.csv", index=False)
    return root / "inference.csv"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    root = tmp_path_factory.mktemp("rca")
    spec = make_set(root)
    csv, output = scored_rows(root), root / "out"
    done = deft(
        "rca", csv, "--images-dir", root / "images", "--spec", spec, "--output", output,
        "--training-csv", root / "train.csv", "--top-k-per-label", 20,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "held by bridge kpi047" in done.stdout
    return Case(root, csv, output, pd.read_csv(output / "weak_samples.csv", dtype=str, keep_default_na=False))


def test_every_file_of_the_contract_is_there(case: Case) -> None:
    gaps = pd.read_parquet(case.output / "kpi_gaps.parquet")
    assert {"filepath", "label", "siamese_score", "weakness"} <= set(gaps.columns)
    assert len(gaps) == len(LIGHTS) * len(case.weak), "one row a light"
    assert all(Path(name).is_file() for name in gaps["filepath"])
    threshold = float((case.output / "threshold.txt").read_text())
    assert threshold < 0.05
    metrics = json.loads((case.output / "metrics.json").read_text())
    assert metrics["rca_threshold"] == threshold
    assert metrics["rca_target_defects"] == ["bridge"]
    assert sum(count["weak"] for count in metrics["causes"].values()) == len(case.weak)
    text = (case.output / "weak_samples_breakdown.txt").read_text()
    for part in ("By label:", "By board:", "By component:", "By light:", *LIGHTS):
        assert part in text


@pytest.mark.parametrize(
    ("number", "cause"), [(COUNT - 1, "label suspect"), (COUNT - 2, "light drift"), (COUNT - 3, "misregistered")]
)
def test_planted_causes_are_proposed(case: Case, number: int, cause: str) -> None:
    row = case.weak[case.weak["object_name"] == f"kpi{number:03d}"].iloc[0]
    assert row["cause"] == cause, row["evidence"]


def test_the_sheet_shows_ten_rows_with_all_lights(case: Case) -> None:
    sheet = cv2.imread(str(case.output / "rca_images/contact_sheet.png"))
    shown = case.weak[case.weak["sheet_row"] != ""]
    assert len(shown) == 10
    assert set(shown["label"]) == {"PASS", "bridge"}
    assert sheet.shape[0] > 10 * 128
    assert sheet.shape[1] > 300 + 6 * 128, "test, golden and difference under two lights"


def test_tables_add_up_and_say_why_one_is_missing(case: Case) -> None:
    boards = pd.read_csv(case.output / "by_board.csv")
    assert (boards["rows"].sum(), boards["weak"].sum()) == (COUNT, len(case.weak))
    assert boards["false_calls"].is_monotonic_decreasing or boards["escapes"].is_monotonic_decreasing
    scored = pd.read_csv(case.csv, dtype=str).assign(siamese_score=lambda rows: rows["siamese_score"].astype(float))
    weak = scored.head(4).assign(cause="model")
    assert tables(scored.assign(boardname=""), weak, 0.5)["board"] == "the CSV names no boards"
    assert tables(scored.assign(boardname="B1"), weak, 0.5)["board"] == "all rows are of one board (B1)"
    assert component_column(scored.drop(columns="comp_type_1")) is None


def test_many_lights_wrap_and_unreadable_files_show_a_cross(case: Case, tmp_path: Path) -> None:
    gaps = pd.read_parquet(case.output / "kpi_gaps.parquet")
    sample = gaps.head(2)
    many = pd.concat([sample] * 4, ignore_index=True).assign(light=[f"Light{n}" for n in range(8)])
    many.loc[3, "filepath"] = str(tmp_path / "none.png")
    contact_sheet([many], tmp_path / "sheet.png")
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture.shape[1] < 1400, "three lights a line"
    assert picture.shape[0] > 3 * 112


def test_spot_check_is_checked_and_written(case: Case) -> None:
    row = case.weak[case.weak["object_name"] == f"kpi{COUNT - 1:03d}"].iloc[0]["sheet_row"]
    assert row, "the part that sets the threshold is on the sheet"
    done = deft("spot-check", "--rca-dir", case.output, "--verdict", f"{row}=mislabeled", "--note", f"{row}=looks good")
    assert done.returncode == 0, done.stderr
    record = json.loads((case.output / "spot_check.json").read_text())
    assert record["verdicts"] == [{"row": int(row), "verdict": "mislabeled", "note": "looks good"}]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--verdict", "3=wrong"), "'wrong' is not one of"),
        (("--verdict", "99=mislabeled"), "row 99 is not on the contact sheet; it shows rows 1 to 10"),
        (("--verdict", "1=mislabeled", "--verdict", "1=systematic"), "row 1 is judged twice"),
        (("--verdict", "mislabeled"), "expected ROW=TEXT"),
        (("--verdict", "1=systematic", "--note", "2=dark"), "row 2 has no verdict"),
        ((), "pass either --verdict"),
    ],
)
def test_a_bad_spot_check_is_refused_in_one_line(case: Case, flags: tuple[str, ...], says: str) -> None:
    before = (case.output / "spot_check.json").read_bytes() if (case.output / "spot_check.json").is_file() else b""
    done = deft("spot-check", "--rca-dir", case.output, *flags)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (not before) or (case.output / "spot_check.json").read_bytes() == before


def test_a_set_of_one_class_is_unreachable(case: Case, tmp_path: Path) -> None:
    rows = pd.read_csv(case.csv, dtype=str)
    rows[rows["label"] == "PASS"].to_csv(tmp_path / "passes.csv", index=False)
    done = deft("rca", tmp_path / "passes.csv", "--images-dir", case.root / "images", "--spec", case.root / "spec.yaml",
                "--output", tmp_path / "out")  # fmt: skip
    assert done.returncode == 3
    assert "recall" in (tmp_path / "out/unreachable_kpi.txt").read_text()
    assert not (tmp_path / "out/kpi_gaps.parquet").exists()
