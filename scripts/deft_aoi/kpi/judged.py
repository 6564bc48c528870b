"""What one scored CSV says under a contract: its figures, the verdict on them, and what the champion rule looks at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deft_aoi.kpi.analyze import bounds_by_board, swept_of
from deft_aoi.kpi.gate import Standing, Verdict, choose_point, judge
from deft_aoi.kpi.scored import read_scored
from deft_aoi.kpi.sweep import at_threshold, auroc, operating_point
from deft_aoi.kpi.target import Contract


def score_facts(csv: Path, target: Contract, threshold: float | None = None) -> dict[str, Any]:
    """Figures of one inference CSV, read from its scores. Rates in percent; `threshold` is the exact score value: the
    one given (an evaluator's own), else the one that the target picks.

    `by_board` are the sums over boards that bounds are taken from, None without boards: parts of one board are alike.
    """
    scored = read_scored(csv)
    swept = swept_of(scored)
    if threshold is not None:
        point = at_threshold(swept, threshold)
    elif target.evaluator is not None:  # its numbers do not tell how they depend on the threshold
        point = operating_point(swept)
    else:
        point = choose_point(target, swept)
    boards = bounds_by_board(scored, point.threshold)
    return {
        "by_board": boards["tallies"] if boards else None,
        "inference_csv": str(csv),
        "far_pct": 100 * point.far,
        "threshold": point.threshold,
        "false_calls": point.fp,
        "misses": point.fn,
        "n_pass": swept.n_pass,
        "n_defect": swept.n_defect,
        "far_995_pct": 100 * operating_point(swept, 0.995).far,
        "auroc": auroc(swept),
    }


def own_threshold(facts: Mapping[str, Any]) -> float | None:
    """The threshold that the evaluator of these facts brought; None where the target picked it."""
    told = (facts.get("metric_result") or {}).get("threshold")
    return None if told is None else float(told)


def judged(target: Contract, facts: Mapping[str, Any]) -> Verdict:
    """Verdict on the counts of :func:`score_facts`: never PASS, since these rows chose threshold and model."""
    calls, n_pass, misses, n_defect = (facts[name] for name in ("false_calls", "n_pass", "misses", "n_defect"))
    return judge(target, calls, n_pass, misses, n_defect, facts.get("measured"), by_board=facts.get("by_board"))


def standing(target: Contract, facts: Mapping[str, Any]) -> Standing:
    """What the champion rule looks at; facts of 7.0.x without counts have their FAR alone."""
    if facts.get("false_calls") is not None:
        return Standing(judged(target, facts).loss, facts["far_995_pct"] / 100, facts["auroc"])
    limit = (target.far.limit if target.far else None) or 1.0
    return Standing((facts["far_pct"] / 100 / limit,), facts["far_995_pct"] / 100, facts["auroc"])
