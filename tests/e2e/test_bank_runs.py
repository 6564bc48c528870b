"""Runs that NVIDIA's bank began: state version 4, 7.0.x, baselines of an AutoML pipeline. Each goes on here, or is
refused with its name. The states are written by hand, as section 8 of the contract has them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inside import script
from loop_cli import begin, deft, entries

ORDER = (
    "baseline/train", "baseline/evaluate", "baseline/rca", "iter1/routing", "iter1/anomalygen", "iter1/data_mining",
    "iter1/data_merge", "iter1/train", "iter1/evaluate", "iter1/rca",
)  # fmt: skip
FIELDS = {
    "train": ("best_ckpt_path", "val_loss"), "evaluate": ("best_ckpt_path", "best_ckpt_kind", "inference_csv"),
    "rca": ("rca_target_defects", "rca_gaps_parquet", "rca_threshold"),
    "routing": ("routing_mining_parquet", "routing_anomalygen_parquet"), "anomalygen": (),
    "data_mining": ("mining_mined_parquet", "mining_mined_count"),
    "data_merge": ("combined_training_csv", "provenance_csv"), "loop_stop": (),
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, null_engine_in_module: None) -> Path:
    run = begin(tmp_path_factory.mktemp("bank") / "ws", max_iterations="2")
    deft("run", "--results-dir", run)
    return run


@pytest.fixture
def spoilable(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished.parents[1], tmp_path / "ws")
    return tmp_path / "ws/results" / finished.name


def event(number: int, step: str, **more: object) -> dict[str, Any]:
    label, stage = step.split("/")
    return {
        "seq": number, "ts": f"2026-08-04T06:{number:02d}:00+00:00", "iter": label, "stage": stage, "status": "ok",
        "summary": f"{stage} of {label}", "duration_sec": 60, "context_tokens": 0, **more,
    }  # fmt: skip


def as_version_4(run: Path, steps: Sequence[str], **more: Any) -> dict[str, Any]:
    """Turn a finished run into one of the bank's version 4 that ends after `steps`: no journal, no plan, no facts."""
    ours = json.loads((run / "deft_state.json").read_text())
    root = run.parents[1]
    for entry in entries(run):
        if f"{entry['iter']}/{entry['stage']}" not in steps and (folder := run / entry["iter"]).is_dir():
            shutil.rmtree(folder / {"evaluate": "inference"}.get(entry["stage"], entry["stage"]), ignore_errors=True)
    done = dict(step.split("/") for step in steps)
    iterations = {}
    for label, stage in done.items():
        part = ours["iterations"][label]
        names = [n for s in steps if s.startswith(f"{label}/") for n in FIELDS[s.partition("/")[2]]]
        told = {name: part[name] for name in names if part.get(name) is not None}
        told = {name: str(run / v) if isinstance(v, str) and "/" in v else v for name, v in told.items()}
        result = {"name": "far_pct", "value": part["far_pct"], "unit": "%", "threshold": part["threshold"]}
        told |= {"metric_result": result} if "inference_csv" in told else {}
        over = stage in ("rca", "evaluate", "loop_stop") and (label == "baseline" or stage != "rca")
        iterations[label] = told | {"status": "complete" if over else "in_progress", "stage_completed": stage}
    state = {
        "version": 4, "started_at": "2026-08-04T06:00:00+00:00", "status": "in_progress",
        "kpi_target": "FAR < 10% at Recall=100%", "results_dir": str(run), "max_iterations": 2,
        "current_iteration": len(done) - 1,
        "execution_policy": {"network_mode": "airgap", "allow_package_install": False},
        "config": {
            "specs_file": str(root / "specs/baseline_spec.yaml"), "images_dir": str(root / "kpi/images"),
            "training_csv": str(root / "train/base/training_set.csv"), "num_gpus": 1, "batch_size": 8,
            "num_epochs": 2, "gpu_model": "NVIDIA H200", "mining_filter": {"top_k_per_target": 4, "metric": "cosine"},
            "anomalygen": {"project": "nvpcb", "num_SDG": 20, "step": 14000},
        },
        "iterations": iterations,
        "events": [event(number, step) for number, step in enumerate(steps, 1)],
        **more,
    }  # fmt: skip
    for name in ("loop_log.jsonl", "preflight.json", "preflight_summary.md", "best_model.json"):
        (run / name).unlink()
    shutil.rmtree(run / "jobs")
    (run / "deft_state.json").write_text(json.dumps(state, indent=2))
    return state


