"""`--rca-source validation`: gap analysis, routing and mining look at the validation rows; the KPI set only judges."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

import inside
from loop_cli import entries
from small_workspace import make_workspace


def deft(*arguments: object, code: int = 0) -> str:
    return inside.deft(*arguments, check=code, env={"DEFT_LINES": "all"}).stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, null_engine_in_module: None) -> Path:
    """A run on a tiny line up to the routing of iteration 1, the pool without one defect of the validation set."""
    root = make_workspace(tmp_path_factory.mktemp("source") / "ws", seed=4, counts=(24, 40, 40, 50))
    pool = root / "augmentation/mining_pool/mining_pool.csv"
    rows = pd.read_csv(pool)
    rows[rows["label"] != "shift"].to_csv(pool, index=False)
    shown = deft(
        "preflight", "--workspace", str(root), "--max-iterations", "1", "--num-epochs", "2", "--mine-rows", "12",
        "--policy", "knn", "--rca-source", "validation", "--kpi-target", "FAR <= 0% at recall = 100%",
    )  # fmt: skip
    assert "| rca_source | validation | user |" in shown
    assert "Gap analysis looks at the validation rows: the KPI set chooses threshold" in shown
    code = re.search(r"--approve (\w+)", shown)
    assert code
    started = deft("start", "--workspace", str(root), "--approve", code[1])
    run = Path(started.split("\n")[0].removeprefix("started "))
    for _ in range(7):
        deft("step", "--wait", "300", "--results-dir", str(run))
    return run


def facts(run: Path, stage: str) -> dict:
    return [line["facts"] for line in entries(run) if line["stage"] == stage][-1]


def test_no_kpi_row_asks_for_anything(run: Path) -> None:
    gaps = pd.read_parquet(facts(run, "rca")["rca_gaps_parquet"])
    held = pd.read_csv(run.parents[1] / "train/base/validation_set.csv", dtype=str)
    assert set(gaps["object_name"]) <= set(held["object_name"])
    assert set(gaps["input_path"].str[0]) == {"V"}
    assert facts(run, "rca")["rca_source"] == "validation"
    mined = pd.read_parquet(facts(run, "data_mining")["mining_mined_parquet"])
    assert mined["target_filepath"].str.contains("/V").all()


def test_routing_tells_coverage_and_a_forecast_that_mining_keeps(run: Path) -> None:
    routing = facts(run, "routing")
    by_label = {entry["label"]: entry for entry in routing["coverage"]}
    assert by_label["shift"]["goes_to"] == []
    assert "collect such samples" in by_label["shift"]["reason"]
    assert by_label["missing"]["training"] > 0
    text = next((run / "iter1/routing_results").glob("*/routing_summary.txt")).read_text()
    assert "Forecast, before any image is compared: at most" in text
    kept = facts(run, "data_mining")["by_label"]
    for name, entry in by_label.items():
        assert entry["forecast"] <= entry["pool"], name
        assert kept.get(name, {"kept": 0})["kept"] <= entry["pool"], name
    assert facts(run, "data_mining")["kept"] <= routing["forecast_rows"] <= 12


def test_what_the_pool_lacks_is_asked_for_by_name_number_and_place(run: Path) -> None:
    """`shift` holds the threshold down and the pool has none: mining cannot help, so a person is asked."""
    held = {one["label"]: one for one in facts(run, "rca")["holders"]}
    asked = {one["label"]: one for one in facts(run, "routing")["requests"]}
    assert asked["shift"]["unused"] == 0
    assert asked["shift"]["rows"] == -(-6 // len(held))  # half of the 12 rows of one mining, shared by the holders
    line = next(one["summary"] for one in entries(run) if one["stage"] == "routing")
    assert f"{asked['shift']['rows']} shift" in line.partition("collect ")[2]
    text = next((run / "iter1/routing_results").glob("*/routing_summary.txt")).read_text()
    assert f"Collect {asked['shift']['rows']} parts with the defect shift: the pool has none left" in text
    assert held["shift"]["hardest"] in text


def test_what_the_sheet_shows_flows_into_the_review(run: Path) -> None:
    deft("spot-check", "--results-dir", str(run), "--verdict", "1=mislabeled", "--verdict", "2=edge_case",
         "--note", "1=a good part")  # fmt: skip
    review = pd.read_csv(run / "label_review.csv", dtype=str, keep_default_na=False)
    judged = review[review["verdict"] != ""]
    assert sorted(judged["verdict"]) == ["edge case", "mislabeled"]
    assert set(judged["set"]) == {"validation"}
    assert "a good part" in set(judged["note"])
    deft("spot-check", "--results-dir", str(run), "--verdict", "1=systematic")
    again = pd.read_csv(run / "label_review.csv", dtype=str, keep_default_na=False)
    assert len(again) == len(review), "a second look changes the verdict, it adds no row"
    kept = json.loads(next(run.glob("*/rca_results/*/spot_check.json")).read_text())["verdicts"]
    assert [(one["row"], one["verdict"]) for one in kept] == [(1, "systematic"), (2, "edge case")]
    assert deft("verify", "--results-dir", str(run)).startswith("verified")
