"""The whole loop on a tiny line: stopped anywhere or not, in one process or many, it ends with the same numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
import yaml

import faulty
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.executors.local import LocalExecutor, alive
from inside import jobs_by
from loop_cli import ROWS, begin, command, deft, entries, environment
from null_engine import HOLD
from null_jobs import NullExecutor, NullJobs
from real_loops import Loop, scores
from small_workspace import make_workspace

FAR_FACTS = ("far_pct", "threshold", "auroc", "false_calls", "rows", "mining_mined_count", "val_loss", "verdict")


def numbers(run: Path) -> list[tuple[Any, ...]]:
    """What must be the same in every run of the same plan: stages in order and their figures."""
    return [
        (e["seq"], e["iter"], e["stage"], e["status"], *(e["facts"].get(name) for name in FAR_FACTS))
        for e in entries(run)
    ]


@pytest.fixture(autouse=True, scope="module")
def null_engine() -> Iterator[None]:
    """All runs of this file but the shared ones; a test that needs a real job says so."""
    with jobs_by(NullExecutor):
        yield


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run done by one process."""
    run = begin(tmp_path_factory.mktemp("unbroken") / "ws")
    done = deft("run", "--results-dir", str(run))
    assert [line.split("]")[0] for line in done.stdout.splitlines() if line.startswith("[")] == [
        "[iter 0/2 · evaluate",
        "[iter 1/2 · evaluate",
        "[iter 2/2 · evaluate",
        "[iter 2/2 · loop_stop",
    ]
    steps = [line for line in done.stdout.splitlines() if line.startswith(("next: ", "then: "))]
    assert [line[:6] for line in steps] == ["next: ", *["then: "] * (len(steps) - 1)]
    assert steps[-1] == done.stdout.splitlines()[-1]
    return run


def test_the_loop_is_complete_verified_and_handed_over(unbroken: Path) -> None:
    log = entries(unbroken)
    assert log[-1]["stage"] == "loop_stop"
    assert deft("verify", "--results-dir", str(unbroken)).stdout.startswith("verified: ")
    model = json.loads((unbroken / "best_model.json").read_text())
    best = next(e for e in reversed(log) if e["stage"] == "evaluate" and e["facts"]["champion"])
    assert model["threshold"] == best["facts"]["threshold"]
    assert Path(model["checkpoint"]).is_file()
    said = deft("step", "--results-dir", str(unbroken), check=10).stdout
    assert "complete" in said
    assert Path(model["backbone"]).name == "efficientnet_lite0_trunk.onnx"  # what looked at the pictures, a file
    assert model["model"].endswith("It is not a ChangeNet: NVIDIA TAO cannot load it.")
    handed = (unbroken / "best_model_inference_spec.yaml").read_text()
    assert handed.startswith(
        "# Not a TAO spec: this model is not a ChangeNet. To decide new rows, type:\n#   deft score "
    )
    assert yaml.safe_load(handed)["inference"]["checkpoint"] == model["checkpoint"]
    assert "backbone" not in yaml.safe_load(handed)["model"]
    assert model["spec_backbone"] == "fan_tiny_8_p4_hybrid"
    report = json.loads((unbroken / "report.json").read_text())
    final = deft("status", "--results-dir", str(unbroken), "--final").stdout
    assert all(f"- {caveat['text']}\n" in final for caveat in report["caveats"])
    assert report["result"]["margin"]["gap"] > 0
    assert "align_token_usage" not in said  # verified after the end: only the words of the report are left
    assert said.splitlines()[-2].startswith("next: the reporter")
    (unbroken / "narrative.json").write_text("{}")
    assert said.splitlines()[:-2] == deft("step", "--results-dir", str(unbroken), check=10).stdout.splitlines()[:-1]
    assert re.search(r"^next: .* status .* --final", deft("status", "--results-dir", str(unbroken)).stdout, re.M)
    (unbroken / "narrative.json").unlink()


