"""A pool that nobody has labelled: the loop asks a person for the labels that it needs most, and goes on with them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from loop_cli import begin, deft, entries
from small_workspace import make_workspace


@pytest.mark.usefixtures("null_engine_here")
def test_the_loop_waits_for_labels_and_trains_on_them(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", counts=(24, 24, 48, 40))
    csv = root / "augmentation/mining_pool/mining_pool.csv"
    pool = pd.read_csv(csv, dtype=str)
    truth = dict(zip(pool["object_name"], pool["label"], strict=True))
    pool.assign(label="").to_csv(csv, index=False)
    run = begin(root, policy="auto")
    assert "| policy | uncertain | default (the pool has no labels" in (run / "preflight_summary.md").read_text()
    stopped = deft("run", "--results-dir", str(run), check=3).stdout
    assert "HARD STOP labels_needed" in stopped
    assert "12 rows of the pool wait for a person's label" in stopped
    queue = run / "iter1/mining_filter/labelling_queue.csv"
    assert queue.with_suffix(".png").stat().st_size > 10_000
    asked = pd.read_csv(queue, dtype=str, keep_default_na=False)
    assert (asked["label"] == "").all()
    assert asked["reason"].str.match("nearest (above|below) the threshold, score ").all()
    asked["label"] = asked["object_name"].map(truth)
    asked.loc[3, "label"] = ""  # the person cannot tell
    asked.to_csv(queue, index=False)
    deft("resolve", "--results-dir", str(run), "--reason", "labelled the queue")
    for _ in range(3):
        deft("step", "--results-dir", str(run))
    assert [entry["stage"] for entry in entries(run)][-3:] == ["data_mining", "data_merge", "train"]
    combined = pd.read_csv(run / "iter1/dataset/train_combined_iter1.csv", dtype=str)
    assert len(combined) == 24 + 11
    mined = combined.iloc[24:]
    assert (mined["label"] == mined["object_name"].map(truth)).all()
