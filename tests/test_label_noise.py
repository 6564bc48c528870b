"""data.label_noise: planted wrong labels come first, whatever the split; rows are judged by others only."""

from __future__ import annotations

import numpy as np
import pytest

from deft_aoi.data.label_noise import cross_probabilities, doubt_of, enough, label_doubt


def line(rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features of which five grow with a defect's severity, true labels, boards."""
    rng = np.random.default_rng(seed)
    defect = np.arange(rows) % 5 == 0
    features = rng.normal(0, 1, (rows, 30))
    features[:, :5] += np.where(defect, rng.uniform(2, 5, rows), 0)[:, None]
    return features, defect, [f"B{n}" for n in rng.integers(0, 12, rows)]


def test_wrong_labels_are_doubted_and_few_others() -> None:
    features, truth, boards = line()
    given, wrong = truth.copy(), np.r_[3, 7, 11, 13, 20, 25]
    given[wrong] = ~given[wrong]
    found = label_doubt(features, given, boards)
    assert set(wrong) <= set(np.flatnonzero(found.doubtful))
    assert found.doubtful.sum() <= len(wrong) + 6
    assert set(np.argsort(-found.doubt)[:6]) == set(wrong)
    assert found.likely.sum() <= found.doubtful.sum()
    assert set(np.flatnonzero(found.likely)) <= set(wrong)


def test_a_board_never_judges_itself() -> None:
    features, truth, boards = line()
    marked = np.hstack([features, np.zeros((len(truth), 1))])
    bad = np.array(boards) == "B3"
    given = truth.copy()
    given[bad] = True  # a whole board mislabelled, and a feature that gives the board away
    marked[bad, -1] = 50.0
    apart = label_doubt(marked, given, boards).doubtful[bad & ~truth].mean()
    together = label_doubt(marked, given).doubtful[bad & ~truth].mean()
    assert apart > 0.9 > together


def test_the_same_rows_give_the_same_doubt_and_few_rows_teach_enough() -> None:
    features, truth, boards = line()
    first, again = (cross_probabilities(features, truth, boards) for _ in range(2))
    assert np.array_equal(first, again)
    few = cross_probabilities(features, truth, boards, fit_rows=80)
    assert ((few > 0.5) == truth).mean() > 0.9


def test_too_few_rows_judge_nothing() -> None:
    features, truth, boards = line(20)
    assert not enough(truth)
    with pytest.raises(ValueError, match="4 defects of 20 rows"):
        label_doubt(features, truth, boards)


def test_one_class_alone_has_no_likely_error() -> None:
    found = doubt_of(np.array([0.9, 0.1]), np.array([True, True]))
    assert found.doubtful.tolist() == [False, True]
    assert not found.likely.any()
