"""Stage `anomalygen` inline: the slots, the counts, where pictures come from, what stops the loop and why."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from anomaly_world import make_set
from deft_aoi.base.errors import COMPLETE, HARD_STOP, OK, InputError
from deft_aoi.base.finding import BLOCK
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.loop import decisions, driver
from deft_aoi.preflight import preflight
from deft_aoi.preflight.generator_plan import generator_findings
from deft_aoi.record import journal
from deft_aoi.record.run import Plan, load_run
from deft_aoi.spec.tree import Optics
from deft_aoi.stages import anomalygen_inline
from deft_aoi.stages.anomalygen_slots import BASE, CHECKPOINT, DATASET, Slots, checkpoint_view, container, fetch_task
from deft_aoi.stages.synthetic_rows import within_share
from small_workspace import make_workspace

ASKED = {"max_iterations": 1, "mine_rows": 12, "num_epochs": 2, "synthetic": "inference_only", "num_sdg": 12,
         "kpi_target": "FAR <= 0% at recall = 100%", "batch_size": 8}  # fmt: skip


def begin(root: Path, **asked: Any) -> RunPaths:
    if not root.exists():
        make_workspace(root, counts=(40, 24, 48, 60))
    paths = preflight.write(preflight.preflight({**ASKED, "workspace": str(root), **asked}))
    preflight.start(paths)
    return paths


def until(paths: RunPaths, stage: str) -> driver.Outcome:
    """Do all stages up to and with `stage` of iteration 1."""
    while True:
        outcome = driver.step(paths.root, wait=300, report=False)
        last = journal.read(paths.log)[-1]
        if outcome.code != OK or (last["iter"], last["stage"]) == ("iter1", stage):
            return outcome


@pytest.fixture(autouse=True, scope="module")
def null_engine(null_engine_in_module: None) -> None:
    """Models are the null engine's here; what generates pairs is real."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A whole run; one training board is also a KPI board."""
    root = make_workspace(tmp_path_factory.mktemp("inline") / "w", counts=(40, 24, 48, 60))
    csv = root / "train/base/training_set.csv"
    rows = pd.read_csv(csv, dtype=str)
    rows.loc[rows["boardname"] == "T3", "boardname"] = "K0"
    rows.to_csv(csv, index=False)
    paths = begin(root, max_iterations=2)
    assert driver.drive(paths.root, lambda line: None, report=False) == COMPLETE
    return paths


def facts(paths: RunPaths, label: str, stage: str) -> dict[str, Any]:
    return load_run(paths.root).facts(label, stage)


def test_requested_allocated_and_generated_are_counted_by_defect(finished: RunPaths) -> None:
    found = facts(finished, "iter1", "anomalygen")
    assert sum(found["requested"].values()) == 12
    assert found["requested"] == found["allocated"] == found["generated"]
    assert found["pairs"] == 12
    rows = pd.read_csv(found["rows_csv"], dtype=str)
    assert Counter(rows["label"]) == Counter({"missing": 12})
    record = json.loads((finished.root / "iter1/anomalygen_dataset/dataset.json").read_text())
    assert record["examples"]["missing"] > 0
    unmade = {label for label, count in record["examples"].items() if not count}
    assert unmade == {"bridge", "shift"}, "bridge has no seed row; the only ones of shift are on a board that judges"
    assert set(found["labels_not_made"]) == unmade
    screened = pd.read_csv(found["realism"]["csv"], dtype=str, keep_default_na=False)
    assert len(screened) == found["realism"]["checked"] == 12


def test_generated_rows_are_trained_on_and_stay_known_as_synthetic(finished: RunPaths) -> None:
    merged = facts(finished, "iter1", "data_merge")
    provenance = pd.read_csv(merged["provenance_csv"], dtype=str)
    assert (provenance["origin"] == "synthetic").sum() == merged["synthetic_rows"] == 12
    combined = pd.read_csv(merged["combined_training_csv"], dtype=str)
    assert len(combined) == len(provenance) == merged["rows"]
    made = combined[(provenance["origin"] == "synthetic").to_numpy()]
    assert set(made["input_path"]) == {
        f"{finished.root.relative_to(workspace(finished).root)}/iter1/dataset/images/synthetic_iter1_ng"
    }
    second = pd.read_csv(facts(finished, "iter2", "data_merge")["provenance_csv"], dtype=str)
    assert (second["origin"] == "synthetic").sum() == 24


def workspace(paths: RunPaths) -> Workspace:
    return load_run(paths.root).workspace