def go_on(run: Path, *words: str) -> str:
    """Pre-Flight with the run directory and start; returns the Summary."""
    asked = ("--workspace", run.parents[1], "--results-dir", run, "--mine-rows", "12", "--screen", "off")
    shown = deft("preflight", *asked, *words).stdout
    code = re.search(r"--approve (\w+)", shown)
    assert code
    deft("start", "--workspace", run.parents[1], "--approve", code[1])
    return shown


TARGET = ("--kpi-target", "FAR <= 0% at recall = 100%")


@pytest.mark.parametrize("length", [4, 6, 9])
def test_a_run_of_version_4_goes_on_after_its_last_event(spoilable: Path, length: int) -> None:
    before = as_version_4(spoilable, ORDER[:length])
    said = deft("status", "--results-dir", spoilable).stdout
    assert f"{length} entries" in said
    assert f"preflight --workspace {spoilable.parents[1]}" in said
    refused = deft("step", "--results-dir", spoilable, check=2).stderr
    assert f"a run of state version 4 with {length} events and no journal yet" in refused
    assert "state version 4" in script("log_stage", *line_of(spoilable, "iter1", "routing")).stderr
    shown = go_on(spoilable, *TARGET)
    last = ORDER[length - 1]
    assert f"the run goes on after {last}; its state of version 4 is kept" in shown
    assert "| network | airgap | the run |" in shown
    assert "| top_k_per_target | 4 | the run" in shown
    assert json.loads((spoilable / "deft_state.bank.json").read_text()) == before
    deft("run", "--results-dir", spoilable)
    lines = entries(spoilable)
    assert [(e["seq"], e["iter"], e["stage"], e["summary"]) for e in lines[:length]] == [
        (e["seq"], e["iter"], e["stage"], e["summary"]) for e in before["events"]
    ]
    assert (lines[-1]["iter"], lines[-1]["stage"]) == ("iter2", "loop_stop")
    assert json.loads((spoilable / "best_model.json").read_text())["checkpoint"]
    assert "consistent" in deft("verify", "--results-dir", spoilable).stdout


def line_of(run: Path, label: str, stage: str) -> list[object]:
    words = ["--log-path", run / "loop_log.jsonl", "--iter-label", label, "--stage", stage, "--status", "ok"]
    return [*words, "--summary", "x", "--duration-sec", "1"]


def test_a_stage_that_was_tried_again_there_is_one_of_the_journal(spoilable: Path) -> None:
    as_version_4(spoilable, ORDER[:3])
    state = json.loads((spoilable / "deft_state.json").read_text())
    state["events"] = [event(1, ORDER[0], status="error"), *(event(n + 2, step) for n, step in enumerate(ORDER[:3]))]
    (spoilable / "deft_state.json").write_text(json.dumps(state))
    go_on(spoilable, *TARGET)
    assert [(e["stage"], e["status"]) for e in entries(spoilable)] == [
        ("train", "error"), ("resolve", "ok"), ("train", "ok"), ("evaluate", "ok"), ("rca", "ok"),
    ]  # fmt: skip
    assert "consistent" in deft("verify", "--results-dir", spoilable).stdout


