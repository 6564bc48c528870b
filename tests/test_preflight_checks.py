"""Pre-Flight's refusals one by one, as pure functions: each trap of TAO has its own message, all come at once."""

from __future__ import annotations

import copy
import dataclasses
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import save_file

from deft_aoi.base.finding import Finding
from deft_aoi.base.paths import SKILL_ROOT, Workspace
from deft_aoi.data.workspace_files import baseline_spec
from deft_aoi.executors.base import Probe
from deft_aoi.preflight.check_backbone import backbone_findings
from deft_aoi.preflight.check_machine import disk_finding, gpu_findings, shm_bytes, shm_findings
from deft_aoi.preflight.check_rows import image_findings, row_findings
from deft_aoi.preflight.check_spec import spec_findings
from deft_aoi.preflight.check_workspace import all_checks
from deft_aoi.preflight.inputs import read_inputs, read_table
from deft_aoi.record.run import Plan
from deft_aoi.spec.tree import Optics, put
from small_workspace import make_workspace

TAO_PLAN = Plan("/ws", "FAR < 1% at recall = 100%", 2, platform="virtualenv", engine="tao", tao="7.3.0")


def blocks(findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.level == "block"]


def changed(**values: Any) -> dict[str, Any]:
    spec = copy.deepcopy(yaml.safe_load((SKILL_ROOT / "specs/baseline_spec.yaml").read_text()))
    for key, value in values.items():
        put(spec, key.replace("__", "."), value)
    return spec


def classify(**values: Any) -> dict[str, Any]:
    return changed(**{f"dataset__classify__{key}": value for key, value in values.items()})


TWO = {"White": 0, "Solder": 1}


@pytest.mark.parametrize(
    "spec",
    [
        changed(),
        classify(input_map=TWO, num_input=2, concat_type="grid", grid_map={"x": 2, "y": 1}, image_width=112),
        classify(
            input_map={str(n): n for n in range(4)}, num_input=4, concat_type="grid", grid_map={"x": 2, "y": 2},
            image_width=112, image_height=112,
        ),
        changed(
            model__backbone={"type": "fan_tiny_8_p4_hybrid"}, model__decode_head={}, dataset__classify__image_width=96
        ),
    ],
    ids=["template", "two lights", "four lights", "fan"],
)  # fmt: skip
def test_specs_that_the_real_tao_takes_pass(spec: dict[str, Any]) -> None:
    assert blocks(spec_findings(spec, TAO_PLAN)) == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (changed(task="segment"), "task is 'segment'; expected classify"),
        (changed(evaluate__checkpoint=None), "evaluate.checkpoint is None; expected text; leave the key out"),
        (changed(train__num_epochs="ten"), "train.num_epochs is 'ten'; expected a whole number"),
        (changed(train__num_epochs=2.5), "train.num_epochs is 2.5; expected a whole number"),
        (changed(train__optim__lr="fast"), "train.optim.lr is 'fast'; expected a number"),
        (changed(model__backbone__freeze_backbone="maybe"), "expected true or false"),
        (changed(train__classify__cls_weight=1.0), "train.classify.cls_weight is 1.0; expected a list"),
        (changed(train="fast"), "train is 'fast'; expected a mapping"),
        (changed(train__classify__loss="contrastive"), "learnable needs train.classify.loss ce, not 'contrastive'"),
        (changed(model__classify__difference_module="euclidean"), "euclidean needs train.classify.loss contrastive"),
        (changed(model__classify__difference_module="cosine"), "expected learnable or euclidean"),
        (changed(train__classify__cls_weight=[1.0, 2.0, 3.0]), "cls_weight has 3 weights"),
        (classify(num_classes=3), "num_classes is 3; expected 2"),
        (
            changed(model__backbone__freeze_backbone=True, model__backbone__pretrained_backbone_path=None),
            "freeze_backbone is set without pretrained_backbone_path",
        ),
        (changed(train__precision="fp32"), "train.precision is 'fp32'; expected one of 16, "),
        (changed(train__optim__optim="lamb"), "optim.optim is 'lamb'"),
        (changed(train__optim__policy="cosine"), "optim.policy is 'cosine'"),
        (changed(model__classify__learnable_difference_modules=5), "learnable_difference_modules is 5"),
        (changed(model__backbone__type="resnet50"), "model.backbone.type is 'resnet50'"),
        (classify(num_input=2), "num_input is 2, input_map has 1 lights"),
        (
            changed(model__backbone__type="fan_tiny_8_p4_hybrid", dataset__classify__num_golden=2),
            "num_golden is 2; fan_* backbones",
        ),
        (classify(image_width=96, image_height=96), "takes 224 x 224 only; set image_width: 224, image_height: 224"),
        (classify(image_width=200), "are no square"),
        (
            classify(input_map=TWO, num_input=2),
            "no square, which c_radio_v2_vit_base_patch16_224 needs; set concat_type: grid, grid_map: {x: 2, y: 1}, "
            "image_width: 112, image_height: 224",
        ),
        (classify(concat_type="grid", grid_map={"x": 2, "y": 1}), "grid_map is 2 x 1; expected a grid of the 1 lights"),
        (
            changed(
                model__backbone__type="vit_large_nvdinov2", dataset__classify__image_width=112,
                dataset__classify__image_height=112,
            ),
            "vit_large_nvdinov2 takes multiples of 32",
        ),
        (
            changed(model__backbone__type="fan_tiny_8_p4_hybrid", dataset__classify__image_width=100),
            "fan_tiny_8_p4_hybrid takes multiples of 16",
        ),
        (changed(model__decode_head={}), "feature_strides is [4, 8, 16, 16]; c_radio_v2"),
    ],
)  # fmt: skip
def test_a_spec_that_tao_refuses_is_named(spec: dict[str, Any], message: str) -> None:
    found = blocks(spec_findings(spec, TAO_PLAN))
    assert any(message in text for text in found), found


