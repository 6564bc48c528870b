"""mining.shortlist: which rows of a big pool a model scores, and what the Summary and the journal say of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import inside
from deft_aoi.base.rows import PASS
from deft_aoi.mining.shortlist import BY_CHANCE, BY_GLANCE, SKIPPED, shortlist
from deft_aoi.preflight import plan_values
from deft_aoi.preflight.summary import scoring
from deft_aoi.record.run import Plan
from loop_cli import entries
from small_workspace import make_workspace

ROWS, MOST = 20_000, 2000


def pool(defects: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (two defect types, the second rare), free rows, and how unlike their golden rows look."""
    generator = np.random.default_rng(0)
    labels = np.full(ROWS, PASS, "U8")
    labels[:defects] = "bridge"
    labels[: min(defects, 100)] = "lifted"
    free = generator.random(ROWS) < 0.9
    return labels, free, generator.random(ROWS, np.float32)


def test_a_pool_that_is_small_enough_is_scored_whole() -> None:
    labels, free, unlike = pool()
    for most in (0, int(free.sum())):
        asked = shortlist(labels, free, unlike, most, seed=1)
        assert ((asked == BY_CHANCE) == free).all()


def test_hard_rows_at_a_glance_and_rows_by_chance_fill_the_list() -> None:
    labels, free, unlike = pool()
    asked = shortlist(labels, free, unlike, MOST, seed=1)
    assert (int((asked != SKIPPED).sum()), bool((free | (asked == SKIPPED)).all())) == (MOST, True)
    good, glance, chance = labels == PASS, asked == BY_GLANCE, asked == BY_CHANCE
    skipped = (asked == SKIPPED) & free
    assert unlike[glance & good].min() > unlike[skipped & good].max()
    bridge = labels == "bridge"
    assert unlike[glance & bridge].max() < unlike[skipped & bridge].min()
    assert not (skipped & (labels == "lifted")).any()  # types take turns: a rare one is on it whole
    for kind in (good, bridge):  # who judges labels was chosen by nothing
        assert abs(float(np.median(unlike[chance & kind])) - 0.5) < 0.1
    assert int((chance & good).sum()) == 200
    assert abs(int((asked[good] != SKIPPED).sum()) - MOST // 2) <= 60
    assert (shortlist(labels, free, unlike, MOST, seed=1) == asked).all()
    assert (shortlist(labels, free, unlike, MOST, seed=2) != asked).any()


def test_what_a_class_cannot_fill_goes_to_the_other() -> None:
    labels, free, unlike = pool(defects=120)
    asked = shortlist(labels, free, unlike, MOST, seed=1)
    assert int((asked != SKIPPED).sum()) == MOST
    assert (asked[free & (labels != PASS)] != SKIPPED).all()
    assert int((shortlist(np.full(ROWS, ""), free, unlike, MOST, seed=1) != SKIPPED).sum()) == MOST


def test_the_summary_says_how_many_rows_and_hours() -> None:
    plan = Plan("w", "FAR < 1% at recall = 100%", 1, policy="weakness", engine="tao", platform="docker")
    (line,) = scoring(plan, 1_000_000)
    assert "60,000 of the 1,000,000 pool rows" in line
    assert "about 0.2 hours instead of 3.5" in line
    assert "--score-rows 0" in line
    assert scoring(plan, 20_000) == []
    (line,) = scoring(Plan("w", "", 1, policy="weakness", engine="tao", platform="docker", score_rows=0), 1_000_000)
    assert "1,000,000 pool rows in each iteration: about 3.5 hours" in line
    assert "hours" not in scoring(Plan("w", "", 1, policy="weakness"), 1_000_000)[0]  # our engines: measured by nobody
    assert scoring(Plan("w", "", 1, policy="knn"), 1_000_000) == []
    assert Plan("w", "", 1, score_rows=1000, mine_rows=200).most_scored == 4000


@pytest.mark.usefixtures("null_engine_here")
def test_a_loop_scores_the_shortlist_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_values, "LEAST", 1)
    root = make_workspace(tmp_path / "ws", seed=4, counts=(24, 24, 40, 60))
    asked = ("--policy", "weakness", "--mine-rows", "1", "--score-rows", "20", "--num-epochs", "1")
    shown = inside.deft("preflight", "--workspace", root, "--max-iterations", "1", *asked).stdout
    code = re.search(r"--approve (\w+)", shown)
    assert code
    inside.deft("start", "--workspace", root, "--approve", code[1])
    (run,) = (root / "results").glob("run_*")
    while not (mined := [one for one in entries(run) if one["stage"] == "data_mining"]):
        inside.deft("step", "--wait", "300", "--results-dir", run)
    unused = len(pd.read_csv(root / "augmentation/mining_pool/mining_pool.csv"))
    scored = pd.read_csv(run / "iter1/mining_filter/pool_to_score.csv")
    assert len(scored) == mined[0]["facts"]["scored"] < unused
    assert f"{len(scored)} of these were scored" in mined[0]["summary"]
    assert mined[0]["facts"]["kept"] == 1
