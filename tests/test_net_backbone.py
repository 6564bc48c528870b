"""Staged backbones of the net engine: tiny models with random weights, written here as the real ones are staged.

The real weights are on a hub that no test reaches; what is tested is everything but what they know.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import inside
from deft_aoi.base.rows import read_rows
from deft_aoi.engine.refusal import TaskError
from small_workspace import SIZE, make_workspace

torch = pytest.importorskip("torch", reason="torch is not installed (DEFT_EXTRAS=net,backbones)")
transformers = pytest.importorskip("transformers", reason="transformers is not installed (DEFT_EXTRAS=net,backbones)")

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
GOLDEN = Path(__file__).with_name("golden") / "radio.json"


def staged(kind: str, root: Path) -> Path:
    """A backbone as a person stages it: folder of transformers, or RADIO's one file."""
    torch.manual_seed(3)
    if kind == "radio":
        path = root / "c_radio.safetensors"
        save_file(radio_tensors(), path)
        return path
    sizes = {**SMALL, "image_size": 64, "patch_size": 8}
    model: Any
    if kind == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(**sizes, mlp_ratio=2))
    elif kind == "dinov3":
        model = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**sizes, num_register_tokens=4))
    else:
        vision = transformers.SiglipVisionConfig(**sizes).to_dict()
        text = transformers.SiglipTextConfig(**SMALL, vocab_size=64).to_dict()
        model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
    model.save_pretrained(root / kind)
    (root / kind / "preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}'
    )
    return root / kind


def radio_tensors(dim: int = 64, depth: int = 2, side: int = 8) -> dict[str, np.ndarray]:
    """Random weights under the names of the real file: 4 summary tokens and 4 registers, a grid of 8 x 8 patches."""
    random = np.random.default_rng(11)
    prefix = "radio_model.model."
    shapes = {"patch_generator.embedder.weight": (dim, 768), "patch_generator.pos_embed": (1, side * side, dim)}
    shapes |= {"patch_generator.cls_token.token": (8, dim)}
    for number in range(depth):
        block = f"blocks.{number}"
        linear = {
            "attn.qkv": (3 * dim, dim),
            "attn.proj": (dim, dim),
            "mlp.fc1": (2 * dim, dim),
            "mlp.fc2": (dim, 2 * dim),
        }
        for name, shape in linear.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
        for name in ("norm1", "norm2"):
            shapes |= {f"{block}.{name}.weight": (dim,), f"{block}.{name}.bias": (dim,)}
    return {prefix + name: random.normal(0, 0.15, shape).astype(np.float32) for name, shape in shapes.items()}


class Line:
    """A tiny workspace and the engine's two commands on it."""

    def __init__(self, root: Path, size: int = SIZE) -> None:
        self.root, self.workspace, self.size = root, make_workspace(root / "ws", counts=(24, 16, 16, 8)), size

    def run(self, task: str, *more: str) -> inside.Done:
        ws = self.workspace
        csvs = {"train": "train/base/training_set.csv", "validation": "train/base/validation_set.csv"}
        csvs |= {"infer": "kpi/testing_set.csv"}
        data = [f"dataset.classify.{name}_dataset.csv_path={ws / csv}" for name, csv in csvs.items()]
        data += [f"dataset.classify.{name}_dataset.images_dir={ws / 'kpi/images'}" for name in csvs]
        told = (task, "-e", ws / "specs/baseline_spec.yaml", *data, *more)
        return inside.engine("visual_changenet", *told, env={"DEFT_CACHE_DIR": str(self.root / "cache")})

    def train(self, name: str, path: Path, *more: str) -> inside.Done:
        settings = [f"model.backbone.pretrained_backbone_path={path}", f"train.results_dir={self.root / name}"]
        return self.run("train", "--engine", "net", "train.num_epochs=1", *settings, *more)


@pytest.mark.parametrize("kind", ["radio", "dinov2", "dinov3", "siglip"])
def test_trains_and_scores_the_same_without_torch(tmp_path: Path, kind: str) -> None:
    line, path = Line(tmp_path), staged(kind, tmp_path)
    done = line.train("run", path)
    assert done.returncode == 0, done.stderr
    checkpoint = tmp_path / "run/changenet_model_classify_latest.pth"
    scores = line.run("inference", f"inference.results_dir={tmp_path / 'scored'}", f"inference.checkpoint={checkpoint}")
    assert scores.returncode == 0, scores.stderr
    by_onnx = read_rows(tmp_path / "scored/inference.csv")["siamese_score"].astype(float).to_numpy()
    assert np.abs(by_onnx - torch_scores(line, checkpoint)).max() < 1e-5
    assert np.ptp(by_onnx) > 0


