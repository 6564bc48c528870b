"""kpi.boards: bounds and halves of boards, against counting rows by hand."""

from __future__ import annotations

import numpy as np
import pytest

from deft_aoi.kpi.boards import board_counts, board_record, halves, resample
from deft_aoi.kpi.bounds import Tally, upper_bound
from deft_aoi.kpi.scored import Groups
from deft_aoi.kpi.sweep import far_at_recall


def made(seed: int = 1, boards: int = 12, each: int = 30, spread: float = 1.0) -> tuple[Groups, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    code = np.repeat(np.arange(boards), each)
    defect = generator.random(code.size) < 0.2
    score = generator.normal(size=code.size) + 2.5 * defect + spread * generator.normal(size=boards)[code]
    return Groups("boardname", code, tuple(f"b{n}" for n in range(boards))), defect, np.round(score, 2)


def test_each_draw_is_the_figure_of_its_boards() -> None:
    groups, defect, score = made()
    threshold = 1.0
    drawn = halves(12, seed=4)[:40]
    found = resample(board_counts(groups, defect, score, threshold), drawn)
    assert set(drawn.sum(1)) == {6}
    for draw in range(40):
        rows = np.flatnonzero(drawn[draw][groups.code])
        d, s = defect[rows], score[rows]
        assert found.far[draw] == pytest.approx((s[~d] > threshold).mean())
        assert found.far_full[draw] == pytest.approx(far_at_recall(d, s))


def test_boards_that_differ_widen_the_bound() -> None:
    groups, defect, score = made(boards=40, spread=1.5)
    alike = Groups("boardname", np.random.default_rng(0).permutation(groups.code), groups.names)
    exact = upper_bound(int((score[~defect] > 1.0).sum()), int((~defect).sum()))
    apart = board_record(board_counts(groups, defect, score, 1.0))
    mixed = board_record(board_counts(alike, defect, score, 1.0))
    assert apart["far_upper"] > 1.15 * exact
    assert exact <= mixed["far_upper"] < 1.05 * exact
    assert apart["design_effect"]["far"] > 3 > mixed["design_effect"]["far"]


def test_without_an_error_an_assumed_correlation_speaks() -> None:
    groups, defect, score = made()
    record = board_record(board_counts(groups, defect, score, 99.0))
    sums = record["tallies"]["far"]
    assert record["far_upper"] == Tally(**sums).upper() > 2 * upper_bound(0, int((~defect).sum()))
    assert record["design_effect"]["far"] == 1 + (sums["rows2"] / sums["rows"] - 1) * 0.1
    assert record["escape_upper"] == 1.0


def test_boards_without_a_defect_or_a_pass_are_no_obstacle() -> None:
    groups = Groups("boardname", np.array([0, 0, 1, 2]), ("a", "b", "c"))
    counts = board_counts(groups, np.array([True, False, False, True]), np.array([0.9, 0.1, 0.2, 0.5]), 0.3)
    assert (board_record(counts)["tallies"]["far"]["boards"], board_record(counts)["boards"]) == (2, 3)
    found = resample(counts, halves(3))
    usable = np.isfinite(found.far_full)
    assert 0 < usable.sum() < usable.size  # halves without a PASS row or a defect say nothing
    assert (usable == np.isfinite(found.far)).all()


def test_same_seed_same_halves() -> None:
    assert (halves(9) == halves(9)).all()
    assert (halves(9) != halves(9, seed=1)).any()
    assert len(halves(30_000)) < len(halves(9))
