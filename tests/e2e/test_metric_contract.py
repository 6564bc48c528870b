"""NVIDIA's metric contract: the user's own metric with constraints, from a command or from an artifact."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.kpi.gate import better, judge
from deft_aoi.kpi.judged import standing
from deft_aoi.kpi.metric_contract import canonical, checked_result, contract_record, parse_contract
from loop_cli import ROWS, deft, entries
from real_loops import approved_code
from small_workspace import make_workspace

EVALUATOR = """
import csv, json, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
rows = list(csv.DictReader(open(given["--inference-csv"])))
wrong = [r for r in rows if (r["label"] == "PASS") == (float(r["siamese_score"]) > 0.5)]
caught = [float(r["siamese_score"]) > 0.5 for r in rows if r["label"] != "PASS"]
json.dump({"name": "weighted_cost", "value": len(wrong) / len(rows) * float(given["--weight"]), "unit": "cost/board",
           "threshold": 0.5, "constraints": {"recall_pct": 100 * sum(caught) / len(caught)}, "passed": True,
           "diagnostics": {"rows": len(rows)}}, open(given["--output-json"], "w"))
"""


def contract(**more: Any) -> dict[str, Any]:
    recall = {"name": "recall_pct", "display_name": "Recall", "operator": ">=", "target": 60.0, "unit": "%"}
    return {
        "name": "weighted_cost", "display_name": "Weighted cost", "operator": "<=", "target": 0.0,
        "unit": "cost/board", "evaluator": {"type": "command", "path": "/m/e.py", "args": []}, "constraints": [recall],
        **more,
    }  # fmt: skip


def begun(root: Path, record: dict[str, Any]) -> Path:
    (root / "metrics").mkdir(exist_ok=True)
    (root / "metrics/contract.json").write_text(json.dumps(record))
    words = ("--max-iterations", "1", "--mine-rows", "12", "--screen", "off", "--num-epochs", "2")
    shown = deft("preflight", "--workspace", root, *words, "--metric-contract", root / "metrics/contract.json").stdout
    assert "| kpi_target | Weighted cost <= 0 cost/board and Recall >= 60% | user |" in shown
    started = deft("start", "--workspace", root, "--approve", approved_code(shown))
    return Path(started.stdout.split("\n")[0].removeprefix("started "))


def test_a_command_judges_every_checkpoint_and_its_result_is_kept(tmp_path: Path, null_engine_here: None) -> None:
    root = make_workspace(tmp_path / "ws", counts=(ROWS, 24, 48, 60))
    path = root / "metrics/evaluate.py"
    path.parent.mkdir()
    path.write_text(EVALUATOR)
    given = {"type": "command", "path": str(path), "args": ["--weight", "2.5"]}
    run = begun(root, contract(evaluator=given))
    deft("run", "--results-dir", run)
    first = next(e for e in entries(run) if e["stage"] == "evaluate")
    facts = first["facts"]
    result = json.loads((run / "baseline/inference" / facts["best_ckpt_kind"] / "metric_result.json").read_text())
    assert facts["metric_result"] == result
    assert facts["threshold"] == 0.5
    assert facts["measured"]["weighted_cost"] == result["value"] > 0
    assert facts["met"] is False  # whatever `passed` says
    assert first["summary"].startswith(f"weighted_cost {result['value']:.6g}, recall_pct")
    state = json.loads((run / "deft_state.json").read_text())
    assert state["metric_contract"] == contract(evaluator=given)
    assert state["iterations"]["iter1"]["metric_result"]["name"] == "weighted_cost"
    assert entries(run)[-1]["stage"] == "loop_stop"
    assert deft("verify", "--results-dir", run).stdout.startswith("verified")
    assert "Weighted cost" in (run / "DEFT_Loop_Report.html").read_text()
    path.write_text(EVALUATOR + "# other\n")
    said = deft("verify", "--results-dir", run, check=2)
    assert "metrics/evaluate.py: changed since the Summary was approved" in said.stdout + said.stderr


def test_an_artifact_is_waited_for_and_nothing_else_is_taken(tmp_path: Path, null_engine_here: None) -> None:
    root = make_workspace(tmp_path / "ws", counts=(ROWS, 24, 48, 60))
    template = str(tmp_path / "factory/{iter_label}/metric_result.json")
    wanted = tmp_path / "factory/baseline/metric_result.json"
    wanted.parent.mkdir(parents=True)
    given = {"name": "weighted_cost", "value": 0.0, "unit": "cost/board", "constraints": {"recall_pct": 61}}
    wanted.write_text(json.dumps(given))
    os.utime(wanted, (1, 1))
    record = contract(evaluator={"type": "artifact", "producer": "factory-quality", "path_template": template})
    run = begun(root, record)
    deft("step", "--results-dir", run)
    waiting = deft("step", "--results-dir", run, "--wait", "0", check=75).stdout
    assert f"waits for {wanted} from factory-quality: the one there is older than the scores" in waiting
    wanted.unlink()
    assert (
        f"waits for {wanted} from factory-quality" in deft("step", "--results-dir", run, "--wait", "0", check=75).stdout
    )
    assert len(entries(run)) == 1
    wanted.write_text(json.dumps(given))
    deft("step", "--results-dir", run)
    assert entries(run)[-1]["facts"]["met"] is True
    assert [e["stage"] for e in entries(run)] == ["train", "evaluate"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"operator": "=="}, "operator is '=='; expected one of <, <=, >, >="),
        ({"target": "0.02"}, "target is '0.02'; expected a finite number"),
        ({"evaluator": {"type": "command", "path": "e.py"}}, "evaluator.path is 'e.py'; expected an absolute path"),
        ({"evaluator": {"type": "artifact", "path_template": "/m/x.json"}}, "an absolute path with {iter_label}"),
        ({"evaluator": {"type": "rest"}}, "evaluator.type is 'rest'; expected builtin, command or artifact"),
        ({"evaluator": {"type": "builtin", "id": "f1"}}, "this skill has far_at_recall of far_pct in %"),
        ({"constraints": [{"name": "weighted_cost", "operator": "<", "target": 1}]}, "have the same name"),
        ({"constraints": [{"name": "x"}]}, r"constraints\[0\]: expected an object with name, operator"),
    ],
)  # fmt: skip
def test_a_contract_that_is_none_is_refused_by_its_key(more: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_contract(json.dumps(contract(**more)), "contract.json")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"name": "cost"}, "name is 'cost'; the contract says 'weighted_cost'"),
        ({"unit": "cost"}, "unit is 'cost'; the contract says 'cost/board'"),
        ({"value": "1"}, "value is '1'; expected a finite number"),
        ({"constraints": {}}, "constraints.recall_pct is None; expected a finite number"),
        ({"threshold": "low"}, "threshold is 'low'"),
    ],
)
def test_a_result_that_does_not_fit_the_contract_is_refused(more: dict[str, Any], says: str) -> None:
    good = {"name": "weighted_cost", "value": 1, "unit": "cost/board", "constraints": {"recall_pct": 99}}
    asked = parse_contract(json.dumps(contract()), "c")
    assert checked_result(json.dumps(good).encode(), asked, "r").measured == {"weighted_cost": 1.0, "recall_pct": 99.0}
    with pytest.raises(InputError, match=says):
        checked_result(json.dumps(good | more).encode(), asked, "r")


def test_the_bank_s_builtin_is_our_own_target() -> None:
    recall = {"name": "recall_pct", "operator": ">=", "target": 100, "unit": "%"}
    given = {"name": "far_pct", "operator": "<", "target": 10, "unit": "%", "evaluator": {"type": "builtin"}}
    asked = parse_contract(json.dumps(given | {"constraints": [recall]}), "c")
    assert asked.text == "FAR < 10% at recall = 100%"
    written = contract_record(asked)
    assert written is not None
    assert parse_contract(json.dumps(written), "c") == asked
    assert canonical(parse_contract(json.dumps(contract()), "c")) == json.dumps(contract(), sort_keys=True)


def test_who_keeps_the_constraints_comes_before_who_has_the_better_value() -> None:
    asked = parse_contract(json.dumps(contract(target=0.5)), "c")

    def facts(value: float, recall: float) -> dict[str, Any]:
        counts = {"false_calls": 1, "misses": 0, "n_pass": 10, "n_defect": 10, "far_995_pct": 10.0, "auroc": 1.0}
        return counts | {"measured": {"weighted_cost": value, "recall_pct": recall}}

    kept, cheap, cheaper = (standing(asked, facts(*one)) for one in ((0.9, 70), (0.1, 50), (0.05, 40)))
    assert better(kept, cheap)
    assert better(cheaper, cheap)  # where none keeps them, the best value is kept
    verdict = judge(asked, 1, 10, 0, 10, {"weighted_cost": 0.05, "recall_pct": 40.0})
    assert (verdict.met, verdict.status) == (False, "FAIL")