def test_the_model_that_is_handed_over_has_a_contact_sheet(unbroken: Path) -> None:
    facts = entries(unbroken)[-1]["facts"]
    assert facts["analysed"] == facts["best_label"]
    assert (Path(facts["rca_dir"]) / "rca_images/contact_sheet.png").is_file()
    sheet = json.loads((unbroken / "report.json").read_text())["result"]["contact_sheet"]
    assert (unbroken / sheet).is_file()
    assert sheet in (unbroken / "DEFT_Loop_Report.html").read_text()
    assert (unbroken / "DEFT_Loop_Report.html").stat().st_size > 10_000


def test_a_printed_threshold_decides_as_the_number_did(knn_loop: Loop) -> None:
    unbroken = knn_loop.path
    model = json.loads((unbroken / "best_model.json").read_text())
    best = next(e for e in reversed(entries(unbroken)) if e["stage"] == "evaluate" and e["facts"]["champion"])
    scored = pd.read_csv(best["facts"]["inference_csv"])
    called = scored["siamese_score"] > model["threshold"]
    assert called[scored["label"] != "PASS"].all()
    assert 100 * called[scored["label"] == "PASS"].mean() == pytest.approx(model["far_pct"], abs=1e-12)


@pytest.mark.parametrize("loop", ["knn_loop", "weakness_loop"])
def test_every_line_of_the_journal_fits_the_published_schema(request: pytest.FixtureRequest, loop: str) -> None:
    schemas = json.loads((SKILL_ROOT / "specs/facts.schema.json").read_text())
    lines = entries(request.getfixturevalue(loop).path)
    assert {line["stage"] for line in lines} <= schemas.keys()
    for line in lines:
        jsonschema.validate(line["facts"], schemas[line["stage"]])


def test_no_row_is_mined_twice_and_rows_add_up(knn_loop: Loop) -> None:
    unbroken = knn_loop.path
    mined = [pd.read_parquet(p) for p in sorted(unbroken.glob("iter*/mining_filter/mined.parquet"))]
    keys = pd.concat(mined)[["input_path", "object_name"]]
    assert not keys.duplicated().any()
    assert (pd.concat(mined)["label"].str.casefold() == pd.concat(mined)["target_label"].str.casefold()).all()
    for number, frame in enumerate(mined, 1):
        combined = pd.read_csv(unbroken / f"iter{number}/dataset/train_combined_iter{number}.csv", dtype=str)
        assert len(combined) == ROWS + sum(len(f) for f in mined[:number])
        provenance = pd.read_csv(unbroken / f"iter{number}/dataset/train_combined_iter{number}_provenance.csv")
        assert (provenance["provenance"] == "mining_pool").sum() == len(frame)
        assert provenance["object_name"].tolist() == combined["object_name"].tolist()


def test_the_policy_weakness_scores_the_pool_and_takes_no_row_twice(weakness_loop: Loop) -> None:
    run = weakness_loop.path
    told = [entry["summary"] for entry in entries(run) if entry["stage"] == "data_mining"]
    assert all("12 of them were suspect before (label_review.csv): " in line for line in told)
    assert all("re-checked with the rows known now, their label fits" in line for line in told)
    assert len(pd.read_csv(run / "iter2/mining_filter/pool_to_score.csv")) == 48
    mined = pd.concat([pd.read_parquet(p) for p in sorted(run.glob("iter*/mining_filter/mined.parquet"))])
    assert len(mined) == 24
    assert not mined[["input_path", "object_name"]].duplicated().any()
    assert mined.loc[mined["label"] == "PASS", "reason"].str.startswith("a highest-scoring PASS, score ").all()
    assert mined.loc[mined["label"] != "PASS", "reason"].str.startswith("a lowest-scoring defect, score ").all()
    assert (mined["label"] == "PASS").sum() == 12
    assert deft("verify", "--results-dir", str(run)).stdout.startswith("verified: ")