def test_no_picture_comes_from_a_board_or_an_image_that_judges(finished: RunPaths) -> None:
    home = workspace(finished)
    held = {}
    for csv in (home.kpi_csv, home.validation_csv):
        for row in pd.read_csv(csv, dtype=str).itertuples():
            for path in (home.images / row.input_path).glob(f"{row.object_name}_*"):
                held[hashlib.sha256(path.read_bytes()).hexdigest()] = str(path)
    boards = set(pd.read_csv(home.kpi_csv)["boardname"]) | set(pd.read_csv(home.validation_csv)["boardname"])
    assert "K0" in set(pd.read_csv(home.training_csv)["boardname"]) & boards, "the trap is set"
    for label in ("iter1", "iter2"):
        rows = pd.read_csv(finished.root / label / "anomalygen_input/source_rows.csv", dtype=str)
        assert len(rows) > 20
        assert not set(rows["boardname"]) & boards
        taken = [path for path in (finished.root / label / "anomalygen_dataset").rglob("*.png") if path.is_symlink()]
        assert len(taken) > 50
        assert not {hashlib.sha256(path.read_bytes()).hexdigest() for path in taken} & held.keys()
        rows = rows[~rows["input_path"].str.startswith("augmentation")]
        assert label == "iter2" or len(rows) == (pd.read_csv(home.training_csv)["boardname"] != "K0").sum()


def test_the_second_iteration_never_copies_a_synthetic_row(finished: RunPaths) -> None:
    rows = pd.read_csv(finished.root / "iter2/anomalygen_input/source_rows.csv", dtype=str, keep_default_na=False)
    assert not (rows["project"] == "synthetic").any()


def test_same_plan_same_pictures(finished: RunPaths, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "w", counts=(40, 24, 48, 60))
    shutil.copy(workspace(finished).training_csv, root / "train/base/training_set.csv")
    again = begin(root, max_iterations=2)
    assert until(again, "anomalygen").code == OK
    pairs = [json.loads((paths.root / "iter1/anomalygen/pairs.json").read_text()) for paths in (finished, again)]
    assert pairs[0] == pairs[1]
    assert len(pairs[0]["files"]) == 12 * 2 * 2, "NG and OK under two lights"


def test_a_shortfall_stops_before_generating_and_says_why(tmp_path: Path) -> None:
    paths = one_light(tmp_path / "w", make=lambda home: make_set(home, dependency="cad", box=(30, 6)))
    narrow = paths.root.parents[1] / "augmentation/anomalygen/datasets/pcb/IC/cad_mask"
    for path in sorted(narrow.iterdir())[1:]:
        path.write_bytes(small_ground())
    outcome = until(paths, "anomalygen")
    assert outcome.code == HARD_STOP
    assert "HARD STOP allocation_shortfall at iter1/anomalygen" in outcome.line
    assert "(2) IC+bridge: " not in outcome.line or "fit nowhere" in outcome.line
    for words in (
        "so nothing was generated",
        "(1) The mask classes",
        "(3) Then try one defect alone",
        "--min-allocation",
    ):
        assert words in outcome.line
    assert not (paths.root / "iter1/anomalygen/sdg").exists()
    report = json.loads((paths.root / "iter1/anomalygen_input/shortfall.json").read_text())
    assert sum(report["allocated"].values()) < sum(report["requested"].values()) == 12
    assert decisions.resolve(paths.root, "masks fixed").code == OK
    make_set(narrow.parents[1], dependency="cad", box=(10, 6))
    assert until(paths, "anomalygen").code == OK


def small_ground() -> bytes:
    import cv2
    import numpy as np

    cad = np.zeros((64, 64, 3), np.uint8)
    cad[24:40, 24:40] = (40, 160, 40)
    return cv2.imencode(".png", cad[:, :, ::-1])[1].tobytes()


def one_light(root: Path, make: Any) -> RunPaths:
    """A started run whose AnomalyGen data set is the customer's own; labels bridge and missing."""
    make_workspace(root, counts=(40, 24, 48, 60))
    spec = yaml.safe_load((root / "specs/baseline_spec.yaml").read_text())
    spec["dataset"]["classify"] |= {"input_map": {"SolderLight": 0}, "num_input": 1}
    (root / "specs/baseline_spec.yaml").write_text(yaml.safe_dump(spec))
    make(root / "augmentation/anomalygen/datasets/pcb")
    return begin(root, anomalygen_labels=("bridge", "missing"))


