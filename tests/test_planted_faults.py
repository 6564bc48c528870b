"""Faults planted into a simulated line are all found before anything is trained."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import inside
import planted
from deft_aoi.simulate.workspace import simulate

ABSENT = {"lifted_lead", "tombstone", "upside_down", "excess_solder", "insufficient_solder"}


@dataclass(frozen=True)
class Line:
    root: Path
    wrong: set[tuple[str, str, str]]
    copies: set[str]
    damaged: set[int]
    counts: dict
    said: str


def deft(*arguments: object) -> inside.Done:
    return inside.deft(*arguments, check=None, env={"DEFT_LINES": "all"})


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    root = tmp_path_factory.mktemp("planted") / "line"
    simulate(root, seed=5, boards=12, rows_per_board=70)
    rng = np.random.default_rng(1)
    planted.drop_from_pool(root, ABSENT)
    wrong = planted.mislabel(root, rng, 20)
    copies = planted.copy_kpi_rows(root, rng, 15)
    damaged = planted.damage(root, planted.POOL, "augmentation/mining_pool", rng, 0.03)
    done = deft("audit", "--workspace", str(root), "--json")
    assert done.returncode == 0, done.stderr
    return Line(root, wrong, copies, damaged, json.loads(done.stdout), done.stdout)


def test_every_mislabelled_part_is_listed_and_nothing_is_changed(line: Line) -> None:
    listed = pd.read_csv(line.root / "results/audit/label_review.csv", dtype=str)
    found = {(row.set, row.object_name, row.input_path.split("/")[-2]) for row in listed.itertuples()}
    unread = planted.read(line.root, planted.POOL).iloc[[n - 2 for n in line.damaged]]
    hidden = {(planted.POOL, planted._folder(r.input_path), r.object_name) for r in unread.itertuples()}
    names = {planted.POOL: "pool", planted.TRAINING: "training"}
    wanted = {(names[csv], name, folder.split("/")[-2]) for csv, folder, name in line.wrong - hidden}
    assert wanted <= found, wanted - found
    assert len(listed) < 4 * len(line.wrong), "a list that a person can look through"
    assert (planted.read(line.root, planted.TRAINING)["label"] == "bridge").sum() >= 5


def test_every_copy_across_sets_is_found_and_nothing_else(line: Line) -> None:
    shared = pd.read_csv(line.root / "results/audit/shared_images.csv", dtype=str)
    near = shared[(shared["kind"] == "near") & (shared["second_set"] == "pool")]
    names = {image.rpartition("/")[2] for image in near["second_image"]}
    spoilt = {planted.read(line.root, planted.POOL)["object_name"][n - 2] for n in line.damaged}
    assert line.copies - spoilt <= names <= line.copies
    assert set(near["first_set"]) == {"kpi"}


def test_every_damaged_image_is_listed_and_the_pool_goes_on_without_it(line: Line) -> None:
    broken = pd.read_csv(line.root / "results/audit/broken_images.csv", dtype=str)
    assert {int(n) for n in broken["line"]} == line.damaged
    assert set(broken["set"]) == {"pool"}


def test_the_summary_names_what_a_person_must_know(line: Line) -> None:
    done = deft("preflight", "--workspace", str(line.root), "--max-iterations", "1", "--synthetic", "off")
    assert done.returncode == 0, done.stderr
    for name in ABSENT:
        assert f"| {name} |" in done.stdout
    assert done.stdout.count("nowhere: collect such samples") == len(ABSENT)
    assert f"{len(line.damaged)} rows of pool have an unreadable image" in done.stdout
    assert "near-duplicates (re-encoded, brightened or moved copies) across sets" in done.stdout
    assert re.search(r"\d+ labels are suspect \(label_review.csv has all\)", done.stdout)
    run = Path(done.stdout.split("Run directory: `")[1].split("`")[0])
    assert (run / "label_review.csv").read_bytes() == (line.root / "results/audit/label_review.csv").read_bytes()


def test_damage_where_training_reads_and_a_missing_light_refuse_the_run(line: Line) -> None:
    rng = np.random.default_rng(2)
    lines = planted.damage(line.root, planted.TRAINING, "kpi/images", rng, 0.03)
    done = deft("preflight", "--workspace", str(line.root), "--max-iterations", "1")
    assert done.returncode == 2
    assert f"{len(lines)} rows of training have an unreadable image: line {min(lines)}" in done.stderr
    gone = planted.remove_light(line.root, "SolderLight")
    done = deft("preflight", "--workspace", str(line.root), "--max-iterations", "1")
    assert done.returncode == 2
    assert f"({gone} files of input_path and light SolderLight)" in done.stderr
