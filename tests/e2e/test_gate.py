"""Acceptance, noise floor, a user's evaluator, rollback and reuse: one loop on a tiny line, as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deft_aoi.base.paths import Workspace
from deft_aoi.record.acceptance_ledger import openings
from inside import InsideExecutor, jobs_by
from loop_cli import begin, deft, entries
from real_loops import Loop
from small_workspace import make_workspace

TARGET = "FAR <= 1% at recall = 100% and command: kpi/calls.py calls_per_board < 0.5"
CALLS = """
import csv, json, sys
rows, threshold = list(csv.DictReader(open(sys.argv[1]))), float(sys.argv[2])
calls = sum(row["label"] == "PASS" and float(row["siamese_score"]) > threshold for row in rows)
print(json.dumps({"calls_per_board": calls / len({row["boardname"] for row in rows})}))
"""


def facts(run: Path, stage: str, label: str | None = None) -> list[dict[str, Any]]:
    return [e["facts"] for e in entries(run) if e["stage"] == stage and label in (None, e["iter"])]


@pytest.fixture(autouse=True, scope="module")
def null_engine(null_engine_in_module: None) -> None:
    """What is tested here is what is made of scores."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_workspace(tmp_path_factory.mktemp("gate") / "ws", counts=(24, 24, 48, 60), acceptance=48)
    (root / "kpi/calls.py").write_text(CALLS)
    run = begin(root, kpi_target=TARGET, noise_floor="")
    deft("run", "--results-dir", str(run))
    return run


def test_the_set_is_opened_once_at_the_end_by_the_best_model(finished: Path) -> None:
    log = entries(finished)
    assert [e["stage"] for e in log[-2:]] == ["acceptance", "loop_stop"]
    (found,) = facts(finished, "acceptance")
    best = json.loads((finished / "best_model.json").read_text())
    assert (found["opening"], found["model"], found["threshold"]) == (1, best["iteration"], best["threshold"])
    scored = pd.read_csv(finished / "acceptance/opening_1/inference.csv", keep_default_na=False)
    assert len(scored) == 48
    called = scored["siamese_score"] > found["threshold"]
    passes = scored["label"] == "PASS"
    assert (found["false_calls"], found["misses"]) == (int((called & passes).sum()), int((~called & ~passes).sum()))
    assert best["acceptance"]["far_upper_pct"] == found["far_upper_pct"] >= found["far_pct"]
    assert [one["run"] for one in openings(Workspace.at(finished.parents[1]))] == [finished.name]
    assert deft("verify", "--results-dir", str(finished)).stdout.startswith("verified: ")


def test_its_rows_are_in_no_other_set(finished: Path) -> None:
    for label in ("iter1", "iter2"):
        merged = json.loads((finished / f"{label}/dataset/merge_validation.json").read_text())
        assert merged["acceptance_rows_compared"] == 48


def test_the_evaluator_speaks_at_every_evaluation(finished: Path) -> None:
    for found in [*facts(finished, "evaluate"), *facts(finished, "acceptance")]:
        clause = next(c for c in found["gate"]["clauses"] if c["name"] == "calls_per_board")
        assert clause["value"] == found["false_calls"] / 4
    plan = json.loads((finished / "preflight.json").read_text())
    assert "kpi/calls.py" in plan["inputs"]


def test_two_baselines_give_the_noise_floor_and_iterations_are_held_against_the_best(finished: Path) -> None:
    floor = facts(finished, "evaluate", "baseline")[0]["noise_floor"]
    assert floor["seeds"] == [7, 8]
    assert floor["difference_pp"] == abs(floor["far_pct"][0] - floor["far_pct"][1])
    for label in ("iter1", "iter2"):
        found = facts(finished, "evaluate", label)[0]["against_champion"]
        assert found["compared"]
        assert found["difference"]["drawn"] == "boards"
        assert found["difference"]["low_pp"] <= found["difference"]["high_pp"]


def test_a_rollback_hands_the_other_model_over_and_loses_nothing(finished: Path) -> None:
    best = json.loads((finished / "best_model.json").read_text())["iteration"]
    other = "iter1" if best != "iter1" else "iter2"
    assert (
        "another evaluated one"
        in deft("rollback", "--results-dir", str(finished), "--to", "iter9", "--reason", "x", check=2).stderr
    )
    done = deft("rollback", "--results-dir", str(finished), "--to", other, "--reason", "fewer bridges")
    assert f"rolled back from {best} to {other} · next: deft step (iter2/loop_stop)" in done.stdout
    deft("step", "--results-dir", str(finished), check=10)
    assert json.loads((finished / "best_model.json").read_text())["iteration"] == other
    assert json.loads((finished / "best_model.json").read_text())["acceptance"] is None
    assert json.loads((finished / f"best_model.{best}.json").read_text())["iteration"] == best
    assert [e["stage"] for e in entries(finished)[-2:]] == ["rollback", "loop_stop"]

    deft("rollback", "--results-dir", str(finished), "--to", best, "--reason", "after all")
    deft("step", "--results-dir", str(finished), check=10)
    deft("rollback", "--results-dir", str(finished), "--to", other, "--reason", "look", "--open-acceptance")
    deft("step", "--results-dir", str(finished), "--wait", "60")
    assert facts(finished, "acceptance")[-1]["opening"] == 2
    assert "opened AGAIN" in entries(finished)[-1]["summary"]
    deft("step", "--results-dir", str(finished), check=10)
    assert json.loads((finished / "best_model.json").read_text())["acceptance"]["opening"] == 2
    assert deft("verify", "--results-dir", str(finished)).stdout.startswith("verified: ")
    proof = json.loads((finished / "report.json").read_text())["proof"]
    assert [one["opening"] for one in proof["acceptance"]] == [1, 2]
    assert [one["to"] for one in proof["rollbacks"]] == [other, best, other]
    assert [one["label"] for one in proof["challengers"]] == ["iter1", "iter2"]
    page = (finished / "DEFT_Loop_Report.html").read_text()
    for words in ("no longer sealed: this is opening 2", "Noise floor:", "Rolled back from", "What is proven"):
        assert words in page
    before = (finished / "deft_state.json").read_bytes()
    deft("rebuild-state", "--results-dir", str(finished))
    assert (finished / "deft_state.json").read_bytes() == before


