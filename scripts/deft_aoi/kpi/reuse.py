"""Use of a judged model on new rows: decisions, the scores that a person should look at, and drift from the KPI set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.errors import InputError
from deft_aoi.base.names import PASS
from deft_aoi.kpi.scored import Scored

NO_PASS, REVIEW = "NO_PASS", "REVIEW"  # the decisions besides PASS
REVIEW_SHARE = 0.02
DRIFT_DISTANCE, DRIFT_CHANCE = 0.1, 0.01
UNSEEN_SHARE = 0.05
# Levels of the kept quantiles: close together where thresholds lie, in the upper tail of the PASS scores.
_LEVELS = np.concatenate([np.linspace(0, 0.9, 91), np.linspace(0.901, 0.99, 90), np.linspace(0.9901, 1, 100)])
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """How far new rows are from the KPI set (0..1), and the chance of as much without drift: the Kolmogorov-Smirnov
    distance of the scores that pass, or by how much more rows are called NO_PASS."""

    distance: float
    chance: float
    warning: str | None


def reference_of(scored: Scored, threshold: float) -> dict[str, Any]:
    """What later use needs of the KPI scores, JSON-ready: quantiles of the PASS rows, the lowest defect, the types."""
    passes = scored.score[~scored.defect]
    components = scored.components
    return {
        "threshold": threshold,
        "n_pass": int(passes.size),
        "n_defect": int(scored.defect.sum()),
        "pass_levels": _LEVELS.tolist(),
        "pass_quantiles": np.quantile(passes, _LEVELS).tolist(),
        "lowest_defect": float(scored.score[scored.defect].min()),
        "component_column": components.column if components else None,
        "components": sorted(components.names) if components else [],
    }


def review_band(reference: Mapping[str, Any] | None, share: float = REVIEW_SHARE) -> tuple[float, float] | None:
    """Scores that a person should look at, both ends included; None without a reference, and for a share of 0.

    The `share` of KPI PASS rows that lie nearest to the threshold by rank, half on either side; above it at least up to
    the lowest defect, since no row of the KPI set says anything of the scores in between.
    Raises InputError for a share below 0, or of 1 and more.
    """
    if not 0 <= share < 1:
        raise InputError(f"--review-share {share}: expected a fraction from 0 to below 1, as 0.02 for 2 %")
    if reference is None or not share:
        return None
    levels, quantiles = np.array(reference["pass_levels"]), np.array(reference["pass_quantiles"])
    at = float(np.interp(reference["threshold"], quantiles, levels))
    low = float(np.interp(max(at - share / 2, 0.0), levels, quantiles))
    high = float(np.interp(min(at + share / 2, 1.0), levels, quantiles))
    return min(low, reference["threshold"]), max(high, reference["lowest_defect"])


def decide(score: Reals, threshold: float, band: tuple[float, float] | None) -> NDArray[np.str_]:
    """PASS, NO_PASS, or REVIEW inside the band; shape (n,)."""
    decision = np.where(score > threshold, NO_PASS, PASS)
    if band is not None:
        decision = np.where((score >= band[0]) & (score <= band[1]), REVIEW, decision)
    return decision


def drift(score: Reals, reference: Mapping[str, Any]) -> Drift | None:
    """Drift of new rows from the KPI set: too many of them called NO_PASS, or another distribution of those that pass.
    None with fewer than 20 rows."""
    threshold = reference["threshold"]
    if score.size < 20:
        return None
    passed = np.sort(score[score <= threshold])
    share = float(_levels(np.array([threshold]), reference)[1][0])  # of KPI PASS rows at or below the threshold
    distance, chance, up = _apart(passed, share, reference) if passed.size >= 20 and share > 0 else (0.0, 1.0, True)
    text = None
    if distance > DRIFT_DISTANCE and chance < DRIFT_CHANCE:
        text = (
            f"scores drift {'up' if up else 'down'}: their distribution is {distance:.2f} from the KPI set's "
            "(0 same, 1 apart), so its FAR and recall do not hold here; check lamps, goldens, board versions"
        )
    more, by_chance = _called(score.size - passed.size, score.size, share, reference)
    if more > max(distance, DRIFT_DISTANCE) and by_chance < DRIFT_CHANCE:
        distance, chance = more, by_chance
        text = (
            f"{1 - passed.size / score.size:.0%} of the rows are called NO_PASS, {more:.0%} more than of the KPI set "
            "with all its defects: either most are defects, or lamps, goldens or board versions changed"
        )
    return Drift(distance, chance, text)


def _levels(values: Reals, reference: Mapping[str, Any]) -> tuple[Reals, Reals]:
    """Share of the KPI PASS rows (below, at or below) each value, from the kept quantiles; ties make them differ."""
    levels, quantiles = np.array(reference["pass_levels"]), np.array(reference["pass_quantiles"])
    found = []
    for above in (np.searchsorted(quantiles, values, side="left"), np.searchsorted(quantiles, values, side="right")):
        inner = np.clip(above, 1, quantiles.size - 1)
        low, high = quantiles[inner - 1], quantiles[inner]
        part = np.clip((values - low) / np.maximum(high - low, 1e-300), 0, 1)
        level = levels[inner - 1] + part * (levels[inner] - levels[inner - 1])
        found.append(np.where(above == 0, 0.0, np.where(above == quantiles.size, 1.0, level)))
    return found[0], found[1]


def _apart(passed: Reals, share: float, reference: Mapping[str, Any]) -> tuple[float, float, bool]:
    """(Kolmogorov-Smirnov distance of rows that pass, sorted, chance of one as large, whether they score higher)."""
    values, counts = np.unique(passed, return_counts=True)
    below, upto = (np.minimum(level / share, 1.0) for level in _levels(values, reference))
    steps = np.concatenate([[0.0], np.cumsum(counts)]) / passed.size
    distance = float(max(np.abs(steps[1:] - upto).max(), np.abs(steps[:-1] - below).max()))
    other = share * reference["n_pass"]
    from scipy.stats import kstwobign  # half a second to import

    chance = float(kstwobign.sf(distance * np.sqrt(passed.size * other / (passed.size + other))))
    middle = np.interp(share / 2, reference["pass_levels"], reference["pass_quantiles"])
    return distance, chance, float(np.median(passed)) > float(middle)


def _called(called: int, rows: int, share: float, reference: Mapping[str, Any]) -> tuple[float, float]:
    """(how much larger the share of called rows is than in the KPI set, chance of one as large)."""
    from scipy.stats import binom

    known = reference["n_pass"] + reference["n_defect"]
    usual = (reference["n_pass"] * (1 - share) + reference["n_defect"]) / known
    return called / rows - usual, float(binom.sf(called - 1, rows, min(usual + 1 / known, 1.0)))


def unseen_components(scored: Scored, reference: Mapping[str, Any]) -> str | None:
    """A warning where many rows are of component types that the KPI set never had."""
    groups = scored.groups(reference["component_column"]) if reference["component_column"] else None
    if groups is None:
        return None
    new = [number for number, name in enumerate(groups.names) if name and name not in reference["components"]]
    rows = int(np.isin(groups.code, new).sum())
    if rows <= UNSEEN_SHARE * scored.score.size:
        return None
    names = ", ".join(groups.names[number] for number in new[:3])
    return f"{rows:,} rows are of {len(new)} component types that the KPI set never had ({names})"
