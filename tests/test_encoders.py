"""Image encoders: a SigLIP exported from a local folder gives the vectors of the library it came from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import inside
from deft_aoi.base.errors import InputError
from deft_aoi.engine.embedding import embed
from deft_aoi.engine.encoders import make_encoder, onnx_encoder
from deft_aoi.engine.refusal import TaskError
from deft_aoi.weights.encoder import stage_encoder
from small_workspace import make_workspace

MEAN, SPREAD = 0.4, 0.3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SigLIP with random weights, as the library saves it."""
    transformers = pytest.importorskip("transformers", reason="needs the extra backbones")
    torch = pytest.importorskip("torch", reason="needs the extra net")
    torch.manual_seed(0)
    config = transformers.SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=48, patch_size=16
    )
    home = tmp_path_factory.mktemp("siglip")
    transformers.SiglipVisionModel(config).save_pretrained(home)
    said = {"image_mean": [MEAN] * 3, "image_std": [SPREAD] * 3, "size": {"height": 48, "width": 48}}
    (home / "preprocessor_config.json").write_text(json.dumps(said))
    return home


def test_a_staged_siglip_gives_the_vectors_of_its_library(folder: Path, tmp_path: Path) -> None:
    import torch
    import transformers

    staged = stage_encoder(tmp_path / "encoder", source=folder)
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    planes = torch.from_numpy((image / 255 - MEAN) / SPREAD).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        expected = transformers.SiglipVisionModel.from_pretrained(folder)(pixel_values=planes).pooler_output[0].numpy()
    np.testing.assert_allclose(make_encoder("SigLIP", str(staged)).encode(image), expected, atol=1e-4)


def test_images_of_any_size_and_colour_are_embedded_and_cached(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEFT_CACHE_DIR", str(tmp_path / "cache"))
    encoder = onnx_encoder(stage_encoder(tmp_path / "encoder", source=folder))
    files = sorted(map(str, (make_workspace(tmp_path / "ws") / "kpi/images").rglob("*_WhiteLight.png")))[:6]
    first = embed(files, encoder)
    assert all(vector is not None and vector.shape == (32,) for vector in first)

    def never(image: np.ndarray) -> np.ndarray:
        raise AssertionError("embedded again")

    again = embed(files, type(encoder)(encoder.parameters, encoder.size, never))
    np.testing.assert_array_equal(np.stack([v for v in first if v is not None]), np.stack(again))  # type: ignore[arg-type]


def test_staging_by_command_and_pre_flight_takes_what_is_staged(folder: Path, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws")
    done = inside.deft("stage-encoder", "--workspace", str(root), "--source", str(folder))
    assert done.stdout.strip().endswith("ws/augmentation/encoder/siglip.onnx"), done.stderr
    shown = inside.deft("preflight", "--workspace", str(root), "--max-iterations", "1", "--policy", "knn")
    assert "encoder augmentation/encoder/siglip.onnx" in shown.stdout, shown.stderr


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"nothing")
    with pytest.raises(TaskError, match="not a usable ONNX file"):
        stage_encoder(tmp_path / "encoder", source=bad)
    with pytest.raises(InputError, match=r"expected an \.onnx file, or a folder"):
        stage_encoder(tmp_path / "encoder", source=tmp_path)
    with pytest.raises(TaskError, match="deft stage-encoder"):
        make_encoder("SigLIP", "google/siglip-base-patch16-224")
    assert not (tmp_path / "encoder").exists()