def torch_scores(line: Line, checkpoint: Path) -> np.ndarray:
    """The scores of the same rows by torch, in this process."""
    from deft_aoi.engine.features.head import probabilities
    from deft_aoi.engine.net.net_checkpoint import load_checkpoint
    from deft_aoi.engine.net.pixels import pixel_table
    from deft_aoi.engine.net.tasks import torch_logits
    from deft_aoi.spec.tree import load_spec, optics

    spec = line.workspace / "specs/baseline_spec.yaml"
    view, rows = optics(load_spec(spec), spec), read_rows(line.workspace / "kpi/testing_set.csv")
    loaded = load_checkpoint(checkpoint, view)
    table = pixel_table(rows, line.workspace / "kpi/images", view, loaded.facts.channels, "rows")
    return probabilities(torch_logits(loaded, table)).astype(np.float32)


def trunk(folder: Path) -> dict[str, np.ndarray]:
    weights = load_file(folder / "changenet_model_classify_latest.pth")
    return {name: value for name, value in weights.items() if name.startswith("trunk.")}


def test_frozen_stays_and_fine_tuned_moves_but_slowly(tmp_path: Path) -> None:
    line, path = Line(tmp_path), staged("radio", tmp_path)
    for name, frozen in (("frozen", True), ("tuned", False)):
        done = line.train(name, path, f"model.backbone.freeze_backbone={frozen}")
        assert done.returncode == 0, done.stderr
    given = load_file(path)["radio_model.model.blocks.1.mlp.fc2.weight"]
    assert np.array_equal(trunk(tmp_path / "frozen")["trunk.blocks.1.fc2.weight"], given)
    moved = np.abs(trunk(tmp_path / "tuned")["trunk.blocks.1.fc2.weight"] - given).max()
    assert 0 < moved < 0.01
    later = line.train(
        "later", path, f"train.pretrained_model_path={tmp_path / 'tuned/changenet_model_classify_latest.pth'}"
    )
    assert later.returncode == 0, later.stderr


def test_radio_is_taos(tmp_path: Path) -> None:
    """Numbers that TAO 7.3.0's own module gave for the same weights and images (tests/golden/radio.json says how)."""
    from deft_aoi.engine.net.radio import Radio, radio_weights

    path = staged("radio", tmp_path)
    told = json.loads(GOLDEN.read_text())
    for size, expected in told["outputs"].items():
        height, width = map(int, size.split("x"))
        found = {"dim": 64, "patch": 16, "tokens": 8, "hidden": 128, "depth": 2}
        net = Radio(found, height, width).eval()
        net.load_state_dict(radio_weights(path, height // 16, width // 16))
        image = torch.from_numpy(np.random.default_rng(5).normal(size=(1, 3, height, width)).astype(np.float32))
        with torch.no_grad():
            tokens = net(image)[0].flatten(1).T.numpy()
        assert tokens[:: told["every"], :6] == pytest.approx(np.array(expected), abs=2e-5)


def edited(path: Path, **values: Any) -> Path:
    config = json.loads((path / "config.json").read_text()) | values
    (path / "config.json").write_text(json.dumps(config))
    return path


def refusal(path: Path, size: int = 48) -> str:
    from deft_aoi.engine.net.backbone_net import describe, staged_weights
    from deft_aoi.engine.net.facts import NetFacts

    with pytest.raises(TaskError) as said:
        staged_weights(path, NetFacts(("a",), size, size, 3, 16, describe(path, size, size)))
    return str(said.value)


def test_refusals_say_what_is_wrong(tmp_path: Path) -> None:
    folder = staged("dinov2", tmp_path)
    pickle = tmp_path / "weights.pth"
    pickle.write_bytes(b"\x80\x04.")
    other = tmp_path / "other.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, other)
    assert "reads safetensors only" in refusal(pickle)
    assert "expected the weights of C-RADIOv2" in refusal(other)
    assert "the net engine knows" in refusal(edited(folder, model_type="remote_model"))
    assert "transformers cannot read it" in refusal(edited(folder, model_type="dinov2", hidden_size=64))
    assert "do not divide images of 48 x 48" in refusal(edited(folder, patch_size=7))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "no model.safetensors" in refusal(folder)
    done = Line(tmp_path).train("refused", tmp_path / "absent")
    assert (done.returncode, "no such file or folder" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr
