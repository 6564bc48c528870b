"""The threshold of TAO's own gap analysis on 50 random score sets with ties (facts recorded from the real program)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deft_aoi.kpi.gate import choose_point
from deft_aoi.kpi.sweep import gap_point, sweep
from deft_aoi.kpi.target import parse_target

SETS = json.loads((Path(__file__).parent / "golden/tao_gap_threshold.json").read_text())["sets"]


@pytest.mark.parametrize("number", range(len(SETS)))
def test_same_threshold_as_tao(number: int) -> None:
    known = SETS[number]
    score = np.array(known["scores"]) / known["step"]
    swept = sweep(np.isin(np.arange(score.size), known["defects"]), score)
    for recall, threshold in known["threshold"].items():
        found = gap_point(swept, float(recall)).threshold
        if threshold is None:  # TAO steps below in float64, we in float32, where its scores live: same decisions
            assert found < score.min()
        else:
            assert found == threshold
    full = choose_point(parse_target("FAR < 0.1% at recall = 100%"), swept)
    assert full == gap_point(swept, 1.0)


def test_the_sets_have_ties_and_the_lowest_score_case() -> None:
    assert sum(len(set(known["scores"])) < len(known["scores"]) for known in SETS) >= 45
    assert any(known["threshold"]["1.0"] is None for known in SETS)
