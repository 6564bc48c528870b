"""kpi.boards: resampling whole boards, against drawing rows by hand."""

from __future__ import annotations

import numpy as np
import pytest

from deft_aoi.kpi.boards import BoardCounts, board_counts, board_record, resample
from deft_aoi.kpi.bounds import upper_bound
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
    counts = board_counts(groups, defect, score, threshold)
    found = resample(counts, seed=4, draws=40)
    weights = np.random.default_rng(4).multinomial(12, np.full(12, 1 / 12), size=40)
    for draw in range(40):
        rows = np.repeat(np.arange(score.size), weights[draw][groups.code])
        d, s = defect[rows], score[rows]
        assert found.far[draw] == pytest.approx((s[~d] > threshold).mean())
        assert found.escape[draw] == pytest.approx((s[d] <= threshold).mean())
        assert found.far_full[draw] == pytest.approx(far_at_recall(d, s))


def test_boards_that_differ_widen_the_bound() -> None:
    groups, defect, score = made(boards=40, spread=1.5)
    alike = Groups("boardname", np.random.default_rng(0).permutation(groups.code), groups.names)
    exact = upper_bound(int((score[~defect] > 1.0).sum()), int((~defect).sum()))
    apart = board_record(board_counts(groups, defect, score, 1.0))
    mixed = board_record(board_counts(alike, defect, score, 1.0))
    assert apart["far_upper"] > 1.15 * exact
    assert exact <= mixed["far_upper"] < 1.05 * exact
    assert apart["far_full"][0] < apart["far_full"][1]


def test_without_an_error_the_exact_bound_speaks() -> None:
    groups, defect, score = made()
    record = board_record(board_counts(groups, defect, score, 99.0))
    assert record["far_upper"] == upper_bound(0, int((~defect).sum()))
    assert record["escape_upper"] == 1.0


def test_boards_without_a_defect_or_a_pass_are_no_obstacle() -> None:
    groups = Groups("boardname", np.array([0, 0, 1, 2]), ("a", "b", "c"))
    counts = board_counts(groups, np.array([True, False, False, True]), np.array([0.9, 0.1, 0.2, 0.5]), 0.3)
    assert isinstance(counts, BoardCounts)
    found = resample(counts, draws=500)
    assert 0 < found.far.size < 500  # draws without a PASS row or a defect say nothing
    assert np.isfinite(found.far_full).all()


def test_same_seed_same_bytes() -> None:
    groups, defect, score = made()
    counts = board_counts(groups, defect, score, 1.0)
    assert board_record(counts) == board_record(counts)
    assert board_record(counts) != board_record(counts, seed=1)
