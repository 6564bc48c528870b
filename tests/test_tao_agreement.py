"""Our gap analysis and neighbours against what nvidia-tao-ds 7.3.0 gave on the same input (golden facts)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deft_aoi.mining.index import nearest, unit
from deft_aoi.rca.weak import breakdown, per_light, weak_samples
from deft_aoi.spec.tree import Optics

GOLDEN = Path(__file__).parent / "golden/tao_data_services.json"


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return dict(json.loads(GOLDEN.read_text()))


def test_gap_analysis_finds_the_same_threshold_rows_and_weakness(golden: dict[str, Any]) -> None:
    gap = golden["gap"]
    columns = ["input_path", "golden_path", "object_name", "label", "siamese_score"]
    scored = pd.DataFrame(gap["rows"], columns=columns).astype({"siamese_score": float})
    threshold, weak = weak_samples(scored, 1.0, gap["top_k_per_label"])
    assert repr(threshold) == gap["threshold"]
    found = per_light(weak, Path(gap["media"]), Optics(tuple(gap["lights"]), gap["ext"], 224, 224))
    ours = found[["filepath", "label", "siamese_score", "weakness"]].to_numpy().tolist()
    assert sorted(ours) == sorted(gap["found"]), "every file, label, score and weakness, to the last digit"
    told = breakdown(scored, weak, threshold, gap["top_k_per_label"]).splitlines()
    assert told[:4] == gap["breakdown"][:4]
    assert sorted(told[4:]) == sorted(gap["breakdown"][4:]), "TAO lists the labels in the order of their weakest row"


def first_seen(rows: list[int]) -> list[int]:
    return list(dict.fromkeys(rows))


def test_neighbours_are_the_same_in_the_same_order(golden: dict[str, Any]) -> None:
    known = golden["neighbours"]
    pool, asked = (unit(np.asarray(known[name], np.float32)) for name in ("pool", "targets"))
    near = nearest(asked, pool, known["topn"])
    assert near.index.shape == (len(asked), known["topn"])
    assert first_seen(near.index.ravel().tolist()) == known["all"]
    same = [
        int(row)
        for label, rows in zip(known["target_labels"], near.index, strict=True)
        for row in rows
        if known["pool_labels"][row] == label
    ]
    assert first_seen(same) == known["same_label"], "TAO drops other labels after the search and refills nothing"


def test_within_a_label_ours_begins_with_what_tao_kept(golden: dict[str, Any]) -> None:
    known = golden["neighbours"]
    pool, asked = (unit(np.asarray(known[name], np.float32)) for name in ("pool", "targets"))
    labels = np.array(known["pool_labels"])
    near = nearest(asked, pool, known["topn"])
    for target, label in enumerate(known["target_labels"]):
        kept = [row for row in near.index[target].tolist() if labels[row] == label]
        own = nearest(asked[target : target + 1], pool, known["topn"], rows=np.flatnonzero(labels == label)).index[0]
        assert own[: len(kept)].tolist() == kept
        assert len(own) == known["topn"], "and goes on to as many as were asked for"