def test_what_cannot_go_on_is_refused_by_its_name(spoilable: Path) -> None:
    state = as_version_4(spoilable, ORDER[:5])
    asked = ("preflight", "--workspace", spoilable.parents[1], "--results-dir", spoilable)
    assert "left after iter1/anomalygen: what its generator made" in deft(*asked, check=2).stderr
    state["config"]["images_dir"] = "/data/pictures"
    state["iterations"]["baseline"]["best_ckpt_path"] = str(spoilable / "gone.pth")
    (spoilable / "deft_state.json").write_text(json.dumps(state))
    said = deft(*asked, check=2).stderr
    assert f"config.images_dir is /data/pictures; this skill reads {spoilable.parents[1]}/kpi/images" in said
    assert "iterations.baseline.best_ckpt_path" in said
    state["events"][1]["stage"] = "deploy"
    (spoilable / "deft_state.json").write_text(json.dumps(state))
    assert "events[1]: expected an object with one of the stages" in deft(*asked, check=2).stderr
    (spoilable / "loop_log.jsonl").write_text("{}\n")
    assert "only one can be the run's memory" in deft("status", "--results-dir", spoilable, check=2).stderr


def test_a_finished_run_of_version_4_is_shown_and_reported(spoilable: Path) -> None:
    as_version_4(spoilable, [*ORDER[:9], "iter1/loop_stop"], status="complete")
    state = json.loads((spoilable / "deft_state.json").read_text())
    state["iterations"]["iter1"] |= {"stage_completed": "evaluate", "status": "complete"}
    (spoilable / "deft_state.json").write_text(json.dumps(state))
    assert "10 iter1/loop_stop ok" in deft("status", "--results-dir", spoilable).stdout
    deft("report", "--results-dir", spoilable)
    facts = json.loads((spoilable / "report.json").read_text())
    assert [one["label"] for one in facts["iterations"]] == ["baseline", "iter1"]
    assert all(one["evaluate"]["recomputed"] for one in facts["iterations"])


@pytest.mark.parametrize(("line", "nested"), [(False, True), (True, False)])
def test_a_baseline_of_automl_starts_at_inference(spoilable: Path, line: bool, nested: bool) -> None:
    """`iterations.baseline` without a status, or `baseline` at the top; with and without a line of its training."""
    state = as_version_4(spoilable, ORDER[:1])
    part = {
        "stage_completed": "train", "best_ckpt_path": state["iterations"]["baseline"]["best_ckpt_path"],
        "train_metric": 0.91, "source": "automl_phase1",
    }  # fmt: skip
    state |= {"iterations": {"baseline": part}} if nested else {"iterations": {}, "baseline": part}
    if not line:
        del state["events"]
    (spoilable / "deft_state.json").write_text(json.dumps(state))
    shown = go_on(spoilable, *TARGET)
    assert ("the run goes on after baseline/train" if line else "the run goes on with its trained baseline") in shown
    assert "baseline/evaluate" in deft("status", "--results-dir", spoilable).stdout
    deft("step", "--results-dir", spoilable)
    first = next(e for e in entries(spoilable) if e["stage"] == "evaluate")
    assert first["facts"]["best_ckpt_path"] == part["best_ckpt_path"]


def test_a_checkpoint_of_tao_is_not_given_to_an_engine_that_cannot_load_it(spoilable: Path) -> None:
    import zipfile

    state = as_version_4(spoilable, ORDER[:1])
    with zipfile.ZipFile(state["iterations"]["baseline"]["best_ckpt_path"], "w") as made:
        made.writestr("archive/data.pkl", b"pytorch-lightning_version")
    said = deft("preflight", "--workspace", spoilable.parents[1], "--results-dir", spoilable, check=2).stderr
    assert "is a checkpoint of NVIDIA TAO, engine features cannot load it; choose where TAO runs" in said


