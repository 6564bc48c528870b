"""kpi.sweep against a plain reference, on ties, and on everything that must be refused."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deft_aoi.base.errors import InputError
from deft_aoi.kpi.sweep import at_threshold, auroc, far_at_recall, gap_point, just_below, operating_point, sweep


def random_set(seed: int, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    size = int(generator.integers(5, 200))
    defect = generator.random(size) < 0.3
    defect[:2] = True, False
    score = generator.normal(size=size) + defect
    return defect, (np.round(score, 1) if ties else score)


@pytest.mark.parametrize("seed", range(50))
def test_counts_equal_the_definition(seed: int) -> None:
    defect, score = random_set(seed)
    swept = sweep(defect, score)
    assert list(swept.threshold[1:]) == sorted(set(score))
    for index, threshold in enumerate(swept.threshold):
        called = score > threshold
        assert swept.tp[index] == (called & defect).sum()
        assert swept.fp[index] == (called & ~defect).sum()
        assert swept.tn[index] == (~called & ~defect).sum()
        assert swept.fn[index] == (~called & defect).sum()


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("recall", [1.0, 0.995, 0.9, 0.5])
def test_gap_point_is_the_exhaustive_choice(seed: int, recall: float) -> None:
    defect, score = random_set(seed)
    best = None
    for threshold in [score.min() - 1e-6, *sorted(set(score))]:
        called = score > threshold
        hits = int((called & defect).sum())
        if hits / defect.sum() < recall - 1e-12:
            continue
        precision = hits / max(int(called.sum()), 1)
        f1 = 2 * hits / (int(called.sum()) + int(defect.sum()))
        key = (round(f1, 14), round(precision, 14), threshold)
        best = max(best, key) if best else key
    assert best is not None
    chosen = gap_point(sweep(defect, score), recall)
    assert chosen.threshold == pytest.approx(best[2], abs=2e-6)
    assert chosen.recall >= recall - 1e-12


@pytest.mark.parametrize("seed", range(20))
def test_operating_point_at_full_recall_is_the_highest_that_keeps_every_defect(seed: int) -> None:
    defect, score = random_set(seed)
    swept = sweep(defect, score)
    point = operating_point(swept)
    lower = score[score < score[defect].min()]
    assert point.threshold == (lower.max() if lower.size else swept.threshold[0])
    assert point.fn == 0
    assert point == gap_point(swept)
    assert at_threshold(swept, point.threshold) == point


def test_lower_recall_gives_the_lowest_far_at_it() -> None:
    defect = np.array([True] * 4 + [False] * 4)
    score = np.array([0.1, 0.7, 0.8, 0.9, 0.2, 0.3, 0.4, 0.75])
    assert far_at_recall(defect, score, 1.0) == 1.0
    assert far_at_recall(defect, score, 0.75) == 0.25


@pytest.mark.parametrize("seed", range(20))
def test_auroc_counts_ties_half(seed: int) -> None:
    defect, score = random_set(seed)
    assert auroc(sweep(defect, score)) == pytest.approx(roc_auc_score(defect, score), abs=1e-12)


@pytest.mark.parametrize("score", [0.0, 1.0, -3.25, 1e-30, 0.1, 1e300, 123456.789])
def test_candidate_below_the_smallest_is_below_in_float32_too(score: float) -> None:
    below = just_below(score)
    assert below < score
    assert np.isfinite(below)
    if score < 1e30:
        assert np.float32(below) < np.float32(score)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_refused_with_its_line(value: float) -> None:
    with pytest.raises(InputError, match=r"line 4: score .* not a finite number"):
        sweep(np.array([True, False, False]), np.array([0.9, 0.1, value]))


@pytest.mark.parametrize(
    ("defect", "says"),
    [([], "no scored rows"), ([False, False], "all 2 rows are PASS.*recall"), ([True, True], "are defects: FAR")],
)
def test_a_set_that_cannot_be_judged_says_what_is_missing(defect: list[bool], says: str) -> None:
    with pytest.raises(InputError, match=says):
        sweep(np.array(defect, dtype=bool), np.zeros(len(defect)))


@pytest.mark.parametrize("recall", [0.0, 1.1, 99.5])
def test_recall_in_percent_is_refused(recall: float) -> None:
    with pytest.raises(InputError, match="fraction"):
        operating_point(sweep(np.array([True, False]), np.array([1.0, 0.0])), recall)


def test_on_other_boards_a_frozen_threshold_lets_defects_escape_and_far_hardly_moves() -> None:
    generator = np.random.default_rng(0)
    board, defect = np.repeat(np.arange(120), 53), np.tile(np.arange(53) >= 50, 120)
    moved, escaped = [], []
    for _ in range(100):
        score = generator.normal(size=board.size) + 4.5 * defect + generator.normal(0, 0.3, 120)[board]
        kpi = board < 60
        point = operating_point(sweep(defect[kpi], score[kpi]))
        called = score[~kpi] > point.threshold
        moved.append(called[~defect[~kpi]].mean() - point.far)
        escaped.append((~called[defect[~kpi]]).mean())
    assert abs(np.mean(moved)) < 0.005  # the Summary warns of escapes, not of a higher FAR
    assert 0.002 < np.mean(escaped) < 0.02


def test_a_million_rows_take_about_a_second() -> None:
    generator = np.random.default_rng(0)
    defect = generator.random(1_000_000) < 0.1
    start = time.perf_counter()
    swept = sweep(defect, generator.random(1_000_000))
    operating_point(swept)
    assert time.perf_counter() - start < 5