def test_wrong_masks_stop_before_any_script(tmp_path: Path) -> None:
    paths = one_light(tmp_path / "w", make=lambda home: make_set(home, dependency="cad"))
    home = paths.root.parents[1] / "augmentation/anomalygen/datasets/pcb"
    make_set(home, dependency="cad", ground=(255, 255, 255))
    outcome = until(paths, "anomalygen")
    assert outcome.code == HARD_STOP
    assert "HARD STOP anomalygen_masks" in outcome.line
    assert "flattened to black and white" in outcome.line
    assert not list(paths.jobs.glob("iter1-anomalygen-*"))
    with pytest.raises(InputError, match="flattened to black and white"):
        preflight.preflight({**ASKED, "workspace": str(tmp_path / "w")})


def test_a_silent_drop_stops_after_generating(tmp_path: Path) -> None:
    paths = one_light(tmp_path / "w", make=make_set)
    for path in (tmp_path / "w/augmentation/anomalygen/datasets/pcb/IC/anomaly_image/missing").iterdir():
        path.write_bytes(b"torn")
    outcome = until(paths, "anomalygen")
    assert outcome.code == HARD_STOP
    assert "HARD STOP silent_drop" in outcome.line
    assert "made 6 of 12 pairs (IC+missing 0 of 6)" in outcome.line
    assert not (paths.root / "iter1/dataset").exists()


@pytest.mark.parametrize(
    ("old", "new", "share", "flagged", "kept"),
    [
        (["real"] * 6, "SSSS", 0.25, set(), "SS--"),
        (["real"] * 6, "SSSS", 0.25, {"f/0", "f/2"}, "-S-S"),
        (["real"] * 3 + ["synthetic"], "RSRS", 0.3, set(), "RSR-"),
        (["real"] * 2, "RSS", 1.0, set(), "RSS"),
        (["real"] * 9, "RSS", 0.0, set(), "R--"),
    ],
)
def test_the_share_is_kept_and_the_flagged_go_first(
    old: list[str], new: str, share: float, flagged: set[str], kept: str
) -> None:
    table = pd.DataFrame(
        {
            "input_path": "f",
            "object_name": [str(n) for n in range(len(new))],
            "origin": ["synthetic" if letter == "S" else "real" for letter in new],
        }
    )
    found = within_share(pd.Series(old), table, share, flagged)
    assert "".join(letter if keep else "-" for letter, keep in zip(new, found)) == kept


def test_equal_shares_over_labels_then_over_kinds() -> None:
    counts = anomalygen_inline.spread(10, {"bridge": ["A+bridge", "B+bridge", "C+bridge"], "shift": ["A+shift"]}, 1)
    assert sum(counts.values()) == 10
    assert counts["A+shift"] == 5
    assert sorted(n for kind, n in counts.items() if kind.endswith("bridge")) == [1, 2, 2]
    assert anomalygen_inline.spread(1, {"a": ["A+a"], "b": ["A+b"]}, 0) == {"A+a": 1}


def slots(root: Path) -> Slots:
    return Slots(Workspace(root), "pcb")


def test_a_flat_checkpoint_gets_a_view_in_the_layout_that_the_container_reads(tmp_path: Path) -> None:
    home = tmp_path / "augmentation/anomalygen/checkpoints/pcb/nvidia/Cosmos"
    home.mkdir(parents=True)
    with pytest.raises(InputError, match=r"no ag_config.yaml"):
        checkpoint_view(slots(tmp_path).checkpoints, None, tmp_path / "view")
    (home / "ag_config.yaml").write_text("{}")
    with pytest.raises(InputError, match="steps there: none"):
        checkpoint_view(slots(tmp_path).checkpoints, None, tmp_path / "view")
    (home / "iter_000014000.pt").write_bytes(b"w")
    found = checkpoint_view(slots(tmp_path).checkpoints, None, tmp_path / "view")
    assert found == (tmp_path / "view", 14000)
    assert (tmp_path / "view/checkpoints/model/iter_000014000.pt").read_bytes() == b"w"
    assert (tmp_path / "view/checkpoints/latest_checkpoint.txt").read_text() == "iter_000014000.pt\n"
    with pytest.raises(InputError, match="steps there: 14000"):
        checkpoint_view(slots(tmp_path).checkpoints, 9000, tmp_path / "view")
    (home / "checkpoints/model").mkdir(parents=True)
    for step in (9000, 14000):
        (home / f"checkpoints/model/iter_{step:09d}.pt").write_bytes(b"w")
    (home / "checkpoints/latest_checkpoint.txt").write_text("iter_000009000.pt\n")
    assert checkpoint_view(slots(tmp_path).checkpoints, None, tmp_path / "view") == (home, 9000)


