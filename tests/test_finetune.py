"""Stage `anomalygen_finetune`: what it needs, when it runs, what Pre-Flight reports about it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anomaly_world import make_set
from deft_aoi.base.errors import HardStop, InputError
from deft_aoi.base.finding import BLOCK, NOTE
from deft_aoi.base.paths import Workspace
from deft_aoi.preflight import preflight
from deft_aoi.preflight.generator_plan import generator_findings, hidden
from deft_aoi.record import order
from deft_aoi.record.order import Step
from deft_aoi.record.run import Plan, load_run
from deft_aoi.spec.tree import Optics
from deft_aoi.stages import finetune
from deft_aoi.synthetic.dataset import SPEC, AnomalySet, read_entries, training_problems
from test_inline import ASKED, begin, one_light


def test_a_mask_for_every_picture_or_a_sentence(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set")
    found, entries = AnomalySet.at(root), read_entries(root / SPEC)
    broken = training_problems(found, entries)
    assert "IC+bridge: 3 of 3 pictures have no mask (first: n0.png; expected IC/mask/bridge/n0_mask.png)" in broken
    for path in (root / "IC/mask").rglob("*.png"):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    assert training_problems(found, entries) == []
    (root / "IC/mask/bridge/n1_mask.png").unlink()
    assert len(training_problems(found, entries)) == 1
    shutil.rmtree(root / "IC/anomaly_image/missing")
    assert any("IC+missing: no picture" in line for line in training_problems(found, entries))


def line(label: str, stage: str, **facts: Any) -> dict[str, Any]:
    return {"iter": label, "stage": stage, "status": "ok", "facts": facts, "prev": ""}


def test_it_comes_once_between_routing_and_the_first_generation() -> None:
    known = order.Judged("baseline")
    after = [line("iter1", "routing"), line("iter1", "anomalygen_finetune"), line("iter2", "routing")]
    found = [order.step_after(last, known, 3, finetune=True) for last in after]
    assert found == [Step("iter1", "anomalygen_finetune"), Step("iter1", "anomalygen"), Step("iter2", "anomalygen")]
    assert order.step_after(after[0], known, 3) == Step("iter1", "anomalygen")


def test_a_damaged_set_stops_before_any_script(tmp_path: Path) -> None:
    run = load_run(one_light(tmp_path / "w", make=make_set).root)
    run = replace(run, plan=replace(run.plan, platform="local-docker", anomalygen_finetune="on"))
    shutil.rmtree(tmp_path / "w/augmentation/anomalygen/datasets/pcb/IC/anomaly_image/missing")
    with pytest.raises(HardStop) as stop:
        next(finetune.tasks(run, "iter1"))
    assert stop.value.code == "anomalygen_dataset"
    assert "IC+missing: no picture" in str(stop.value)
    assert not list(run.paths.jobs.glob("iter1-anomalygen_finetune-*"))


def containers(root: Path, **asked: Any) -> dict[str, Any]:
    from deft_aoi.preflight.generator_plan import generator_values

    values = {"synthetic": "inference_only", "platform": "local-docker", **asked}
    return generator_values(Workspace(root), values, {"anomalygen_labels": "default"})


def test_auto_means_base_models_and_a_data_set_but_no_checkpoint(tmp_path: Path) -> None:
    home = tmp_path / "augmentation/anomalygen"
    assert containers(tmp_path)["anomalygen_finetune"] == "off"
    (home / "base_checkpoints/nvidia/Cosmos-Predict2-2B-Text2Image").mkdir(parents=True)
    make_set(home / "datasets/pcb")
    assert containers(tmp_path) == {"anomalygen_fetch": (), "anomalygen_finetune": "on"}
    off = containers(tmp_path, anomalygen_finetune="off")
    assert off == {"anomalygen_fetch": ("checkpoint",), "anomalygen_finetune": "off"}
    (home / "checkpoints/pcb").mkdir(parents=True)
    (home / "checkpoints/pcb/ag_config.yaml").write_text("{}")
    assert containers(tmp_path)["anomalygen_finetune"] == "off"
    assert containers(tmp_path, anomalygen_finetune="on")["anomalygen_finetune"] == "on"
    with pytest.raises(InputError, match="platform local has no AnomalyGen to train"):
        containers(tmp_path, platform="local", anomalygen_finetune="on")
    with pytest.raises(InputError, match="nothing generates"):
        containers(tmp_path, synthetic="off", anomalygen_finetune="on")


def test_the_summary_tells_what_it_costs_and_what_stands_in_its_way(tmp_path: Path) -> None:
    make_set(tmp_path / "augmentation/anomalygen/datasets/pcb")
    plan = Plan(str(tmp_path), "x", 1, platform="local-docker", synthetic="inference_only", anomalygen_finetune="on")
    seen = Optics(("A",), ".png", 64, 64)
    blocked = [one.text for one in generator_findings(Workspace(tmp_path), plan, seen) if one.level == BLOCK]
    assert any("expected IC/mask/bridge/n0_mask.png" in text for text in blocked)
    for path in (tmp_path / "augmentation/anomalygen/datasets/pcb/IC/mask").rglob("*.png"):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    notes = [one.text for one in generator_findings(Workspace(tmp_path), plan, seen) if one.level == NOTE]
    assert any("75000 steps on 1 GPU, hours to days" in text and "about 5 GB each" in text for text in notes)
    assert "anomalygen_max_iter" not in hidden(plan)
    assert "anomalygen_max_iter" in hidden(Plan(str(tmp_path), "x", 1, synthetic="inference_only"))


def test_values_that_cannot_be_used(tmp_path: Path) -> None:
    begin(tmp_path / "w")
    for asked, says in (({"anomalygen_finetune": "maybe"}, "expected auto, on or off"),
                        ({"anomalygen_max_iter": 0}, "anomalygen_max_iter is 0")):  # fmt: skip
        with pytest.raises(InputError, match=says):
            preflight.preflight({**ASKED, "workspace": str(tmp_path / "w"), **asked})