def test_all_findings_of_a_spec_come_at_once_and_own_engines_take_any_size() -> None:
    spec = changed(train__classify__loss="contrastive", train__classify__cls_weight=[1.0], task="segment")
    assert len(blocks(spec_findings(spec, TAO_PLAN))) == 3
    ours = Plan("/ws", "FAR < 1% at recall = 100%", 2)
    assert blocks(spec_findings(baseline_spec(lights=("White", "Solder"), size=96), ours)) == []


def test_what_the_loop_changes_is_noted() -> None:
    spec = changed(train__checkpoint_interval=4, train__resume_training_checkpoint_path="/old.pth")
    notes = [finding.text for finding in spec_findings(spec, TAO_PLAN) if finding.level == "note"]
    assert notes[0] == "train.checkpoint_interval 4 becomes 2: it must divide the 10 epochs"
    assert notes[1].startswith("train.resume_training_checkpoint_path is left out")


def rows(**cells: list[str]) -> pd.DataFrame:
    table = {"input_path": ["a/t", "b/t"], "golden_path": ["a/g", "b/g"], "label": ["PASS", "bridge"]}
    return pd.DataFrame(table | {"object_name": ["C1", "C2"]} | cells)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"golden_path": [" a/g", "b/g"]}, "line 2: golden_path ' a/g' begins or ends with a blank"),
        ({"object_name": ["C1", "C2 "]}, "line 3: object_name 'C2 ' begins or ends with a blank"),
        ({"label": ["PASS", "1"]}, "line 3: label '1' is a defect for TAO"),
        ({"label": ["0", "bridge"]}, "line 2: label '0' is a defect for TAO"),
        ({"input_path": ["0041", "0042"]}, "line 2: input_path '0041' is 41 for TAO, not text"),
        ({"golden_path": ["a/g", "NA"]}, "line 3: golden_path 'NA' is nan for TAO, not text"),
        ({"object_name": ["null", "C2"]}, "line 2: object_name 'null' is nan for TAO, not text"),
    ],
)
def test_a_cell_that_tao_takes_otherwise_is_named(tmp_path: Path, cells: dict[str, list[str]], message: str) -> None:
    path = tmp_path / "set.csv"
    rows(**cells).to_csv(path, index=False)
    found = blocks(row_findings(read_table("training", path), 1))
    assert len([text for text in found if message in text]) == 1, found


