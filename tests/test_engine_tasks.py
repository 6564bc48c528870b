"""`visual_changenet train|inference|evaluate` as the loop calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine_set import engine, make_set

LATEST = "changenet_model_classify_latest.pth"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("engine")
    spec = make_set(root)
    done = engine("visual_changenet", "train", "-e", str(spec), cache=root / "cache")
    assert done.returncode == 0, done.stderr
    return root


def messages(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]


def test_train_writes_the_files_of_tao(trained: Path) -> None:
    folder = trained / "results/train"
    names = sorted(path.name for path in folder.glob("model_epoch_*"))
    assert names == [f"model_epoch_{e:03d}_step_{(e + 1) * 6:05d}.pth" for e in (1, 3, 5)]
    assert (folder / LATEST).is_symlink()
    assert (folder / LATEST).resolve().name == names[-1]
    assert (folder / "experiment.yaml").is_file()


def test_status_tells_start_validation_and_end(trained: Path) -> None:
    found = messages(trained / "results/train")
    assert found[0]["status"] == "STARTED"
    assert found[-1]["message"] == "Train finished successfully."
    evals = [m["kpi"] for m in found if m["message"] == "Eval metrics generated."]
    assert len(evals) == 6
    assert set(evals[0]) == {"val_loss", "val_acc", "val_fpr", "val_far"}
    assert evals[-1]["val_loss"] < 0.6


def test_same_input_same_bytes_with_cold_and_warm_cache(trained: Path) -> None:
    spec, first = trained / "spec.yaml", trained / "results/train"
    for cache, name in ((trained / "cache", "again"), (trained / "cold", "cold")):
        output = trained / name
        done = engine("visual_changenet", "train", "-e", str(spec), f"train.results_dir={output}", cache=cache)
        assert done.returncode == 0, done.stderr
        for path in first.glob("model_epoch_*"):
            assert (output / path.name).read_bytes() == path.read_bytes()


def test_second_inference_reads_every_pair_from_the_cache(trained: Path) -> None:
    arguments = [
        "inference",
        "-e",
        str(trained / "spec.yaml"),
        f"inference.checkpoint={trained}/results/train/{LATEST}",
    ]
    first = engine("visual_changenet", *arguments, cache=trained / "fresh")
    second = engine("visual_changenet", *arguments, cache=trained / "fresh")
    assert "32 pairs, 0 from cache" in first.stderr
    assert "32 pairs, 32 from cache" in second.stderr
    assert messages(trained / "results/inference")[-1]["message"] == "Inference finished successfully."


def test_images_that_were_scored_are_embedded_already(trained: Path) -> None:
    tests = sorted((trained / "images/train/test").glob("*.png"))
    (trained / "files.csv").write_text("\n".join(["filepath", *map(str, tests)]) + "\n")
    spec = trained / "embed.yaml"
    spec.write_text(f"input_parquet: {trained}/files.csv\noutput_parquet: {trained}/embedded.parquet\nmodel: trunk\n")
    first = engine("embedding", "image_embeddings", "-e", str(spec), cache=trained / "cache")
    alone = engine(
        "embedding", "image_embeddings", "-e", str(spec), f"output_parquet={trained}/alone.parquet",
        cache=trained / "other",
    )  # fmt: skip
    assert f"{len(tests)} embeddings, 0 computed" in first.stderr
    assert f"{len(tests)} embeddings, {len(tests)} computed" in alone.stderr
    assert (trained / "embedded.parquet").read_bytes() == (trained / "alone.parquet").read_bytes()


def test_inference_keeps_columns_rows_and_text(trained: Path) -> None:
    rows = pd.read_csv(trained / "infer.csv", dtype=str)
    rows["siamese_score"] = "9"
    rows["note"] = ['a "b", c'] * len(rows)
    source = trained / "extra.csv"
    rows.to_csv(source, index=False)
    done = engine(
        "visual_changenet", "inference", "-e", str(trained / "spec.yaml"),
        f"dataset.classify.infer_dataset.csv_path={source}", f"inference.results_dir={trained}/extra",
        f"inference.checkpoint={trained}/results/train/{LATEST}", cache=trained / "cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scored = pd.read_csv(trained / "extra/inference.csv", dtype=str)
    assert list(scored.columns) == [*rows.columns.drop("siamese_score"), "siamese_score"]
    pd.testing.assert_frame_equal(scored.drop(columns="siamese_score"), rows.drop(columns="siamese_score"))
    values = scored["siamese_score"].astype(np.float32)
    assert [str(value) for value in values.to_numpy()] == list(scored["siamese_score"])
    assert values[rows["label"] != "PASS"].min() > values[rows["label"] == "PASS"].max()


def test_training_from_a_checkpoint(trained: Path) -> None:
    start = trained / "results/train" / LATEST
    done = engine(
        "visual_changenet", "train", "-e", str(trained / "spec.yaml"), f"train.pretrained_model_path={start}",
        f"train.results_dir={trained}/warm", "train.num_epochs=2", cache=trained / "cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    checkpoints = sorted(path.name for path in (trained / "warm").glob("model_epoch_*"))
    assert checkpoints == ["model_epoch_001_step_00012.pth"]
    assert messages(trained / "warm")[-1]["message"] == "Train finished successfully."


def test_evaluate_reports_the_metrics(trained: Path) -> None:
    done = engine(
        "visual_changenet", "evaluate", "-e", str(trained / "spec.yaml"),
        f"evaluate.checkpoint={trained}/results/train/{LATEST}", cache=trained / "cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = messages(trained / "results/evaluate")
    assert found[-2]["kpi"]["val_far"] == 0.0
    assert found[-1]["message"] == "Evaluate finished successfully."


def test_the_classical_baseline_needs_no_model(trained: Path) -> None:
    done = engine(
        "features.classical", "-e", str(trained / "spec.yaml"), f"results_dir={trained}/plain", cache=trained / "cache"
    )
    assert done.returncode == 0, done.stderr
    scored = pd.read_csv(trained / "plain/inference.csv")
    assert scored["siamese_score"].between(0, 1).all()
    defect = scored["label"] != "PASS"
    assert scored["siamese_score"][defect].mean() > scored["siamese_score"][~defect].mean()
