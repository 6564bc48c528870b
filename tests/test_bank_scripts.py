"""The bank's scripts under their names: what they print, and what they refuse because the files say otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from inside import deft, script
from loop_cli import begin, entries
from small_workspace import LIGHTS, make_workspace

COMMIT = ("--summary", "done there", "--duration-sec", "5")


@pytest.fixture(scope="module")
def before_the_end(tmp_path_factory: pytest.TempPathFactory, null_engine_in_module: None) -> Path:
    """A run of one iteration whose last stage is due."""
    run = begin(tmp_path_factory.mktemp("scripts") / "ws", max_iterations="1")
    while json.loads(script("deft_context", "--state", run / "deft_state.json").stdout)["next_stage"] != "finalize":
        deft("step", "--results-dir", run)
    return run


@pytest.fixture
def spoilable(before_the_end: Path, tmp_path: Path) -> Path:
    shutil.copytree(before_the_end.parents[1], tmp_path / "ws")
    return tmp_path / "ws/results" / before_the_end.name


def test_the_context_names_the_next_stage_and_refuses_another(before_the_end: Path) -> None:
    state = before_the_end / "deft_state.json"
    done = script("deft_context", "--state", state, "--stage", "finalize")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert (found["iteration"], found["next_stage"], found["network_mode"]) == ("iter1", "finalize", "open")
    refused = script("deft_context", "--state", state, "--stage", "train")
    assert (refused.returncode, "the next stage of this run is iter1/finalize" in refused.stderr) == (2, True)


def test_the_end_is_done_for_the_reason_that_the_scores_give(spoilable: Path) -> None:
    words = ("--results-dir", spoilable, "--iter-label", "iter1", "--stop-reason")
    assert "is not at its end" not in script("render_report", "--results-dir", spoilable).stderr
    assert "not at its end" in script("render_report", "--results-dir", spoilable, "--require-terminal").stderr
    refused = script("finalize_run", *words, "metric_met")
    assert "the scores on disk say max_iterations; it is computed here" in refused.stderr
    assert script("finalize_run", *words, "max_iterations").returncode == 0
    assert (spoilable / "best_model_inference_spec.yaml").is_file()
    page = script("render_report", "--results-dir", spoilable, "--require-terminal").stdout.splitlines()[-1]
    assert page == str(spoilable / "DEFT_Loop_Report.html")
    assert json.loads(script("deft_context", "--state", spoilable / "deft_state.json").stdout)["status"] == "complete"


def test_a_stage_done_elsewhere_is_journaled_with_what_its_files_say(spoilable: Path) -> None:
    run, last = spoilable, entries(spoilable)[-1]
    log = run / "loop_log.jsonl"
    log.write_text("".join(line + "\n" for line in log.read_text().splitlines()[:-1]))
    (run / "deft_state.json").unlink()
    deft("rebuild-state", "--results-dir", run)
    words = ("--results-dir", run, "--iter-label", "iter1", *COMMIT)
    threshold = last["facts"]["threshold"]
    for flag, says in (("0.123", "threshold 0.123 was handed in, the files of the run give"), (repr(threshold), "")):
        done = script("commit_stage", *words, "--stage", "evaluate", "--threshold", flag)
        assert says in done.stderr
    assert done.returncode == 0, done.stderr
    now = entries(run)[-1]
    assert (now["stage"], now["facts"]["far_pct"], now["duration_sec"]) == ("evaluate", last["facts"]["far_pct"], 5)
    assert now["summary"].startswith("done there · FAR ")
    refused = script("commit_stage", *words, "--stage", "train")
    assert "iter1/train is not next in this run: iter1/loop_stop is" in refused.stderr
    gone = script("commit_stage", *words, "--stage", "loop_stop", "--best-model", run / "gone.json")
    assert "--best-model" in gone.stderr
    assert "gone.json: no such file" in gone.stderr
    assert deft("verify", "--results-dir", run).stdout.startswith("verified")
    failed = script("commit_stage", *words, "--stage", "loop_stop", "--status", "error")
    assert failed.returncode == 0
    assert entries(run)[-1]["status"] == "error"


def test_a_target_of_ours_needs_no_result_of_an_evaluator(before_the_end: Path) -> None:
    csv = before_the_end / "iter1/inference/best_val/inference.csv"
    words = ("--state-path", before_the_end / "deft_state.json", "--iter-label", "iter1", "--inference-csv", csv)
    done = script("record_metric_result", *words, "--result-json", csv, "--best-ckpt", csv)
    assert (done.returncode, "is computed here from the scores alone" in done.stderr) == (2, True)


def test_a_pool_is_resolved_row_by_row(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", counts=(4, 4, 4, 4))
    csv = root / "augmentation/mining_pool/mining_pool.csv"
    words = ("--csv", csv, "--light", LIGHTS[0], "--image-ext", "png", "--output-csv", tmp_path / "out.csv")
    done = script("resolve_mining_pool", *words, "--images-root", root / "kpi/images", "--summary", tmp_path / "s.json")
    assert (
        json.loads(done.stdout)
        == {"rows": 4, "missing": 0, "ambiguous": 0}
        == json.loads((tmp_path / "s.json").read_text())
    )
    assert all(Path(name).is_file() for name in pd.read_csv(tmp_path / "out.csv")["filepath"])
    wrong = script("resolve_mining_pool", *words, "--images-root", tmp_path)
    assert "expected <workspace>/kpi/images or <workspace>/images of the workspace" in wrong.stderr
    row = pd.read_csv(csv, dtype=str).iloc[0]
    shutil.copytree(csv.parent / row["input_path"], root / "kpi/images" / row["input_path"])
    twice = script("resolve_mining_pool", *words, "--images-root", root / "kpi/images")
    assert "mining_pool.csv, line 2: input_path fits two images" in twice.stderr
    shutil.rmtree(root / "kpi/images" / row["input_path"])
    (csv.parent / row["input_path"] / f"{row['object_name']}_{LIGHTS[0]}.png").unlink()
    none = script("resolve_mining_pool", *words, "--images-root", root / "kpi/images")
    assert "mining_pool.csv, line 2: no image" in none.stderr or "line 2" in none.stderr