def test_leading_zeros_of_object_names_and_boards_are_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    rows(object_name=["001", "002"], boardname=["00041003", "00041004"]).to_csv(path, index=False)
    (finding,) = row_findings(read_table("training", path), 1)
    assert finding.level == "note"
    assert "drops leading zeros" in finding.text


def test_missing_images_of_every_light_are_told_at_once(tmp_path: Path) -> None:
    table, seen = rows(), Optics(("White", "Solder"), ".jpg", 8, 8)
    for folder, name in (("a/t", "C1"), ("b/t", "C2"), ("a/g", "C1"), ("b/g", "C2")):
        (tmp_path / folder).mkdir(parents=True)
        for light in seen.lights:
            (tmp_path / folder / f"{name}_{light}.jpg").touch()
    assert image_findings(tmp_path / "s.csv", table, tmp_path, seen, tmp_path, 10) == []
    for name in ("a/t/C1_White.jpg", "b/t/C2_Solder.jpg", "b/g/C2_Solder.jpg"):
        (tmp_path / name).unlink()
    found = blocks(image_findings(tmp_path / "s.csv", table, tmp_path, seen, tmp_path, 10))
    assert ["line 2: " in text and "C1_White" in text for text in found] == [True, False, False]
    assert all("is missing (1 files" in text for text in found)


def test_a_backbone_that_is_none_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.backbone_dir.mkdir(parents=True)
    weights = workspace.backbone_dir / "c_radio_v2_b.safetensors"
    (missing,) = backbone_findings(changed(), TAO_PLAN, workspace)
    assert (missing.level, "stage_backbone" in missing.text) == ("block", True)
    weights.touch()
    assert "is empty" in blocks(backbone_findings(changed(), TAO_PLAN, workspace))[0]
    weights.write_bytes(b"weights")
    assert "staged c_radio_v2_b.safetensors, fine-tuned" in backbone_findings(changed(), TAO_PLAN, workspace)[0].text
    trained = workspace.backbone_dir / "model_epoch_009.pth"
    with zipfile.ZipFile(trained, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}X\x09tao_modelX\x19visual_changenet_classify")
    spec = changed(model__backbone__pretrained_backbone_path=f"/data/pretrained_models/{trained.name}")
    assert "trained ChangeNet checkpoint" in blocks(backbone_findings(spec, TAO_PLAN, workspace))[0]


def test_a_backbone_on_another_machine_still_has_a_name(tmp_path: Path) -> None:
    workspace, plan = Workspace(tmp_path), dataclasses.replace(TAO_PLAN, platform="elsewhere")
    workspace.backbone_dir.mkdir(parents=True)
    (fits,) = backbone_findings(changed(), plan, workspace)
    assert (fits.level, "c_radio_v2_b.safetensors, on the machine that trains" in fits.text) == ("ok", True)
    (workspace.backbone_dir / "fan_tiny.pth").write_bytes(b"weights")
    fan = changed(model__backbone__type="fan_tiny_8_p4_hybrid")
    (refused,) = blocks(backbone_findings(fan, plan, workspace))
    assert "c_radio_v2_b.safetensors is called C-RADIO, model.backbone.type fan_tiny_8_p4_hybrid is FAN" in refused
    assert "(fan_tiny.pth is staged here)" in refused
    put(fan, "model.backbone.pretrained_backbone_path", "/there/fan_tiny.pth")
    assert not blocks(backbone_findings(fan, plan, workspace))
    put(fan, "model.backbone.pretrained_backbone_path", "/there/weights.pth")
    assert not blocks(backbone_findings(fan, plan, workspace)), "a name that says nothing"
    save_file(
        {"blocks.0.patch_embed.proj.weight": np.zeros((384, 3, 2, 2), np.float32)},
        workspace.backbone_dir / "w.safetensors",
    )
    radio = changed(model__backbone__pretrained_backbone_path="/there/w.safetensors")
    (refused,) = blocks(backbone_findings(radio, plan, workspace))
    assert "holds DINOv3 of width 384" in refused, "a copy of the same name is staged here"


