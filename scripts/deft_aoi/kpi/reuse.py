"""Use of a judged model on new rows: decisions, the scores that a person should look at, and drift from the KPI set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deft_aoi.kpi.scored import Scored

REVIEW_SHARE = 0.02
DRIFT_DISTANCE, DRIFT_CHANCE = 0.1, 0.01
UNSEEN_SHARE = 0.05
# Levels of the kept quantiles: close together where thresholds lie, in the upper tail of the PASS scores.
_LEVELS = np.concatenate([np.linspace(0, 0.9, 91), np.linspace(0.901, 0.99, 90), np.linspace(0.9901, 1, 100)])
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """How far the scores of new rows called PASS lie from those of the KPI set: the Kolmogorov-Smirnov distance (0..1)
    and the chance of one as large without drift."""

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


def review_band(reference: Mapping[str, Any], share: float = REVIEW_SHARE) -> tuple[float, float]:
    """Scores that a person should look at, both ends included.

    The `share` of KPI PASS rows that lie nearest to the threshold by rank, half on either side; above it at least up to
    the lowest defect, since no row of the KPI set says anything of the scores in between.
    """
    levels, quantiles = np.array(reference["pass_levels"]), np.array(reference["pass_quantiles"])
    at = float(np.interp(reference["threshold"], quantiles, levels))
    low = float(np.interp(max(at - share / 2, 0.0), levels, quantiles))
    high = float(np.interp(min(at + share / 2, 1.0), levels, quantiles))
    return min(low, reference["threshold"]), max(high, reference["lowest_defect"])


def decide(score: Reals, threshold: float, band: tuple[float, float] | None) -> NDArray[np.str_]:
    """PASS, NO_PASS, or REVIEW inside the band; shape (n,)."""
    decision = np.where(score > threshold, "NO_PASS", "PASS")
    if band is not None:
        decision = np.where((score >= band[0]) & (score <= band[1]), "REVIEW", decision)
    return decision


def drift(score: Reals, reference: Mapping[str, Any]) -> Drift | None:
    """Drift of the rows at or below the threshold; None with fewer than 20 of them."""
    threshold = reference["threshold"]
    levels, quantiles = np.array(reference["pass_levels"]), np.array(reference["pass_quantiles"])
    mine = np.sort(score[score <= threshold])
    share = float(np.interp(threshold, quantiles, levels))
    if mine.size < 20 or share <= 0:
        return None
    known = np.minimum(np.interp(mine, quantiles, levels) / share, 1.0)
    steps = np.arange(mine.size + 1) / mine.size
    distance = float(max((steps[1:] - known).max(), (known - steps[:-1]).max()))
    other = share * reference["n_pass"]
    from scipy.stats import kstwobign  # half a second to import

    chance = float(kstwobign.sf(distance * np.sqrt(mine.size * other / (mine.size + other))))
    drifted = distance > DRIFT_DISTANCE and chance < DRIFT_CHANCE
    up = float(np.median(mine)) > float(np.interp(share / 2, levels, quantiles))
    text = (
        f"scores drift {'up' if up else 'down'}: their distribution lies {distance:.2f} from the KPI set's "
        "(0 same, 1 apart), so its FAR and recall do not hold here; check lamps, goldens, board versions"
    )
    return Drift(distance, chance, text if drifted else None)


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
