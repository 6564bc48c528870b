"""Gap analysis, routing, derived specs and the hand-off: pure parts on small tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from deft_aoi.base.errors import HardStop
from deft_aoi.spec.tree import KEYS_FILE, unknown_keys
from deft_aoi.stages.finish import inference_spec
from deft_aoi.stages.rca import target_defects, weak_samples
from deft_aoi.stages.routing import route
from deft_aoi.stages.task_specs import backbone_file, dividing_interval
from deft_aoi.stages.train import best_checkpoint


def scored(rows: list[tuple[str, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        {"label": [r[0] for r in rows], "siamese_score": [r[1] for r in rows], "object_name": range(len(rows))}
    )


def test_weakness_is_positive_where_a_row_is_decided_wrongly() -> None:
    table = scored([("PASS", 0.1), ("PASS", 0.6), ("PASS", 0.4), ("bridge", 0.5), ("bridge", 0.9), ("missing", 0.7)])
    threshold, weak = weak_samples(table, 1.0, 2)
    assert threshold == 0.4, "the highest score below the lowest defect"
    by_label = {label: group["weakness"].tolist() for label, group in weak.groupby("label")}
    assert by_label["PASS"] == pytest.approx([0.2, 0.0])
    assert by_label["bridge"] == pytest.approx([-0.1, -0.5])
    assert by_label["missing"] == pytest.approx([-0.3])


def test_the_costliest_defect_comes_first() -> None:
    rng = np.random.default_rng(0)
    rows = [("PASS", float(s)) for s in rng.uniform(0, 0.5, 200)]
    rows += [("easy", 0.9), ("easy", 0.95), ("hard", 0.1), ("hard", 0.9), ("middling", 0.45), ("middling", 0.9)]
    assert target_defects(scored(rows)) == ["hard", "middling", "easy"]


@pytest.mark.parametrize(
    ("synthetic", "expected"),
    [
        ("off", (["PASS", "Bridge"], [], ["missing", "lifted"])),
        ("inference_only", (["PASS", "Bridge"], ["PASS", "Bridge", "missing"], ["lifted"])),
        ("pregen_ingest", (["PASS", "Bridge", "missing", "lifted"], [], [])),
    ],
)
def test_labels_go_where_they_can_be_found(synthetic: str, expected: tuple[list[str], ...]) -> None:
    labels = ["PASS", "Bridge", "missing", "lifted"]
    assert route(labels, {"PASS", "bridge", "other"}, ("PASS", "MISSING", "BRIDGE"), synthetic) == expected


@pytest.mark.parametrize(("asked", "epochs", "expected"), [(5, 10, 5), (4, 10, 2), (3, 7, 1), (20, 10, 10), (0, 4, 1)])
def test_intervals_divide_the_epochs(asked: int, epochs: int, expected: int) -> None:
    assert dividing_interval(asked, epochs) == expected


def test_staged_weights_by_suffix_order_then_name(tmp_path: Path) -> None:
    assert backbone_file(tmp_path / "none") is None
    for name in ("a.safetensors", "z.ckpt", "b.ckpt", "notes.txt"):
        (tmp_path / name).touch()
    found = backbone_file(tmp_path)
    assert found is not None
    assert found.name == "b.ckpt"


def status_line(loss: float) -> str:
    return f'{{"status": "RUNNING", "message": "Eval metrics generated.", "kpi": {{"val_loss": {loss}}}}}\n'


def test_the_best_checkpoint_is_the_saved_epoch_of_lowest_loss(tmp_path: Path) -> None:
    sticky = '{"status": "RUNNING", "message": "Training loop in progress", "kpi": {"val_loss": 0.0}}\n'
    (tmp_path / "status.json").write_text("".join(status_line(x) + sticky for x in (0.9, 0.1, 0.5, 0.3)) + '{"torn')
    for epoch in (1, 3, 5, 7):
        (tmp_path / f"model_epoch_{epoch:03d}_step_{epoch:05d}.pth").touch()
    path, loss = best_checkpoint(tmp_path, 2)
    assert (path.name, loss) == ("model_epoch_003_step_00003.pth", 0.1)


def test_a_training_without_a_new_checkpoint_is_a_hard_stop(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"status": "RUNNING", "message": "Train finished successfully."}\n')
    with pytest.raises(HardStop) as stop:
        best_checkpoint(tmp_path, 1)
    assert stop.value.code == "no_checkpoint"


def test_the_inference_spec_only_infers_and_tao_knows_every_key() -> None:
    training = {
        "task": "classify",
        "model": {"backbone": {"type": "x"}, "classify": {"eval_margin": 2.0, "difference_module": "learnable"}},
        "dataset": {
            "classify": {
                "train_dataset": {"csv_path": "a"}, "validation_dataset": {"csv_path": "b"}, "test_dataset": {},
                "input_map": {"White": 0}, "image_ext": ".jpg",
                "augmentation_config": {"augment": True, "random_flip": {"hflip_probability": 0.3}},
            }
        },
        "train": {"num_epochs": 3, "classify": {"loss": "ce", "cls_weight": [1, 10]}},
    }  # fmt: skip
    spec = inference_spec(training, 0.12345678901234567)
    assert not list(unknown_keys(spec, yaml.safe_load(KEYS_FILE.read_text())))
    classify = spec["dataset"]["classify"]
    assert not {"train_dataset", "validation_dataset", "test_dataset"} & set(classify)
    assert classify["infer_dataset"] == {"csv_path": "", "images_dir": ""}
    assert classify["augmentation_config"]["random_flip"] == {"hflip_probability": 0.3, "enable": False}
    assert classify["augmentation_config"]["augment"] is False
    assert spec["model"]["classify"]["eval_margin"] == 0.12345678901234567
    assert spec["train"] == {"classify": {"loss": "ce"}}
    assert spec["inference"]["checkpoint"] == "/model/best.pth"
    assert training["model"]["classify"]["eval_margin"] == 2.0, "the user's spec is not changed"
