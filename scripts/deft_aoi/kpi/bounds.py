"""What a count proves about a rate: one-sided exact (Clopper-Pearson) bounds and sample sizes."""

from __future__ import annotations

from deft_aoi.base.errors import InputError

CONFIDENCE = 0.95


def upper_bound(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """One-sided upper Clopper-Pearson bound of a rate (fraction): the (events + 1, trials - events) beta quantile.

    1.0 where every trial is an event or there is no trial.
    """
    _check(events, trials, confidence)
    if events == trials:
        return 1.0
    return _beta_quantile(events + 1, trials - events, confidence)


def lower_bound(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """One-sided lower Clopper-Pearson bound of a rate (fraction); 0.0 without an event."""
    _check(events, trials, confidence)
    if events == 0:
        return 0.0
    return _beta_quantile(events, trials - events + 1, 1 - confidence)


def _beta_quantile(a: float, b: float, probability: float) -> float:
    from scipy.special import betaincinv  # a fifth of a second to import, and most commands ask for no bound

    return float(betaincinv(a, b, probability))


def samples_needed(limit: float, failures: int = 0, confidence: float = CONFIDENCE) -> int:
    """Smallest number of trials at which `failures` events still prove a rate of at most `limit` (fraction).

    The bound falls with the number of trials, so this is a binary search. Raises InputError unless 0 < limit < 1.
    """
    if not 0 < limit < 1:
        raise InputError(f"limit {limit!r}: expected a fraction between 0 and 1, as 0.001 for 0.1 %")
    low, high = failures, failures + 1
    while upper_bound(failures, high, confidence) > limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if upper_bound(failures, middle, confidence) > limit:
            low = middle
        else:
            high = middle
    return high


def _check(events: int, trials: int, confidence: float) -> None:
    if not 0 <= events <= trials:
        raise InputError(f"{events} events in {trials} trials: expected 0 <= events <= trials")
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence!r}: expected a fraction between 0 and 1")
