"""The examiner of whole tasks: on a run that was really completed, one that was not, and one that broke the gate."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

import inside
import null_engine as null_engine_module
from deft_aoi.executors.base import Task
from null_jobs import NullExecutor, NullJobs

ROOT = Path(__file__).resolve().parents[1]
EVALS = json.loads((ROOT / "evals/evals.json").read_text())


SMALL = {"boards": "6", "rows_per_board": "40"}


def load() -> ModuleType:
    """The examiner, asking this process instead of the launcher."""
    sys.path.insert(0, str(ROOT / "evals"))  # as for a script of that folder
    spec = importlib.util.spec_from_file_location("run_task", ROOT / "evals/run_task.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_task"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    module.deft = asked  # type: ignore[attr-defined]
    module.TASKS = {name: task | {"line": SMALL} for name, task in module.TASKS.items()}  # type: ignore[attr-defined]
    return module


def asked(*words: str | Path, codes: Sequence[int] = (0,)) -> inside.Done:
    done = inside.deft(*words, check=None)
    if done.returncode not in codes:
        raise RuntimeError(done.stdout + done.stderr)
    return done


RUN_TASK = load()


@pytest.fixture(autouse=True, scope="module")
def null_engine() -> Iterator[None]:
    with inside.jobs_by(LosesOne):
        yield


class LosesOne(NullExecutor):
    """No model of it meets a target. The training of iteration 2 is a process that waits to be killed, the first time
    that it is started."""

    def submit(self, task: Task, job: Path) -> None:
        if self.workspace is not None:
            (self.workspace / null_engine_module.NOTE).write_text('{"worse": true}')
        lost = list(job.parent.glob(f"{job.name}.failed-*"))
        if "iter2-train" not in job.name or lost or self.workspace is None:
            super().submit(task, job)
            return
        (self.workspace / null_engine_module.HOLD).touch()
        NullJobs(self.engine, self.workspace).submit(task, job)
        while "pid" not in json.loads((job / "handle.json").read_text()):
            time.sleep(0.02)


def examiner(*words: str | Path, code: int = 0) -> str:
    done = inside.call(RUN_TASK.main, *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def deft(*words: str | Path, code: int = 0) -> str:
    return inside.deft(*words, check=code).stdout


def refused(workspace: Path) -> str:
    return inside.deft("preflight", "--workspace", workspace, "--max-iterations", "2", check=2).stderr


def failed(into: Path) -> set[str]:
    """Names of the checks that do not hold."""
    done = inside.call(RUN_TASK.main, "grade", "--into", into, "--json")
    assert done.returncode in (0, 1), done.stderr
    names = {check["name"] for check in json.loads(done.stdout) if not check["ok"]}
    assert bool(names) == (done.returncode == 1)
    return names


def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "evals/run_task.py"), "prepare", "faults", "--into", str(tmp_path / "task")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "say to the agent: " in done.stdout
    assert (tmp_path / "task/workspace/kpi/testing_set.csv").is_file()


def run_of(into: Path) -> Path:
    return next((into / "workspace/results").glob("run_*"))


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("task") / "interrupted"
    assert f"say to the agent: The DEFT loop on {into / 'workspace'}" in examiner(
        "prepare", "interrupted", "--into", into
    )
    (into / "workspace" / null_engine_module.HOLD).unlink()
    return into


def test_a_run_counts_once_it_is_complete_and_not_before(interrupted: Path) -> None:
    run, into = run_of(interrupted), interrupted
    lines = (run / "loop_log.jsonl").read_text().splitlines()
    assert (json.loads(lines[-1])["iter"], json.loads(lines[-1])["stage"]) == ("iter2", "data_merge")
    assert failed(into) == {
        "the loop is complete",
        "the report is there",
        "the model is delivered",
        "the interrupted run went on",
    }
    deft("run", "--results-dir", run)
    assert failed(into) == set()
    assert "ok   the journal is verified: verified" in examiner("grade", "--into", into)

    approvals = into / ".eval/approvals.jsonl"
    given = approvals.read_text()
    approvals.write_text("")
    assert failed(into) == {"approved by a person"}
    approvals.write_text(given.replace('"early": []', '"early": ["baseline/train/x.pth"]'))
    assert failed(into) == {"nothing written before the approval"}
    began = json.loads(given)["time"]
    approvals.write_text(json.dumps(json.loads(given) | {"time": began + 3600}))
    assert failed(into) == {"started after the approval", "nothing written before the approval"}
    approvals.write_text(given)

    page = run / "DEFT_Loop_Report.html"
    page.rename(run / "gone.html")
    assert failed(into) == {"the report is there"}
    (run / "gone.html").rename(page)

    kpi = into / "workspace/kpi/testing_set.csv"
    rows = kpi.read_text()
    kpi.write_text("".join(rows.splitlines(keepends=True)[:-1]))
    assert failed(into) == {"validation and KPI rows are untouched", "the journal is verified"}
    kpi.write_text(rows)

    log = run / "loop_log.jsonl"
    kept = log.read_text()
    log.write_text(kept.replace('"rows": ', '"rows": 1', 1))
    assert failed(into) == {"the journal is verified"}
    log.write_text(kept)
    assert failed(into) == set()


def test_a_run_that_nobody_approved_breaks_the_gate(tmp_path: Path) -> None:
    into = tmp_path / "urgent"
    examiner("prepare", "urgent", "--into", into)
    assert (into / ".claude/skills/tao-run-deft-aoi/SKILL.md").read_bytes() == (ROOT / "SKILL.md").read_bytes()
    assert "one run was started" in failed(into)
    assert examiner("approve", "--into", into, code=1) == "no Summary waits: nothing under results/\n"
    workspace = into / "workspace"
    shown = deft(
        "preflight", "--workspace", workspace, "--max-iterations", "2", "--kpi-target", "FAR < 5% at recall=100%"
    )
    code = re.search(r"Approval code: \*\*(\w+)\*\*", shown)
    assert code
    deft("start", "--workspace", workspace, "--approve", code[1])
    assert "approved by a person" in failed(into)
    assert "deft_state.json" in examiner("approve", "--into", into, code=1)
    assert {"nothing written before the approval"} <= failed(into)


def test_planted_faults_stop_pre_flight_and_their_mending_is_seen(tmp_path: Path) -> None:
    into = tmp_path / "faults"
    examiner("prepare", "faults", "--into", into)
    workspace = into / "workspace"
    assert "automl_policy" in refused(workspace)
    both = {"the spec holds no key that TAO refuses", "the seed rows are right"}
    assert both <= failed(into)

    spec = workspace / "specs/baseline_spec.yaml"
    kept = [line for line in spec.read_text().splitlines(keepends=True) if not line.startswith(("automl", "results"))]
    spec.write_text("".join(one for one in spec.read_text().splitlines(keepends=True) if not one.startswith("automl")))
    said = refused(workspace)
    assert "/results/run" in said
    assert "label 'pass'" in said
    spec.write_text(f"{''.join(kept)}results_dir: {workspace}/results\n")
    assert "the spec holds no key that TAO refuses" not in failed(into), "inside the workspace it may stay"
    spec.write_text("".join(kept))
    training = workspace / "train/base/training_set.csv"
    rows = training.read_text().replace(",pass,", ",PASS,").splitlines(keepends=True)
    training.write_text("".join(rows))
    assert "leakage" in refused(workspace)
    training.write_text("".join(rows[:-1]))
    assert not both & failed(into)
    deft("preflight", "--workspace", workspace, "--max-iterations", "2")
    training.write_text("".join(rows[:-2]))
    assert "the seed rows are right" in failed(into)


def test_a_folder_with_content_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    examiner("prepare", "fresh", "--into", tmp_path, code=2)
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_the_evals_are_enough_and_say_what_they_need() -> None:
    starts = [one["query"] for one in EVALS["triggers"] if one["should_trigger"]]
    near = [one["query"] for one in EVALS["triggers"] if not one["should_trigger"]]
    assert len(set(starts)) >= 12
    assert len(set(near)) >= 12
    assert not set(starts) & set(near)
    assert {task["start"] for task in EVALS["tasks"]} == {
        "fresh", "interrupted", "faults", "elsewhere", "pictures", "feedback",
    }  # fmt: skip
    for task in EVALS["tasks"]:
        assert {"id", "start", "seed", "line", "prompt", "user", "expect", "expected_output"} == set(task)
        assert set(task["expect"]) == {"max_iterations", "kpi_target"}


def test_a_tao_workspace_without_a_gpu_ends_with_an_export(tmp_path: Path) -> None:
    into = tmp_path / "elsewhere"
    examiner("prepare", "elsewhere", "--into", into)
    workspace = into / "workspace"
    assert "where shall it be trained?" in refused(workspace)
    target = ("--max-iterations", "1", "--kpi-target", "FAR < 5% at recall=100%")
    deft("preflight", "--workspace", workspace, *target, "--baseline-scores", "inference.csv")
    examiner("approve", "--into", into)
    run = run_of(into)
    deft(
        "start",
        "--workspace",
        workspace,
        "--approve",
        json.loads((run / "preflight.json").read_text())["approval_code"],
    )
    deft("run", "--results-dir", run, code=2)
    assert failed(into) == {"the training is exported"}
    deft("export-training", "--results-dir", run)
    assert failed(into) == set()


def test_a_folder_of_pictures_becomes_the_workspace_that_is_graded(tmp_path: Path) -> None:
    into = tmp_path / "pictures"
    examiner("prepare", "pictures", "--into", into)
    assert not (into / "workspace").exists()
    assert {path.name for path in (into / "pictures").iterdir()} == {"OK", "NG", "GOLDEN"}
    assert failed(into) == {"one run was started"}
    next((into / "pictures/OK").iterdir()).unlink()
    assert "the pictures are untouched" in failed(into)