def test_the_last_rows_of_a_pool_are_fewer_than_a_batch_and_still_taken(tmp_path: Path) -> None:
    make_workspace(tmp_path / "ws", counts=(ROWS, 24, 48, 16))
    run = begin(tmp_path / "ws", policy="weakness")
    deft("run", "--results-dir", str(run))
    assert [len(pd.read_parquet(run / f"iter{n}/mining_filter/mined.parquet")) for n in (1, 2)] == [12, 4]


def test_a_new_process_for_every_step_gives_the_same_numbers(unbroken: Path, tmp_path: Path) -> None:
    """Also: words written about one iteration stay with it and never stand under the pictures of the next."""
    run = begin(tmp_path / "ws")
    for _ in range(100):
        child = faulty.step(run, report=True)
        child.join(120)
        if child.exitcode != 0:
            break
        last = entries(run)[-1]
        if (last["iter"], last["stage"]) == ("iter1", "evaluate"):
            (run / "narrative.json").write_text('{"schema_version": 1, "headline": "Words about the first one."}')
    assert child.exitcode == 10
    assert (run / "iter1/narrative.json").is_file()
    assert not (run / "narrative.json").exists()
    assert "Words about the first one." not in (run / "DEFT_Loop_Report.html").read_text()
    assert numbers(run) == numbers(unbroken)
    assert scores(run) == scores(unbroken)


def test_a_step_says_where_it_is_and_what_comes_next(tmp_path: Path) -> None:
    run = begin(tmp_path / "ws", max_iterations="1")
    while (done := deft("step", "--results-dir", run, "--wait", "120", check=None)).returncode == 0:
        assert done.stdout.startswith("[iter ")
        assert done.stdout.splitlines()[-1].startswith("next: ")
    assert done.returncode == 10


@pytest.mark.nightly
def test_a_run_killed_in_every_stage_ends_with_the_same_numbers(tmp_path: Path) -> None:
    """Driver and job are killed by SIGKILL at staggered moments; the run goes on and does nothing twice."""
    run, unbroken = begin(tmp_path / "ws"), begin(tmp_path / "unbroken")
    with jobs_by(LocalExecutor):
        deft("run", "--results-dir", unbroken)
    kills = 0
    for attempt in range(60):
        done = subprocess.Popen(
            command("step", "--results-dir", str(run)),
            env=environment(),
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        seconds = 0.25 + 0.3 * (attempt % 9)
        try:
            done.communicate(timeout=seconds if attempt % 2 == 0 else 120)
        except subprocess.TimeoutExpired:
            os.killpg(done.pid, signal.SIGKILL)
            done.communicate()
            kills += 1
            if attempt % 4 == 0:
                kill_jobs(run)
            continue
        if done.returncode == 10:
            break
    assert done.returncode == 10
    assert kills >= 5
    assert numbers(run) == numbers(unbroken)
    assert scores(run) == scores(unbroken)
    assert deft("verify", "--results-dir", str(run)).stdout.startswith("verified: ")


def kill_jobs(run: Path) -> None:
    """End what a vanished machine would end: every job's process group."""
    for job in (run / "jobs").glob("*"):
        if alive(job):
            faulty.kill_job(job)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A started run whose jobs are processes of their own that wait until `release`."""
    with jobs_by(NullJobs):
        run = begin(tmp_path / "ws")
        (tmp_path / "ws" / HOLD).touch()
        yield run
        kill_jobs(run)


def release(run: Path) -> None:
    (run.parents[1] / HOLD).unlink()


def test_step_returns_while_a_job_runs_and_reattaches(held: Path) -> None:
    done = deft("step", "--results-dir", held, "--wait", "0", check=75)
    assert "running for" in done.stdout
    jobs = list((held / "jobs").iterdir())
    assert len(jobs) == 1
    first = json.loads((jobs[0] / "handle.json").read_text())["submitted"]
    release(held)
    done = deft("step", "--results-dir", held)
    assert "started again" not in done.stdout
    assert json.loads((jobs[0] / "handle.json").read_text())["submitted"] == first
    assert len(list((held / "jobs").iterdir())) == 1
    assert "baseline/train ok" in deft("status", "--results-dir", held).stdout


def test_a_job_that_was_lost_is_told_and_its_time_is_not_counted(held: Path) -> None:
    deft("step", "--results-dir", held, "--wait", "0", check=75)
    kill_jobs(held)
    (job,) = (held / "jobs").iterdir()
    yesterday = time.time() - 86_400
    os.utime(job / "handle.json", (yesterday, yesterday))
    release(held)
    done = deft("step", "--results-dir", held)
    assert "started again (killed, or its machine was lost)" in done.stdout
    assert entries(held)[0]["duration_sec"] < 600


def test_a_hard_stop_repeats_until_a_person_decides(tmp_path: Path) -> None:
    run = begin(tmp_path / "ws")
    victim = next((tmp_path / "ws/kpi/images").rglob("C0_WhiteLight.png"))
    kept = victim.read_bytes()
    victim.write_bytes(b"no image")
    while (done := deft("step", "--results-dir", str(run), check=None)).returncode == 0:
        pass
    assert done.returncode == 3
    assert "HARD STOP task_failed" in done.stdout
    assert "evidence: " in done.stdout
    again = deft("step", "--results-dir", str(run), check=3)
    assert again.stdout == done.stdout
    length = len(entries(run))
    victim.write_bytes(kept)
    deft("resolve", "--results-dir", str(run), "--reason", "restored the image")
    deft("step", "--results-dir", str(run))
    assert [e["stage"] for e in entries(run)[length - 1 :]] == [
        entries(run)[-1]["stage"],
        "resolve",
        entries(run)[-1]["stage"],
    ]
    assert deft("verify", "--results-dir", str(run)).stdout.startswith("verified")


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run after train and evaluate of the baseline."""
    run = begin(tmp_path_factory.mktemp("two") / "ws")
    for _ in range(2):
        deft("step", "--results-dir", str(run))
    return run


@pytest.fixture
def copied(two_steps: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_steps, tmp_path / "run", symlinks=True))