def test_empty_slots_are_named_with_source_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert slots(tmp_path).missing() == (CHECKPOINT, BASE, DATASET)
    plan = Plan(str(tmp_path), "x", 1, platform="local-docker", synthetic="inference_only",
                anomalygen_fetch=slots(tmp_path).missing())  # fmt: skip
    seen = Optics(("A",), ".png", 64, 64)
    texts = [f"{one.level} {one.text}" for one in generator_findings(Workspace(tmp_path), plan, seen)]
    assert any("note AnomalyGen base models: empty, will be fetched" in t and "about 22 GB" in t for t in texts)
    assert any("nvidia/Cosmos-AnomalyGen-PCB-2B, about 5 GB" in t for t in texts)
    assert texts[-1].startswith("block HF_TOKEN is not set")
    (tmp_path / ".env").write_text("HF_TOKEN=hidden\n")
    found = generator_findings(Workspace(tmp_path), plan, Optics(("A", "B"), ".png", 64, 64))
    assert [one.text for one in found if one.level == BLOCK] == [
        "AnomalyGen makes one picture of a part, this spec has 2 lights; pass --synthetic off, or make pairs of all "
        "lights before (pregen_ingest)"
    ]
    assert not any("hidden" in one.text for one in found)


def test_the_container_is_asked_for_as_the_contract_says(tmp_path: Path) -> None:
    box = container(slots(tmp_path))
    assert (box.shm, box.host_ipc, box.as_caller, box.workdir) == ("16g", True, True, "/workspace/paidf-anomalygen")
    assert box.environment["HF_HUB_DISABLE_XET"] == "1"
    assert [(m.target, m.read_only) for m in box.mounts] == [("/workspace/paidf-anomalygen/checkpoints", True)]
    fetch = fetch_task(slots(tmp_path), BASE, tmp_path / "out")
    assert [m.read_only for m in fetch.container.mounts] == [False]
    assert fetch.image == "images.metropolis_sdg.paidf_anomalygen"
    assert fetch.gpus == 0
    assert [path.name for path in fetch.expects] == ["Cosmos-Predict2-2B-Text2Image"], "a helper that fetched nothing"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"num_sdg": 0}, "num_sdg is 0"), ({"min_allocation": 2.0}, "min_allocation is 2.0"),
        ({"max_synthetic_share": -0.1}, "max_synthetic_share"), ({"synthetic": "magic"}, "synthetic 'magic'"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_used_are_refused(tmp_path: Path, asked: dict[str, Any], says: str) -> None:
    make_workspace(tmp_path / "w", counts=(40, 24, 48, 60))
    with pytest.raises(InputError, match=says):
        preflight.preflight({**ASKED, "workspace": str(tmp_path / "w"), **asked})


def test_the_report_counts_the_pairs_and_shows_them(finished: RunPaths) -> None:
    import jsonschema

    from deft_aoi.base.paths import SKILL_ROOT
    from deft_aoi.report.collect import collect
    from deft_aoi.report.render import page_text

    record = collect(finished.root)
    jsonschema.validate(record, json.loads((SKILL_ROOT / "specs/report.schema.json").read_text()))
    first, second = record["synthetic"]["iterations"]
    assert first["counts"] == {"requested": 12, "allocated": 12, "generated": 12}
    assert (second["synthetic_rows"], second["rows"]) == (24, facts(finished, "iter2", "data_merge")["rows"])
    assert second["share"] == pytest.approx(24 / second["rows"])
    page = page_text(finished.root)
    section = page[page.index('id="synthetic"') : page.index('id="record"')]
    assert "12 of the 12 pairs of iter2" in section
    assert section.count("data:image/jpeg") == 12 * 2 * 3, "NG, OK and difference under two lights"
    assert section.count("no picture") == 0


def test_the_sheet_takes_the_labels_in_turn() -> None:
    from deft_aoi.report.synthetic import chosen

    names = [f"A+bridge_{n:05d}" for n in range(40)] + [f"A+shift_{n:05d}" for n in range(3)]
    rows = pd.DataFrame({"object_name": names, "label": ["bridge"] * 40 + ["shift"] * 3})
    assert Counter(chosen(rows)["label"]) == {"bridge": 21, "shift": 3}
    assert Counter(chosen(rows, 4)["label"]) == {"bridge": 2, "shift": 2}
