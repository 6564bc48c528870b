"""kpi.bounds against published sample sizes, scipy's beta quantiles and the binomial definition."""

from __future__ import annotations

import pytest
from scipy import stats

from deft_aoi.base.errors import InputError
from deft_aoi.kpi.bounds import lower_bound, samples_needed, upper_bound


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
