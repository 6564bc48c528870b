"""The source pool of a pre-generated run: embedded once, read each iteration, never silently another one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from deft_aoi.base.errors import HARD_STOP, OK
from deft_aoi.base.paths import RunPaths
from deft_aoi.base.rows import read_parquet
from deft_aoi.loop import driver
from deft_aoi.preflight import preflight
from deft_aoi.record import journal
from deft_aoi.record.run import load_run
from deft_aoi.stages import mining
from small_workspace import LIGHTS, draw, make_workspace

ASKED = {"max_iterations": 2, "mine_rows": 6, "num_epochs": 2, "synthetic": "pregen_ingest", "batch_size": 8,
         "kpi_target": "FAR <= 0% at recall = 100%", "policy": "knn", "min_similarity": -1.0,
         "screen": False}  # fmt: skip
PAIRS = 3


@pytest.fixture(autouse=True, scope="module")
def null_engine(null_engine_in_module: None) -> None:
    """Models and vectors are the null engine's here."""


def begin(root: Path, **asked: Any) -> RunPaths:
    make_workspace(root, counts=(40, 24, 48, 60))
    rng = np.random.default_rng(5)
    for number in range(PAIRS):
        for folder, label in (("reconstructed_image", "bridge"), ("original_image", "PASS")):
            home = root / "augmentation/anomalygen" / folder
            home.mkdir(parents=True, exist_ok=True)
            for light in LIGHTS:
                cv2.imwrite(str(home / f"PCB+bridge_{number:05d}_{light}.png"), draw(rng, label))
    paths = preflight.write(preflight.preflight({**ASKED, "workspace": str(root), **asked}))
    preflight.start(paths)
    return paths


def until(paths: RunPaths, label: str, stage: str) -> driver.Outcome:
    while True:
        outcome = driver.step(paths.root, wait=300, report=False)
        last = journal.read(paths.log)[-1]
        if outcome.code != OK or (last["iter"], last["stage"]) == (label, stage):
            return outcome


def embedded(paths: RunPaths, label: str) -> pd.DataFrame | None:
    listed = paths.mining(label) / "embed_source_images.parquet"
    return read_parquet(listed, {"filepath": "text"}) if listed.is_file() else None


def test_the_pool_is_embedded_once_and_new_rows_only_are_added(tmp_path: Path) -> None:
    paths = begin(tmp_path / "w")
    assert until(paths, "iter1", "data_mining").code == OK
    file, manifest = paths.synth_pool / "source_embeddings.parquet", paths.synth_pool / "manifest.json"
    record = json.loads(manifest.read_text())["embeddings"]
    assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (record["encoder"], record["images"]) == ("trunk", (60 + PAIRS) * len(LIGHTS))
    rows = pd.read_parquet(file)
    assert list(rows.columns[:2]) == ["filepath", "embedding"], "as TAO's data services write them"
    assert {"label", "object_name", "origin", "light"} <= set(rows.columns)
    assert rows["origin"].value_counts().to_dict() == {"real": 60 * len(LIGHTS), "synthetic": PAIRS * len(LIGHTS)}
    assert all(Path(name).is_file() for name in rows["filepath"])
    artifacts = {item["path"] for entry in journal.read(paths.log) for item in entry.get("artifacts", [])}
    assert "synth_pool/source_embeddings.parquet" in artifacts
    assert embedded(paths, "iter1") is None, "mining had nothing to embed"
    assert (paths.mining("iter1") / "source_embeddings.parquet").is_file()

    pool = tmp_path / "w/augmentation/mining_pool"
    csv = pool / "mining_pool.csv"
    table = pd.read_csv(csv, dtype=str)
    added = table.iloc[:1].assign(object_name="NEW")
    for light in LIGHTS:
        for folder in (added["input_path"].iloc[0], added["golden_path"].iloc[0]):
            cv2.imwrite(str(pool / folder / f"NEW_{light}.png"), draw(np.random.default_rng(77), "bridge"))
    pd.concat([table, added]).to_csv(csv, index=False)
    before = file.stat().st_mtime_ns
    assert until(paths, "iter2", "data_mining").code == OK
    assert [Path(name).name for name in embedded(paths, "iter2")["filepath"]] == [
        f"NEW_{light}.png"
        for light in sorted(LIGHTS)  # as the workspace's spec lists them
    ]
    assert file.stat().st_mtime_ns == before


def test_it_is_this_file_that_mining_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = begin(tmp_path / "w")
    assert until(paths, "iter1", "anomalygen").code == OK
    run = load_run(paths.root)
    pool = mining.source_pool(run)
    there, readable = mining._vectors(run, "iter1", mining.SOURCE, pool, run.workspace.root)
    assert readable.all()
    file, manifest = paths.synth_pool / "source_embeddings.parquet", paths.synth_pool / "manifest.json"
    rows = pd.read_parquet(file)
    rows["embedding"] = [np.roll(vector, 1) for vector in rows["embedding"]]
    rows.to_parquet(file, index=False)
    record = json.loads(manifest.read_text())
    record["embeddings"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(record))
    other, _ = mining._vectors(run, "iter1", mining.SOURCE, pool, run.workspace.root)
    assert not np.allclose(there, other)


def test_a_changed_file_is_a_hard_stop_until_it_is_put_back(tmp_path: Path) -> None:
    paths = begin(tmp_path / "w")
    assert until(paths, "iter1", "anomalygen").code == OK
    file = paths.synth_pool / "source_embeddings.parquet"
    kept = file.read_bytes()
    rows = pd.read_parquet(file)
    rows["embedding"] = [np.roll(vector, 1) for vector in rows["embedding"]]
    rows.to_parquet(file, index=False)
    outcome = until(paths, "iter1", "data_mining")
    assert outcome.code == HARD_STOP
    assert "HARD STOP source_embeddings_changed at iter1/data_mining" in outcome.line
    assert "is not what this run embedded" in outcome.line

    from deft_aoi.loop import decisions

    file.write_bytes(kept)
    assert decisions.resolve(paths.root, "put back").code == OK
    assert until(paths, "iter1", "data_mining").code == OK


def test_a_file_that_is_gone_is_made_again_and_must_be_the_same(tmp_path: Path) -> None:
    paths = begin(tmp_path / "w")
    assert until(paths, "iter1", "evaluate").code == OK
    file = paths.synth_pool / "source_embeddings.parquet"
    kept = file.read_bytes()
    file.unlink()
    assert until(paths, "iter2", "anomalygen").code == OK
    assert file.read_bytes() == kept


def test_a_policy_that_compares_no_pictures_checks_the_file_too(tmp_path: Path) -> None:
    paths = begin(tmp_path / "w", policy="weakness")
    assert until(paths, "iter2", "routing").code == OK
    file = paths.synth_pool / "source_embeddings.parquet"
    file.write_bytes(file.read_bytes() + b" ")
    assert "source_embeddings_changed at iter2/anomalygen" in until(paths, "iter2", "anomalygen").line
