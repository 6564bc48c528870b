"""Bounds against statsmodels, and the published sample sizes as verdicts."""

from __future__ import annotations

import pytest
from statsmodels.stats.proportion import proportion_confint

from deft_aoi.kpi.bounds import lower_bound, samples_needed, upper_bound


@pytest.mark.parametrize("trials", [1, 2, 10, 59, 299, 2995, 7752])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 1.0])
def test_bounds_equal_statsmodels(trials: int, share: float) -> None:
    events = round(share * trials)
    low, high = proportion_confint(events, trials, alpha=0.1, method="beta")
    assert upper_bound(events, trials) == pytest.approx(1.0 if events == trials else high, rel=1e-9)
    assert lower_bound(events, trials) == pytest.approx(0.0 if events == 0 else low, rel=1e-9)


@pytest.mark.parametrize(("limit", "rows"), [(0.05, 59), (0.01, 299), (0.001, 2995)])
def test_escape_limits_need_the_published_numbers(limit: float, rows: int) -> None:
    assert samples_needed(limit) == rows
    assert proportion_confint(0, rows, alpha=0.1, method="beta")[1] <= limit
    assert proportion_confint(0, rows - 1, alpha=0.1, method="beta")[1] > limit
