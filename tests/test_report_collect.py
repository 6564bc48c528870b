"""report.json: every figure computed again from files, each with its source, at any moment of a run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

import inside
from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.report import measure
from deft_aoi.report.collect import collect
from deft_aoi.report.words import duration, pct, shown_path
from report_run import RunMaker, baseline_only, whole_run

SCHEMA = json.loads((SKILL_ROOT / "specs/report.schema.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_run(tmp_path_factory.mktemp("finished")).finish()


def test_finished_run_has_every_field(finished: Path) -> None:
    facts = collect(finished)
    jsonschema.validate(facts, SCHEMA)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert (facts["run"]["status"], facts["run"]["stop_reason"], facts["run"]["next"]) == (
        "complete",
        "max_iterations",
        None,
    )
    assert [one["label"] for one in facts["iterations"]] == ["baseline", "iter1", "iter2"]
    assert facts["best"] == facts["result"]["label"]
    assert all(check["ok"] for check in facts["checks"])


def test_figures_come_from_the_scores(finished: Path) -> None:
    rows = pd.read_csv(finished / "iter1/inference/best_val/inference.csv")
    lowest = rows.loc[rows["label"] != "PASS", "siamese_score"].min()
    passes = rows.loc[rows["label"] == "PASS", "siamese_score"]
    figures = collect(finished)["figures"]
    assert figures["far.iter1"]["value"] == pytest.approx(100 * (passes >= lowest).mean())
    assert figures["far.iter1"]["source"] == "iter1/inference/best_val/inference.csv"
    assert figures["escapes.iter1"]["value"] == 0
    assert figures["far_upper.iter1"]["value"] > figures["far.iter1"]["value"] > figures["far_lower.iter1"]["value"]


def test_gap_is_a_distance(finished: Path) -> None:
    result = collect(finished)["result"]
    assert result["gap_text"] == f"{result['far_pct'] - 0.5:.3g}pp from target"


def test_provenance_is_counted_in_the_file(finished: Path) -> None:
    merged = collect(finished)["iterations"][2]["merge"]
    assert merged["provenance"] == {"base_train": 0, "previous_iter_train": 310, "mining_pool": 60}
    assert merged["source"] == "iter2/dataset/train_combined_iter2_provenance.csv"
    assert merged["synthetic_rows"] == 10


def test_no_machine_path_leaves_the_run(finished: Path) -> None:
    assert str(finished.parent.parent) not in json.dumps(collect(finished))


def test_unfinished_run_names_the_next_step(tmp_path: Path) -> None:
    facts = collect(baseline_only(tmp_path, n_pass=30, n_defect=8).finish())
    jsonschema.validate(facts, SCHEMA)
    assert (facts["run"]["status"], facts["run"]["next"], facts["best"]) == ("in_progress", "iter1/rca", "baseline")


def test_run_before_its_first_stage(tmp_path: Path) -> None:
    facts = collect(RunMaker(tmp_path, n_pass=4, n_defect=4).finish())
    jsonschema.validate(facts, SCHEMA)
    assert (facts["run"]["status"], facts["result"], facts["iterations"]) == ("not_started", None, [])


def test_hard_stop_carries_evidence_and_remedy(tmp_path: Path) -> None:
    maker = baseline_only(tmp_path, n_pass=30, n_defect=8)
    facts = {"code": "empty_pool", "evidence": str(maker.run / "iter1/x.csv"), "remedy": "add rows", "stage": "rca"}
    maker.add("iter1", "rca", "the mining pool is empty", facts, status="error")
    found = collect(maker.finish())
    jsonschema.validate(found, SCHEMA)
    assert found["run"]["status"] == "hard_stop"
    assert found["run"]["problem"] == {
        "label": "iter1", "stage": "rca", "summary": "the mining pool is empty", "code": "empty_pool",
        "evidence": "iter1/x.csv", "remedy": "add rows", "source": "loop_log.jsonl line 4",
    }  # fmt: skip


def test_journal_of_7_0_still_gives_figures(tmp_path: Path) -> None:
    """Lines without facts, artifacts and prev: state and files must do."""
    run = baseline_only(tmp_path, n_pass=30, n_defect=8).finish()
    lines = [json.loads(line) for line in (run / "loop_log.jsonl").read_text().splitlines()]
    kept = ("seq", "ts", "iter", "stage", "status", "summary", "duration_sec", "context_tokens")
    (run / "loop_log.jsonl").write_text("".join(json.dumps({k: line[k] for k in kept}) + "\n" for line in lines))
    (run / "preflight.json").unlink()
    facts = collect(run)
    jsonschema.validate(facts, SCHEMA)
    assert facts["result"]["n_pass"] == 30
    assert facts["checks"][0]["ok"] is None


def test_tampered_scores_and_journal_are_seen(tmp_path: Path) -> None:
    run = baseline_only(tmp_path, n_pass=30, n_defect=8).finish()
    csv = run / "baseline/inference/best_val/inference.csv"
    rows = pd.read_csv(csv)
    rows.loc[rows["label"] == "PASS", "siamese_score"] = 0.0
    rows.to_csv(csv, index=False)
    log = run / "loop_log.jsonl"
    log.write_text(log.read_text().replace("82 weak rows", "28 weak rows").replace("10 epochs", "99 epochs"))
    failed = {check["name"] for check in collect(run)["checks"] if check["ok"] is False}
    assert "Journal chain" in failed
    assert "KPI figures computed again from the scores" in failed
    assert "Score files match the hashes in the journal" in failed


def test_moved_run_is_still_found(tmp_path: Path) -> None:
    run = baseline_only(tmp_path / "old", n_pass=30, n_defect=8).finish()
    moved = tmp_path / "new/workspace/results" / run.name
    shutil.copytree(run, moved)
    shutil.rmtree(tmp_path / "old")
    assert collect(moved)["result"]["recomputed"] is True


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a run directory"):
        collect(tmp_path)


def test_damaged_state_is_refused(tmp_path: Path) -> None:
    run = baseline_only(tmp_path, n_pass=8, n_defect=4).finish()
    (run / "deft_state.json").write_text("{")
    with pytest.raises(InputError, match="deft verify"):
        collect(run)


def test_slider_counts_are_exact_for_many_rows() -> None:
    import numpy as np

    from deft_aoi.kpi.sweep import sweep

    random = np.random.default_rng(0)
    label = np.where(np.arange(30_000) % 10 == 0, "bridge", "PASS")
    score = random.normal(0, 1, 30_000) + 3 * (label == "bridge")
    scored = measure.Scored(label, score, sweep(label != "PASS", score))
    chosen = measure.figures(scored, 1.0)
    found = measure.slider(scored, chosen["threshold"], 1.0)
    assert len(found["thresholds"]) <= 1.2 * measure.KNOTS
    assert found["exact"] is False
    assert found["thresholds"][found["marks"]["chosen"]] == chosen["threshold"]
    for index in (0, found["marks"]["chosen"], found["marks"]["soft"], len(found["thresholds"]) - 1):
        for one in found["labels"]:
            below = int(((label == one["name"]) & (score <= found["thresholds"][index])).sum())
            assert sum(one["steps"][: index + 1]) == below


def test_words() -> None:
    assert [pct(v) for v in (0, 12.345, 0.5, 0.0421, 0.00042, None)] == [
        "0%",
        "12.35%",
        "0.50%",
        "0.042%",
        "0.00042%",
        "–",
    ]
    assert [duration(s) for s in (5, 65, 3700)] == ["5s", "1m 05s", "1h 01m"]
    assert shown_path("/elsewhere/secret/x.csv", Path("/w/results/run")) == ".../x.csv"


def test_score_axis_stretches_only_crowded_probabilities() -> None:
    import numpy as np

    from deft_aoi.kpi.sweep import sweep

    label = np.array(["PASS"] * 50 + ["shift"] * 50)
    for score, kind in (
        (np.linspace(0.1, 0.9, 100), "linear"),
        (np.r_[np.linspace(0, 0.01, 50), np.linspace(0.99, 1, 50)], "logit"),
        (np.linspace(-30, 45, 100), "linear"),
    ):
        scored = measure.Scored(label, score, sweep(label != "PASS", score))
        axis = measure.score_axis(scored, 0.5)
        place = axis.place(np.sort(score))
        assert axis.kind == kind
        assert (np.diff(place) >= 0).all()
        assert 0 <= place[0] < place[-1] <= 1
        assert 2 <= len(measure.axis_ticks(axis)) <= 12


def test_brief_gives_a_reporter_everything_in_one_call(finished: Path) -> None:
    done = inside.deft("report", "--results-dir", finished, "--brief").stdout  # a pipe: all of it anyway
    facts, figures, pictures = re.split(r"\n\n(?:figures|pictures).*\n", done)
    found = collect(finished)
    quoted = [pair.split(" ")[0] for line in figures.splitlines() for pair in line.strip().split(" · ")]
    assert set(quoted) == set(found["figures"])
    keys = [line.split()[0] for line in pictures.splitlines()]
    assert {"pass1", "defect1"} <= set(keys)
    page = (finished / "DEFT_Loop_Report.html").read_text()
    assert all(key in page for key in keys)
    assert re.search(r"^verdict: +FAIL on the KPI set: .*from target", facts, re.M)
    assert all(caveat["why"] in facts for caveat in found["caveats"])
    assert all(f"\n{label}:" in facts for label in ("baseline", "iter1", "iter2", "hardest", "weak rows"))
