"""A workspace as NVIDIA's bank lays it out today: one images folder, pool paths in each style, the spec template."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import read_pool
from deft_aoi.base.safe_paths import spec_path_problems
from deft_aoi.executors.base import Place
from deft_aoi.executors.docker.docker_engine import DockerExecutor
from deft_aoi.preflight.check_backbone import backbone_findings
from deft_aoi.preflight.check_spec import spec_findings
from deft_aoi.record.run import Plan
from deft_aoi.stages.anomalygen_slots import model_size
from deft_aoi.stages.task_specs import use_gpus
from deft_aoi.weights.architecture import disagreement
from deft_aoi.weights.backbone import source_of
from small_workspace import LIGHTS, spec

ROOT = Path(__file__).resolve().parents[1]
TAIL = f"_{LIGHTS[0]}.png"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool of one row, its image below <workspace>/images."""
    for folder in ("images/R1", "images/gold"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"C1{TAIL}").write_text("x")
    csv = tmp_path / "augmentation/mining_pool/mining_pool.csv"
    csv.parent.mkdir(parents=True)
    return csv


def row(csv: Path, **cells: str) -> pd.Series:
    cells = {"golden_path": "gold", "label": "PASS", "object_name": "C1"} | cells
    pd.DataFrame([cells]).to_csv(csv, index=False)
    return read_pool(csv, csv.parents[2], LIGHTS, ".png").iloc[0]


@pytest.mark.parametrize(
    "cells",
    [
        {"input_path": "R1"},
        {"input_path": "images/R1"},
        {"input_path": f"R1/C1{TAIL}", "object_name": ""},
        {"image_path": f"images/R1/C1{TAIL}"},
        {"filepath": "../../images/R1", "input_path": "not/read"},
        {"input_path": "", "image_path": "R1"},
    ],
)
def test_each_style_of_path_names_the_same_image(pool: Path, cells: dict[str, str]) -> None:
    found = row(pool, **cells)
    assert (found["input_path"], found["golden_path"], found["object_name"]) == ("images/R1", "images/gold", "C1")


def test_an_absolute_path_is_taken_inside_the_workspace_only(pool: Path) -> None:
    assert row(pool, input_path=str(pool.parents[2] / "images/R1"))["input_path"] == "images/R1"
    with pytest.raises(InputError, match="line 2: input_path '/etc': an absolute path"):
        row(pool, input_path="/etc")


def test_two_images_that_fit_a_row_are_refused_with_the_row(pool: Path) -> None:
    shutil.copytree(pool.parents[2] / "images/R1", pool.parent / "R1")
    with pytest.raises(InputError, match=r"mining_pool\.csv, line 2: input_path fits two images, .*mining_pool/R1/C1_"):
        row(pool, input_path="R1")


def test_an_image_that_is_nowhere_is_looked_for_beside_the_csv(pool: Path) -> None:
    assert row(pool, input_path="R7")["input_path"] == "augmentation/mining_pool/R7"


def test_the_images_folder_of_the_bank_is_used_where_the_older_one_is_empty(tmp_path: Path) -> None:
    (tmp_path / "kpi/images").mkdir(parents=True)
    (tmp_path / "images/R1").mkdir(parents=True)
    assert Workspace.at(tmp_path).images == tmp_path.resolve() / "images"
    (tmp_path / "kpi/images/R1").mkdir()
    assert Workspace.at(tmp_path).images == tmp_path.resolve() / "kpi/images"


def test_the_placeholder_of_the_template_is_no_output_outside(tmp_path: Path) -> None:
    assert not [*spec_path_problems({"results_dir": "/results"}, tmp_path, "spec")]
    for other in ({"results_dir": "/results/x"}, {"train": {"results_dir": "/results"}}):
        assert [*spec_path_problems(other, tmp_path, "spec")]


def test_a_key_that_the_pinned_image_does_not_know_is_refused_with_the_pin() -> None:
    tree: dict[str, Any] = spec()
    tree["train"]["checkpointer"] = {"monitor": "val_far"}
    plan = Plan("/ws", "FAR < 1%", 1, platform="local-docker", engine="tao", tao="7.0.1")
    said = [finding.text for finding in spec_findings(tree, plan) if finding.level == "block"]
    assert any("train.checkpointer is unknown to TAO 7.0.1 (images.tao_toolkit.pyt" in text for text in said)
    newer = Plan("/ws", "FAR < 1%", 1, platform="local-docker", engine="tao", tao="7.3.0")
    assert not any("checkpointer" in finding.text for finding in spec_findings(tree, newer) if finding.level == "block")


