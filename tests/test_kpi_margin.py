"""kpi.margin: what the threshold is, and how far the next defect is above it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from deft_aoi.kpi.bounds import Tally
from deft_aoi.kpi.gate import choose_point, judge
from deft_aoi.kpi.margin import Margin, margin
from deft_aoi.kpi.sweep import operating_point, sweep
from deft_aoi.kpi.target import parse_target


def at_full_recall(passes: list[float], defects: list[float]) -> Margin:
    score = np.array([*passes, *defects])
    defect = np.array([False] * len(passes) + [True] * len(defects))
    found = margin(score, defect, operating_point(sweep(defect, score)).threshold)
    assert found
    return found


def test_the_threshold_is_the_highest_pass_score_below_every_defect() -> None:
    found = at_full_recall([0.1, 0.2, 0.3], [0.8, 0.9])
    assert (found.threshold, found.below, found.lowest, round(found.gap, 9)) == (0.3, 0.3, 0.8, 0.5)
    assert found.sentence() == (
        "The threshold 0.3 is the highest PASS score below every defect; the lowest defect scores 0.8, 0.5 above."
    )


def test_threshold_and_defect_are_written_in_every_digit() -> None:
    assert "The threshold 0.99903005 is" in at_full_recall([0.1, 0.99903005], [0.99957901, 0.9999]).sentence()
    assert "scores 0.99957901," in at_full_recall([0.1, 0.99903005], [0.99957901, 0.9999]).sentence()


def test_a_narrow_gap_is_called_narrow_with_its_size() -> None:
    found = at_full_recall([0.1, 0.2, 0.79], [0.8, 0.9])
    assert found.narrow
    assert "0.01 above: a narrow gap, 1.5% of the way between" in found.sentence()


def test_a_threshold_below_all_scores_is_no_pass_score() -> None:
    found = at_full_recall([0.5, 0.6], [0.4, 0.9])
    assert found.below is None
    assert "is below every PASS score" in found.sentence()


def test_at_a_lower_recall_the_next_defect_counts() -> None:
    score, defect = np.array([0.1, 0.3, 0.2, 0.8, 0.9]), np.array([False, False, True, True, True])
    found = margin(score, defect, 0.3)
    assert found
    assert found.escapes == 1
    assert "highest PASS score below the next defect; the lowest defect that is caught scores 0.8" in found.sentence()


def test_nothing_is_said_where_no_defect_is_caught() -> None:
    assert margin(np.array([0.1, 0.2]), np.array([False, True]), 0.2) is None


def test_a_pass_does_not_call_a_recall_of_100_percent_proven() -> None:
    target = parse_target("FAR < 10% at recall = 100%")
    by_board = {"far": asdict(Tally.independent(400, 0)), "escape": asdict(Tally.independent(60, 0))}
    verdict = judge(target, 0, 400, 0, 60, by_board=by_board, sealed=True)
    assert verdict.status == "PASS"
    assert (
        "FAR < 10% and escape <= 5% is proven; recall = 100% holds on these rows, which no number of rows can prove"
        in verdict.sentence
    )
    whole = parse_target("FAR < 10% at recall >= 90%")
    proven = judge(whole, 0, 400, 0, 60, by_board=by_board, sealed=True).sentence
    assert proven.endswith("FAR < 10% and recall >= 90% is proven")
    assert choose_point(target, sweep(np.array([True, False]), np.array([0.9, 0.1]))).threshold == 0.1
