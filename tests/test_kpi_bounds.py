"""kpi.bounds against published sample sizes, scipy's beta quantiles and the binomial definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from deft_aoi.base.errors import InputError
from deft_aoi.kpi.bounds import Tally, boards_needed, clean, lower_bound, samples_needed, upper_bound


@pytest.mark.parametrize(
    ("limit", "failures", "samples"),
    [(0.001, 0, 2995), (0.001, 1, 4742), (0.001, 2, 6294), (0.001, 3, 7752), (0.05, 0, 59), (0.01, 0, 299)],
)
def test_samples_needed_are_the_published_ones(limit: float, failures: int, samples: int) -> None:
    assert samples_needed(limit, failures) == samples
    assert upper_bound(failures, samples) <= limit < upper_bound(failures, samples - 1)


@pytest.mark.parametrize(("events", "trials"), [(0, 1), (0, 300), (1, 10), (7, 2700), (299, 300), (2700, 2700)])
def test_bounds_equal_scipy_and_the_binomial_tail(events: int, trials: int) -> None:
    upper, lower = upper_bound(events, trials), lower_bound(events, trials)
    interval = stats.binomtest(events, trials).proportion_ci(confidence_level=0.90, method="exact")
    assert (lower, upper) == pytest.approx((interval.low, interval.high), abs=1e-9)
    if 0 < events < trials:
        assert stats.binom.cdf(events, trials, upper) == pytest.approx(0.05)
        assert stats.binom.sf(events - 1, trials, lower) == pytest.approx(0.05)


@pytest.mark.parametrize(("events", "trials"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(events: int, trials: int) -> None:
    with pytest.raises(InputError, match="events in"):
        upper_bound(events, trials)


@pytest.mark.parametrize("limit", [0.0, 1.0, 2.0])
def test_a_limit_that_no_sample_proves_is_refused(limit: float) -> None:
    with pytest.raises(InputError, match="fraction"):
        samples_needed(limit)


@pytest.mark.parametrize(("events", "rows"), [(0, 1), (0, 300), (1, 4742), (7, 2700), (2700, 2700)])
def test_rows_that_have_nothing_in_common_give_the_exact_bound(events: int, rows: int) -> None:
    assert Tally.independent(rows, events).upper() == pytest.approx(upper_bound(events, rows), abs=1e-12)
    found = Tally.of(np.ones(rows, int), np.arange(rows) < events)
    assert found == Tally.independent(rows, events)


def alike(generator: np.random.Generator, lines: int, boards: int, rows: int, rate: float, rho: float) -> np.ndarray:
    """(lines, boards) events of boards whose parts have an intra-board correlation of `rho`."""
    if rho == 0:
        return generator.binomial(rows, rate, (lines, boards))
    spread = 1 / rho - 1
    return generator.binomial(rows, generator.beta(rate * spread, (1 - rate) * spread, (lines, boards)))


@pytest.mark.parametrize(("boards", "rows"), [(6, 500), (20, 150), (60, 50), (150, 20), (150, 200)])
@pytest.mark.parametrize("rho", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("rate", [0.001, 0.02, 0.3])
def test_the_bound_holds_for_boards_that_are_alike_inside(boards: int, rows: int, rho: float, rate: float) -> None:
    events = alike(np.random.default_rng(0), 400, boards, rows, rate, rho)
    below = np.mean([Tally.of(np.full(boards, rows), one).upper() < rate for one in events])
    assert below <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_the_bound_comes_down_where_many_boards_show_that_they_are_not_alike() -> None:
    events = alike(np.random.default_rng(1), 1, 60, 50, 0.3, 0.0)[0]
    found = Tally.of(np.full(60, 50), events)
    assert found.design_effect < 2 < 1 + 49 * 0.1
    assert found.upper() < 1.1 * upper_bound(int(events.sum()), 3000)


def test_too_few_boards_prove_nothing_however_many_rows_they_have() -> None:
    for limit in (0.001, 0.01, 0.05):
        boards = boards_needed(limit)
        assert clean(boards, 10**7).upper() <= limit < clean(boards - 1, 10**7).upper()
