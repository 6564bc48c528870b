"""Loops without a mining pool, or with one that is used up: synthetic rows are then all that is new."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from loop_cli import ROWS, begin, deft, entries
from small_workspace import make_workspace

PATCHES = ("--synthetic", "patches", "--num-sdg", "6")


def test_a_workspace_without_pool_runs_on_synthetic_rows_alone(tmp_path: Path, null_engine_here: None) -> None:
    root = make_workspace(tmp_path / "ws", counts=(ROWS, 24, 48, 12))
    shutil.rmtree(root / "augmentation/mining_pool")
    refused = deft("preflight", "--workspace", root, "--max-iterations", "1", check=2).stderr
    assert "mining_pool.csv; expected new rows of some kind; put it there, or let rows be made" in refused
    shown = deft("preflight", "--workspace", root, "--max-iterations", "1", *PATCHES).stdout
    assert "| pool | off | no augmentation/mining_pool/mining_pool.csv |" in shown
    run = begin(root, *PATCHES, "--max-synthetic-share", "0.5", policy="knn")
    deft("run", "--results-dir", run)
    assert entries(run)[-1]["stage"] == "loop_stop"
    for label, before in (("iter1", ROWS), ("iter2", ROWS + 6)):
        provenance = pd.read_csv(run / f"{label}/dataset/train_combined_{label}_provenance.csv", dtype=str)
        assert len(provenance) == before + 6
        assert (provenance["origin"].tail(6) == "synthetic").all()
        mined = next(e for e in entries(run) if (e["iter"], e["stage"]) == (label, "data_mining"))
        assert mined["summary"] == "0 rows mined: no mining pool; 6 synthetic rows are this iteration's new rows"
    assert deft("verify", "--results-dir", run).stdout.startswith("verified: ")


def test_a_pool_that_is_used_up_leaves_the_synthetic_rows(tmp_path: Path, null_engine_here: None) -> None:
    root = make_workspace(tmp_path / "ws", counts=(ROWS, 24, 48, 12))
    run = begin(root, *PATCHES, "--max-synthetic-share", "0.14", mine_rows="200", policy="random")
    said = deft("run", "--results-dir", run, check=3).stdout
    (mined,) = [e for e in entries(run) if (e["iter"], e["stage"]) == ("iter2", "data_mining")]
    assert mined["summary"].startswith("0 rows mined: nothing of the pool is left; 6 synthetic rows")
    assert "iter2 has no new row: 0 mined, 6 synthetic rows are above the share of 14%" in said
