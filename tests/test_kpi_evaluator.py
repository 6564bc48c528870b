"""A user's own evaluator: run for real on a scored CSV, its bytes approved, its refusals one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import sha256_file
from deft_aoi.kpi.evaluator import evaluator_file, measure
from deft_aoi.kpi.target import parse_target

COST = """
import csv, json, os, sys
path, threshold = sys.argv[1], float(sys.argv[2])
rows = list(csv.DictReader(open(path)))
calls = sum(row["label"] == "PASS" and float(row["siamese_score"]) > threshold for row in rows)
print(json.dumps({"line_cost": 3.0 * calls / len(rows), "secrets": [n for n in os.environ if "TOKEN" in n]}))
"""


def workspace(root: Path, script: str, name: str = "kpi/evaluate.py") -> tuple[Path, dict[str, str]]:
    (root / "kpi").mkdir(exist_ok=True)
    (root / name).write_text(script)
    (root / "scores.csv").write_text("label,siamese_score\nPASS,0.1\nPASS,0.7\nshort,0.9\n")
    return root.resolve(), {name: sha256_file(root / name)}


def run(
    root: Path, approved: dict[str, str], target: str = "command: kpi/evaluate.py line_cost < 2"
) -> dict[str, float]:
    return measure(parse_target(target), root, root / "scores.csv", 0.5, approved)


def test_the_number_is_what_the_program_prints(tmp_path: Path) -> None:
    assert run(*workspace(tmp_path, COST)) == {"line_cost": 1.0}
    with_bound = 'print(\'{"line_cost": 1, "line_cost_bound": 1.5}\')'
    assert run(*workspace(tmp_path, with_bound)) == {"line_cost": 1.0, "line_cost_bound": 1.5}


def test_it_sees_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "x")
    root, approved = workspace(tmp_path, COST.replace('"secrets":', '"seen": 0, "line_cost_bound": 0.0 +').replace(
        '[n for n in os.environ if "TOKEN" in n]', 'len([n for n in os.environ if "TOKEN" in n])'))  # fmt: skip
    assert run(root, approved)["line_cost_bound"] == 0.0


def test_a_changed_program_is_refused(tmp_path: Path) -> None:
    root, approved = workspace(tmp_path, COST)
    (root / "kpi/evaluate.py").write_text(COST + "# cheaper\n")
    with pytest.raises(InputError, match="changed since the Summary was approved"):
        run(root, approved)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import sys; sys.exit('no scores')", "exit 1: no scores"),
        ("print('fine')", "printed no JSON"),
        ("print('[1]')", "printed list; expected a JSON object"),
        ("print('{}')", "line_cost is None; expected a finite number"),
        ("print('{\"line_cost\": NaN}')", "line_cost is nan"),
        ("print('{\"line_cost\": true}')", "line_cost is True"),
    ],
)
def test_what_it_may_not_print(tmp_path: Path, script: str, says: str) -> None:
    with pytest.raises(InputError, match=says.replace("[", r"\[")):
        run(*workspace(tmp_path, script))


@pytest.mark.parametrize("name", ["/bin/true", "../evaluate.py", "results/evaluate.py", "augmentation/evaluate.py"])
def test_it_lies_in_the_workspace_where_nothing_changes(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="expected a path relative to"):
        evaluator_file(tmp_path.resolve(), name)


def test_a_program_that_cannot_be_run_says_what_to_type(tmp_path: Path) -> None:
    root, _ = workspace(tmp_path, "echo", "kpi/evaluate.sh")
    with pytest.raises(InputError, match="chmod"):
        evaluator_file(root, "kpi/evaluate.sh")
    with pytest.raises(InputError, match="no such file"):
        evaluator_file(root, "kpi/none.py")