@pytest.mark.parametrize(
    ("platform", "settings", "train", "inference"),
    [
        ("virtualenv", {}, [2, 3], [2]),
        ("local-docker", {"gpus": "all"}, [2, 3], [2]),
        ("local-docker", {"gpus": "device=2,3"}, [0, 1], [0]),
        ("local-docker", {"gpus": "2"}, [0, 1], [0]),
        ("slurm", {}, [0, 1], [0]),
    ],
)
def test_gpus_of_the_host_are_renumbered_where_a_task_gets_some_of_them(
    platform: str, settings: dict[str, str], train: list[int], inference: list[int]
) -> None:
    run: Any = SimpleNamespace(plan=Plan("/ws", "FAR < 1%", 1, platform=platform, engine="tao", settings=settings))
    tree: dict[str, Any] = {"train": {"gpu_ids": [2, 3]}}
    use_gpus(run, tree, "train", 2)
    use_gpus(run, tree, "inference", 1)
    assert (tree["train"]["gpu_ids"], tree["inference"].get("gpu_ids", [0])) == (train, inference)


def test_docker_gets_the_named_devices(tmp_path: Path) -> None:
    def asked(text: str) -> Any:
        return DockerExecutor(Place("local-docker", {"gpus": text}, tmp_path, {})).device_requests(2)

    assert asked("device=2,3")[0]["DeviceIDs"] == ["2", "3"]
    assert asked("all")[0]["Count"] == -1
    with pytest.raises(InputError, match="expected all, a number, or device=2,3"):
        asked("some")


def weights(path: Path, **tensors: tuple[int, ...]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name.replace("__", "."): np.zeros(shape, np.float16) for name, shape in tensors.items()}, path)
    return path


def test_a_staged_file_of_another_architecture_than_the_spec_names_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "augmentation/backbone"
    radio = weights(folder / "a.safetensors", radio_model__model__patch_generator__embedder__weight=(768, 768))
    dino = weights(folder / "b.safetensors", patch_embed__proj__weight=(768, 3, 16, 16), reg_token=(1, 4, 768))
    learned = weights(folder / "c.safetensors", patch_embed__proj__weight=(768, 3, 16, 16), pos_embed=(1, 196, 768))
    assert disagreement("vit_base_dinov3", dino) is None
    assert disagreement("c_radio_v2_vit_base_patch16_224", radio) is None
    assert "holds C-RADIO of width 768; vit_base_dinov3 is DINOv3" in str(disagreement("vit_base_dinov3", radio))
    assert "holds DINOv3 of width 768; vit_large_dinov3 is DINOv3 of width 1024" in str(
        disagreement("vit_large_dinov3", dino)
    )
    assert "holds DINOv3" in str(disagreement("c_radio_v2_vit_base_patch16_224", dino))
    assert "learned positions" in str(disagreement("vit_base_dinov3", learned))
    assert disagreement("fan_tiny_8_p4_hybrid", radio) is None
    tree: dict[str, Any] = spec()
    tree["model"]["backbone"] = {
        "type": "vit_base_dinov3",
        "freeze_backbone": True,
        "pretrained_backbone_path": "/data/pretrained_models/a.safetensors",
    }
    plan = Plan(str(tmp_path), "FAR < 1%", 1, platform="local-docker", engine="tao", tao="7.3.0")
    (found,) = backbone_findings(tree, plan, Workspace(tmp_path))
    assert found.level == "block"
    assert found.text.endswith("type: stage_backbone --workspace W --backbone-type vit_base_dinov3")
    tree["model"]["backbone"]["freeze_backbone"] = False
    said = [one.text for one in spec_findings(tree, plan) if one.level == "block"]
    assert any("TAO takes DINOv3 frozen only" in text for text in said)


def test_a_dinov3_type_is_staged_under_its_own_name(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "scripts/stage_backbone.py")]
    (tmp_path / "file.safetensors").write_text("w")
    words = [
        "--workspace",
        str(tmp_path / "none"),
        "--dest",
        str(tmp_path / "d"),
        "--backbone-type",
        "vit_small_plus_dinov3",
    ]
    done = subprocess.run(
        [*script, *words, "--source", str(tmp_path / "file.safetensors")], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == str(tmp_path / "d/vit_small_plus_dinov3.safetensors")  # --dest wins
    assert source_of("vit_huge_plus_dinov3")[0] == "timm/vit_huge_plus_patch16_dinov3.lvd1689m"
    with pytest.raises(InputError, match="expected one of vit_small_dinov3"):
        source_of("resnet")


def test_the_size_of_anomalygen_s_model_is_that_of_its_checkpoint(tmp_path: Path) -> None:
    config = tmp_path / "job/ag_config.yaml"
    config.parent.mkdir()
    for text, size in (("name: pcb_training_14B_512x512", "14b"), ("name: pcb_2b", "2b"), ("name: pcb", "2b")):
        config.write_text(text)
        assert model_size(tmp_path) == size
    config.write_text("a: 2B/x\nb: 14b")
    with pytest.raises(InputError, match="names the sizes 14b and 2b"):
        model_size(tmp_path)
    assert model_size(tmp_path / "none") == "2b"