def test_the_next_run_of_the_workspace_says_how_often_the_set_was_opened(finished: Path) -> None:
    shown = deft("preflight", "--workspace", str(finished.parents[1]), "--max-iterations", "1")
    assert "acceptance_set.csv: 48 rows, 16 defects, sealed; already opened 2 times" in shown.stdout
    assert "| acceptance | 48 | 32 |" in shown.stdout


def test_new_rows_are_decided_with_and_without_labels(knn_loop: Loop, tmp_path: Path) -> None:
    """By the real engine: a row without a label gets the score that it had with one."""
    finished = knn_loop.path
    rows = pd.read_csv(finished.parents[1] / "kpi/testing_set.csv", dtype=str, keep_default_na=False)
    rows.drop(columns=["label"]).to_csv(tmp_path / "new.csv", index=False)
    model = str(finished / "best_model.json")
    with jobs_by(InsideExecutor):
        done = deft("score", "--model", model, "--csv", tmp_path / "new.csv", "--json")
    record = json.loads(done.stdout)
    assert sum(record["decisions"].values()) == record["rows"] == 48
    assert record["decisions"]["REVIEW"] >= 1
    assert record["labelled"] is None
    decided = pd.read_csv(tmp_path / "new_scored/decisions.csv", keep_default_na=False)
    kpi = pd.read_csv(json.loads(Path(model).read_text())["kpi_scores"], keep_default_na=False)
    assert decided["siamese_score"].tolist() == kpi["siamese_score"].tolist()
    low, high = record["band"]
    assert low <= record["threshold"] < high
    inside = decided["siamese_score"].between(low, high)
    assert (inside == (decided["decision"] == "REVIEW")).all()
    assert ((decided["siamese_score"] > record["threshold"]) == (decided["by_threshold"] == "NO_PASS")).all()

    (tmp_path / "scored").mkdir()
    kpi.to_csv(tmp_path / "scored/again.csv", index=False)
    told = deft("score", "--model", model, "--csv", str(tmp_path / "scored/again.csv")).stdout
    assert "labels say: " in told
    assert " 0 of 16 defects escape" in told


def test_a_changed_checkpoint_is_not_used(finished: Path, tmp_path: Path) -> None:
    model = json.loads((finished / "best_model.json").read_text())
    other = tmp_path / "other.pth"
    other.write_bytes(Path(model["checkpoint"]).read_bytes() + b"x")
    (tmp_path / "best_model.json").write_text(json.dumps(model | {"checkpoint": str(other)}))
    shutil.copy(finished.parents[1] / "kpi/testing_set.csv", tmp_path / "new.csv")
    done = deft("score", "--model", str(tmp_path / "best_model.json"), "--csv", str(tmp_path / "new.csv"), check=2)
    assert "not the checkpoint that" in done.stderr


def test_a_changed_set_or_evaluator_is_a_hard_stop(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", counts=(24, 24, 48, 60), acceptance=24)
    (root / "kpi/calls.py").write_text(CALLS)
    run = begin(root, kpi_target=TARGET, max_iterations="1")
    while entries_after(run) not in ("iter1/evaluate",):
        deft("step", "--results-dir", str(run), "--wait", "60")
    kept = (root / "kpi/acceptance_set.csv").read_text()
    (root / "kpi/acceptance_set.csv").write_text("\n".join(kept.splitlines()[:-1]) + "\n")
    stopped = deft("step", "--results-dir", str(run), "--wait", "60", check=3)
    assert "HARD STOP acceptance_changed" in stopped.stdout
    assert not (root / "results/acceptance_openings.jsonl").exists()
    (root / "kpi/acceptance_set.csv").write_text(kept)
    (root / "kpi/calls.py").write_text(CALLS + "# other bytes\n")
    deft("resolve", "--results-dir", str(run), "--reason", "put back")
    stopped = deft("step", "--results-dir", str(run), "--wait", "60", check=3)
    assert "changed since the Summary was approved" in stopped.stdout
    assert "kpi/calls.py: changed since the Summary" in deft("verify", "--results-dir", str(run), check=2).stdout
    (root / "kpi/calls.py").write_text(CALLS)
    deft("resolve", "--results-dir", str(run), "--reason", "put back")
    deft("step", "--results-dir", str(run), "--wait", "60")
    assert facts(run, "acceptance")[-1]["opening"] == 1, "the same model again is the same opening"
    assert (
        "under way" in deft("rollback", "--results-dir", str(run), "--to", "baseline", "--reason", "x", check=2).stderr
    )


def entries_after(run: Path) -> str:
    log = entries(run) if (run / "loop_log.jsonl").is_file() else []
    return f"{log[-1]['iter']}/{log[-1]['stage']}" if log else ""