def test_a_null_backbone_is_a_note(tmp_path: Path) -> None:
    spec = changed(model__backbone__pretrained_backbone_path=None)
    (finding,) = backbone_findings(spec, TAO_PLAN, Workspace(tmp_path))
    assert (finding.level, "random weights" in finding.text) == ("note", True)


@pytest.mark.parametrize(
    ("gigabytes", "batch", "gpus", "message"),
    [
        ((51.5,), 16, 1, None),
        ((25.7,), 16, 1, "pass --batch-size 8"),
        ((25.7,), 8, 1, None),
        ((85.0,), 16, 2, "num_gpus 2: the platform has 1"),
        ((85.0, 25.7), 16, 2, "needs more than the GPU's 26 GB"),
    ],
)
def test_gpus_and_their_memory_must_do(
    gigabytes: tuple[float, ...], batch: int, gpus: int, message: str | None
) -> None:
    plan = Plan(**(TAO_PLAN.to_json() | {"batch_size": batch, "num_gpus": gpus}))
    found = blocks(list(gpu_findings(changed(), plan, [int(size * 1e9) for size in gigabytes])))
    assert (found == []) if message is None else (message in found[0]), found


def test_shared_memory_must_hold_the_loaders_batches() -> None:
    needed = shm_bytes(changed(), TAO_PLAN)
    assert needed == 4 * 2 * 16 * 2 * 4 * 3 * 224 * 224, "workers, batches each, rows, images, bytes, channels, pixels"
    assert blocks(list(shm_findings(changed(), TAO_PLAN, 64 << 20)))[0].startswith("shared memory: 67.1 MB")
    assert list(shm_findings(changed(), TAO_PLAN, needed)) == []


@pytest.mark.parametrize(("free", "level"), [(10e9, "block"), (40e9, "note"), (70e9, "ok")])
def test_disk_must_hold_the_checkpoints(free: float, level: str) -> None:
    found = disk_finding(changed(), TAO_PLAN, int(free))
    assert found.level == level
    assert "a training writes 20.4 GB, the run 61.1 GB" in found.text


def spoil_labels(ws: Path) -> None:
    path = ws / "train/base/training_set.csv"
    table = pd.read_csv(path, dtype=str)
    table["label"] = "PASS"
    table.to_csv(path, index=False)


def spoil_image(ws: Path) -> None:
    next((ws / "kpi/images").rglob("K0/test/*_WhiteLight.png")).unlink()


def spoil_spec(ws: Path) -> None:
    path = ws / "specs/baseline_spec.yaml"
    spec = yaml.safe_load(path.read_text())
    put(spec, "train.classify.cls_weight", [1.0])
    path.write_text(yaml.safe_dump(spec))


def test_one_pre_flight_names_every_kind_of_fault(tmp_path: Path) -> None:
    ws = make_workspace(tmp_path / "ws")
    spoils: list[Callable[[Path], None]] = [spoil_labels, spoil_image, spoil_spec]
    for spoil in spoils:
        spoil(ws)
    shutil.rmtree(ws / "augmentation/mining_pool/P0/test")
    plan = Plan(str(ws), "FAR < 1% at recall = 100%", 1, batch_size=35)
    found = blocks(all_checks(read_inputs(Workspace.at(ws)), plan, [Probe(5, "block", "no image")]))
    wanted = (
        "cls_weight has 1 weights",
        "no image",
        "P0/test",
        "TAO fails without a defect",
        "smaller than batch_size",
    )
    for text in (*wanted, "K0/test"):
        assert any(text in line for line in found), (text, found)
