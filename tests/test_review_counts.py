"""data.review_counts: status, page and Summary count a person's rows in one way; binary pictures are recognised."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from deft_aoi.data.review_counts import ReviewCounts, count_review
from deft_aoi.rca.evidence import pair_facts
from deft_aoi.spec.tree import Optics


def test_rows_noted_as_systematic_are_no_question_of_labels() -> None:
    assert count_review(["", "wrong label", "systematic", "", "fine"]) == ReviewCounts(4, 2, 1)
    assert count_review([]) == ReviewCounts(0, 0, 0)


@pytest.mark.parametrize(("kind", "two_level"), [("binary", True), ("grey", False)])
def test_black_and_white_pictures_are_told_from_grey_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, two_level: bool
) -> None:
    monkeypatch.setenv("DEFT_CACHE_DIR", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        drawn = (
            rng.integers(0, 2, (8, 8)).repeat(8, 0).repeat(8, 1) * 255
            if kind == "binary"
            else rng.integers(60, 200, (64, 64))
        )
        cv2.imwrite(str(tmp_path / folder / "x_L.jpg"), drawn.astype(np.uint8))
    rows = pd.DataFrame({"input_path": ["a"], "golden_path": ["b"], "object_name": ["x"]})
    share = pair_facts(rows, tmp_path, Optics(("L",), ".jpg", 64, 64))[0, 0, 4]
    assert (share >= 0.95) == two_level
