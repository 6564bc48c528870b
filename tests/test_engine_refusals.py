"""What TAO refuses is refused here: exit code 1, one line, no traceback, no checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from engine_set import changed, engine, make_rows, make_set


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("refusals")
    make_set(root)
    return root


def refused(ready: Path, tmp_path: Path, command: str, **values: object) -> str:
    """Run with changed keys; returns the one line of stderr after checking how the refusal looks."""
    spec = changed(ready / "spec.yaml", tmp_path / "spec.yaml", **{"results_dir": str(tmp_path / "out"), **values})
    done = engine("visual_changenet", command, "-e", str(spec), cache=ready / "cache")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("visual_changenet")]
    assert len(lines) == 1
    assert not list(tmp_path.glob("out/**/*.pth"))
    return lines[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"automl_policy": "off"}, "Error merging 'spec.yaml' with schema: "),
        ({"results_dir": None}, "at least one of following fields: results_dir, train.results_dir"),
        ({"train__checkpoint_interval": 9}, "train.checkpoint_interval (9) is greater than train.num_epochs (6)"),
        ({"train__validation_interval": 7}, "train.validation_interval (7) is greater"),
        ({"train__tensorboard__infrequent_logging_frequency": 7}, "infrequent_logging_frequency (7)"),
        ({"train__classify__cls_weight": [1.0, 2.0, 3.0]}, "expected two weights"),
        ({"train__pretrained_model_path": "/nowhere/m.pth"}, "/nowhere/m.pth: no such file"),
        ({"train__classify__loss": "contrastive", "model__classify__difference_module": "learnable"}, "needs"),
        ({"model__backbone__freeze_backbone": True}, "freeze_backbone"),
        ({"dataset__classify__image_ext": "png"}, "with its dot"),
        ({"dataset__classify__batch_size": 1}, "batch_size is 1"),
        ({"dataset__classify__batch_size": 32}, "Dataset size (24) is smaller than the total batch size (32)"),
        ({"dataset__classify__batch_size": 20}, "Dataset size (16) is smaller than the total batch size (20)"),
        ({"dataset__classify__image_ext": ".jpg"}, "Image file wasn't found at "),
        ({"task": "segment"}, "'classify' only"),
    ],
)
def test_train_refuses(ready: Path, tmp_path: Path, values: dict[str, object], message: str) -> None:
    assert message in refused(ready, tmp_path, "train", **values)


def test_unknown_keys_are_named(ready: Path, tmp_path: Path) -> None:
    line = refused(ready, tmp_path, "train", automl_policy="off")
    assert "Key 'automl_policy' not in 'ExperimentConfig'" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("defects", "message"), [(0, "no defect"), (8, "no row labelled PASS")])
def test_a_training_set_of_one_class(ready: Path, tmp_path: Path, defects: int, message: str) -> None:
    csv = make_rows(tmp_path, "one", 8, 3, defects=defects)
    data = {"csv_path": str(csv), "images_dir": str(tmp_path / "images")}
    assert message in refused(ready, tmp_path, "train", dataset__classify__train_dataset=data)
    last = json.loads((tmp_path / "out/train/status.json").read_text().splitlines()[-1])
    assert last["status"] == "FAILURE"
    assert message in last["message"]


@pytest.mark.parametrize("column", ["label", "object_name", "input_path", "golden_path"])
def test_a_missing_column(ready: Path, tmp_path: Path, column: str) -> None:
    pd.read_csv(ready / "train.csv", dtype=str).drop(columns=column).to_csv(tmp_path / "short.csv", index=False)
    line = refused(ready, tmp_path, "train", dataset__classify__train_dataset__csv_path=str(tmp_path / "short.csv"))
    assert f"column {column} missing" in line


def test_a_leading_blank_in_a_path(ready: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(ready / "train.csv", dtype=str)
    rows.loc[2, "golden_path"] = " train/golden"
    rows.to_csv(tmp_path / "blank.csv", index=False)
    line = refused(ready, tmp_path, "train", dataset__classify__train_dataset__csv_path=str(tmp_path / "blank.csv"))
    assert "line 4: golden_path begins with a blank" in line


def test_a_damaged_image_is_named(ready: Path, tmp_path: Path) -> None:
    csv = make_rows(tmp_path, "bad", 8, 4)
    broken = tmp_path / "images/bad/test/bad003_SolderLight.png"
    broken.write_bytes(b"no image")
    data = {"csv_path": str(csv), "images_dir": str(tmp_path / "images")}
    assert f"{broken}: not a readable image" in refused(ready, tmp_path, "train", dataset__classify__train_dataset=data)


def test_a_folder_with_checkpoints_is_not_trained_into(ready: Path, tmp_path: Path) -> None:
    folder = tmp_path / "used"
    folder.mkdir()
    (folder / "model_epoch_000_step_00001.pth").write_bytes(b"old")
    line = refused(ready, tmp_path, "train", train__results_dir=str(folder))
    assert "already holds checkpoints" in line
    assert [path.name for path in folder.iterdir()] == ["model_epoch_000_step_00001.pth"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"PK\x03\x04 a torch file", "not written by the features engine"), (b"", "not written")],
)
def test_inference_refuses_other_checkpoints(ready: Path, tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "model.ckpt"
    if content is not None:
        path.write_bytes(content)
    assert message in refused(ready, tmp_path, "inference", inference__checkpoint=str(path))


def test_a_checkpoint_of_another_size_is_refused(ready: Path, tmp_path: Path) -> None:
    done = engine(
        "visual_changenet",
        "train",
        "-e",
        str(ready / "spec.yaml"),
        f"train.results_dir={tmp_path}/m",
        cache=ready / "cache",
    )
    assert done.returncode == 0, done.stderr
    checkpoint = tmp_path / "m/changenet_model_classify_latest.pth"
    line = refused(
        ready, tmp_path / "m", "inference", inference__checkpoint=str(checkpoint), dataset__classify__image_width=64,
        results_dir=str(tmp_path / "elsewhere"),
    )  # fmt: skip
    assert "width is 48" in line


def test_inference_without_a_checkpoint(ready: Path, tmp_path: Path) -> None:
    assert "inference.checkpoint is not set" in refused(ready, tmp_path, "inference")


def test_a_results_path_that_is_a_file(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    line = refused(ready, tmp_path, "train", train__results_dir=str(tmp_path / "taken"))
    assert str(tmp_path / "taken") in line