def test_the_model_of_automl_after_the_loop_is_handed_over_where_its_far_is_lowest(spoilable: Path) -> None:
    best = json.loads((spoilable / "best_model.json").read_text())
    state = json.loads((spoilable / "deft_state.json").read_text())
    checkpoint = spoilable / "final_automl/train/model_epoch_004_step_00075.pth"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("weights")
    state["iterations"]["final_automl"] = told = {
        "best_ckpt_path": str(checkpoint), "threshold": 0.25, "far_pct": best["far_pct"] / 2,
    }  # fmt: skip
    (spoilable / "deft_state.json").write_text(json.dumps(state))
    script("prepare_inference_spec", "--results-dir", spoilable)
    now = json.loads((spoilable / "best_model.json").read_text())
    assert (now["checkpoint"], now["threshold"]) == (str(checkpoint), 0.25)
    assert now["far_from"] == "the AutoML pipeline, not computed here"
    spec = (spoilable / "best_model_inference_spec.yaml").read_text()
    assert "eval_margin: 0.25" in spec
    assert "checkpoint: /model/best.pth" in spec
    assert "final_automl" in json.loads((spoilable / "deft_state.json").read_text())["iterations"]
    assert deft("verify", "--results-dir", spoilable).stdout.startswith("verified")
    deft("rebuild-state", "--results-dir", spoilable)
    assert "final_automl" in json.loads((spoilable / "deft_state.json").read_text())["iterations"]
    deft("report", "--results-dir", spoilable)
    told["far_pct"] = best["far_pct"] + 1
    (spoilable / "deft_state.json").write_text(json.dumps(state))
    script("prepare_inference_spec", "--results-dir", spoilable)
    assert json.loads((spoilable / "best_model.json").read_text())["iteration"] == best["iteration"]
    told["far_pct"] = "low"
    (spoilable / "deft_state.json").write_text(json.dumps(state))
    refused = script("prepare_inference_spec", "--results-dir", spoilable)
    assert refused.returncode == 2
    assert "iterations.final_automl.far_pct is 'low'; expected a number" in refused.stderr


def test_a_state_that_an_upstream_pipeline_began_by_our_script_is_checked_and_goes_on(spoilable: Path) -> None:
    """`init_deft_state`, then the winner of AutoML as its baseline, with an event, as the bank's pipeline does it."""
    root, checkpoint = spoilable.parents[1], spoilable / "baseline/train/model_epoch_001_step_00006.pth"
    run = root / "results/run_20260804_060000"
    words = ("--workspace", root, "--kpi-target", TARGET[1], "--max-iterations", "1", "--num-gpus", "1")
    words += ("--num-epochs", "2", "--num-sdg", "20", "--project", "nvpcb", "--step", "14000")
    assert script("init_deft_state", "--results-dir", run, *words, "--knn-metric", "manhattan").returncode == 0
    state = json.loads((run / "deft_state.json").read_text())
    assert state["config"]["anomalygen"]["checkpoint_dir"] == "augmentation/anomalygen/checkpoints/nvpcb"
    assert "paidf-anomalygen" in state["config"]["anomalygen"]["container"]
    (run / "baseline/train").mkdir(parents=True)
    there = run / "baseline/train" / checkpoint.name
    state["iterations"]["baseline"] = {
        "stage_completed": "train", "best_ckpt_path": str(there), "train_metric": 0.9, "source": "automl_phase1",
    }  # fmt: skip
    state["events"] = [event(1, "baseline/train")]
    (run / "deft_state.json").write_text(json.dumps(state))
    asked = ("preflight", "--workspace", root, "--results-dir", run)
    assert f"best_ckpt_path {there}: no such file" in deft(*asked, check=2).stderr
    shutil.copy(next((spoilable / "baseline/train").glob("model_epoch_*.pth")), there)
    shown = go_on(run)
    assert "the run goes on with its trained baseline" in shown
    assert "| num_epochs | 2 | the run |" in shown
    assert "| knn_metric | manhattan | the run" in shown
    deft("step", "--results-dir", run)
    assert [(e["iter"], e["stage"]) for e in entries(run)] == [("baseline", "evaluate")]