def test_state_can_be_lost_and_comes_back(copied: Path) -> None:
    run = copied
    state = run / "deft_state.json"
    before = json.loads(state.read_text())
    state.write_text(state.read_text()[:100])
    refused = deft("status", "--results-dir", str(run), check=2)
    assert "deft rebuild-state" in refused.stderr
    deft("rebuild-state", "--results-dir", str(run))
    after = json.loads(state.read_text())
    assert after["iterations"] == before["iterations"]
    assert after["config"] == before["config"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ('s/"status": "ok"/"status": "OK"/', "status 'OK'"),
        ('s/"rows": [0-9]*/"rows": 9999/', "line 1 (baseline/train): changed after it was written"),
        ("1d", "line 1: seq is 2, expected 1"),
    ],
)
def test_verify_names_edits_of_the_journal(copied: Path, spoil: str, message: str) -> None:
    run = copied
    log = run / "loop_log.jsonl"
    where = spoil if spoil == "1d" else f"1{spoil}"
    subprocess.run(["sed", "-i", where, str(log)], check=True)
    done = deft("verify", "--results-dir", str(run), check=2)
    assert message in done.stdout + done.stderr


def test_verify_names_changed_artifacts_and_state(copied: Path) -> None:
    run = copied
    csv = run / "baseline/inference/best_val/inference.csv"
    csv.write_text(csv.read_text().replace("PASS", "pass", 1))
    state = json.loads((run / "deft_state.json").read_text())
    state["iterations"]["baseline"] |= {"far_pct": 0.0, "passed": True}
    (run / "deft_state.json").write_text(json.dumps(state))
    found = deft("verify", "--results-dir", str(run), check=2).stdout
    assert "baseline/inference/best_val/inference.csv: changed since baseline/evaluate made it" in found
    assert "iterations.baseline.far_pct is 0.0" in found
    assert "iterations.baseline.passed is unexpected" in found
