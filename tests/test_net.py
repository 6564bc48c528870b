"""The net engine behind TAO's command line; small trainings on the CPU. Skipped where torch is not installed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

import inside
from deft_aoi.base.rows import read_rows
from deft_aoi.engine.engine_choice import FEATURES, NET, engine_of
from deft_aoi.engine.net.pixels import pixel_table
from deft_aoi.engine.net.recipe import defects_in_batch, draw_epoch, learning_rate
from deft_aoi.kpi.sweep import auroc, sweep
from deft_aoi.spec.tree import load_spec, optics
from small_workspace import LIGHTS, SIZE, make_workspace

TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not TORCH, reason="torch is not installed (pip install '.[net]')")
EPOCHS = 4


class Line:
    """A tiny line with one command for each task of the engine."""

    def __init__(self, root: Path) -> None:
        self.root, self.workspace = root, root / "ws"

    def command(self, task: str, *more: str) -> list[str]:
        ws = self.workspace
        sets = {
            "train": "train/base/training_set.csv",
            "validation": "train/base/validation_set.csv",
            "infer": "kpi/testing_set.csv",
            "test": "kpi/testing_set.csv",
        }
        data = [
            f"dataset.classify.{name}_dataset.{key}={ws / value}"
            for name, csv in sets.items()
            for key, value in (("csv_path", csv), ("images_dir", "kpi/images"))
        ]
        return [task, "-e", str(ws / "specs/baseline_spec.yaml"), *data, *more]

    def environment(self) -> dict[str, str]:
        # One thread: two would wait for each other on a busy machine.
        return os.environ | {"DEFT_CACHE_DIR": str(self.root / "cache"), "OMP_NUM_THREADS": "1"}

    def run(self, task: str, *more: str) -> inside.Done:
        return inside.engine("visual_changenet", *self.command(task, *more), env=self.environment())

    def start(self, task: str, *more: str) -> subprocess.Popen[str]:
        """The same as a process of its own."""
        command = [sys.executable, "-m", "deft_aoi.engine.visual_changenet", *self.command(task, *more)]
        return subprocess.Popen(command, env=self.environment(), stderr=subprocess.PIPE, text=True)

    def train(self, folder: str, *more: str) -> Path:
        done = self.run("train", "--engine", "net", f"train.results_dir={self.root / folder}", *more)
        assert done.returncode == 0, done.stderr
        return self.root / folder

    def scores(self, folder: str, checkpoint: Path) -> np.ndarray:
        results = self.root / folder
        done = self.run("inference", f"inference.results_dir={results}", f"inference.checkpoint={checkpoint}")
        assert done.returncode == 0, done.stderr
        scored = read_rows(results / "inference.csv")
        assert list(scored["object_name"]) == [f"C{n}" for n in range(60)]
        return scored["siamese_score"].astype(float).to_numpy()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    if TORCH:
        import torch

        torch.set_num_threads(1)  # the bytes of a process with one thread
    made = Line(tmp_path_factory.mktemp("net"))
    make_workspace(made.workspace, counts=(120, 32, 60, 80))
    return made


@pytest.fixture(scope="module")
def trained(line: Line) -> Path:
    return line.train("trained")


def messages(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / "status.json").read_text().splitlines()]


def validations(folder: Path) -> list[dict[str, float]]:
    return [m["kpi"] for m in messages(folder) if m["message"] == "Eval metrics generated."]


@needs_torch
def test_training_improves_and_leaves_taos_files(line: Line, trained: Path) -> None:
    defect = (pd.read_csv(line.workspace / "kpi/testing_set.csv")["label"] != "PASS").to_numpy()
    reached = auroc(sweep(defect, line.scores("reached", trained / "changenet_model_classify_latest.pth")))
    assert reached > 0.65, "0.5 is what an untrained network reaches; some of the defects are invisible"
    assert len(validations(trained)) == EPOCHS
    names = sorted(path.name for path in trained.iterdir())
    stems = [f"model_epoch_{n:03d}_step_{40 * (n + 1):05d}" for n in range(EPOCHS)]
    per_epoch = [f"{stem}{end}" for stem in stems for end in (".onnx", ".pth")]
    assert names == sorted([*per_epoch, "changenet_model_classify_latest.pth", "experiment.yaml", "status.json"])
    assert messages(trained)[-1]["message"] == "Train finished successfully."


@needs_torch
def test_onnx_gives_the_scores_of_torch_and_the_checkpoint_names_its_engine(line: Line, trained: Path) -> None:
    latest = trained / "changenet_model_classify_latest.pth"
    assert engine_of(latest) == NET
    by_onnx = line.scores("by_onnx", latest)
    assert "ONNX Runtime" in (line.root / "by_onnx/status.json").read_text()
    alone = line.root / "alone.pth"
    shutil.copy(latest, alone)
    by_torch = line.scores("by_torch", alone)
    assert "torch on CPU" in (line.root / "by_torch/status.json").read_text()
    assert np.abs(by_onnx - by_torch).max() < 1e-5


@needs_torch
def test_the_same_seed_gives_the_same_bytes_and_a_kill_changes_nothing(line: Line, trained: Path) -> None:
    folder = line.root / "killed"
    for epoch in (0, 2):
        process = line.start("train", "--engine", "net", f"train.results_dir={folder}")
        deadline = time.monotonic() + 60
        while not list(folder.glob(f"model_epoch_{epoch:03d}_*.pth")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    line.train("killed")
    assert "Resuming after" in (folder / "status.json").read_text()
    assert validations(folder) == validations(trained)
    name = f"model_epoch_003_step_{40 * EPOCHS:05d}"
    for end in (".pth", ".onnx"):
        assert (folder / f"{name}{end}").read_bytes() == (trained / f"{name}{end}").read_bytes()


@needs_torch
def test_two_processes_train_one_network(line: Line) -> None:
    folder = line.root / "two"
    process = line.start(
        "train", "--engine", "net", f"train.results_dir={folder}", "train.num_gpus=2", "train.num_epochs=1"
    )
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert len(validations(folder)) == 1
    assert (folder / "model_epoch_000_step_00040.onnx").is_file()


@needs_torch
def test_training_goes_on_from_an_earlier_model(line: Line, trained: Path) -> None:
    start = trained / "changenet_model_classify_latest.pth"
    folder = line.train("later", f"train.pretrained_model_path={start}", "train.num_epochs=1")
    assert (folder / "model_epoch_000_step_00030.pth").is_file()
    before, after = (load_file(path)["stem.weight"].ravel() for path in (start, folder / start.name))
    assert np.corrcoef(before, after)[0, 1] > 0.5, "a fresh network would have nothing of the earlier one"


@needs_torch
@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["dataset.classify.batch_size=256"], "Dataset size (120) is smaller than the total batch size (256)"),
        (["train.checkpoint_interval=9"], "train.checkpoint_interval (9) is greater than train.num_epochs (4)"),
        (["dataset.classify.fpratio_sampling=1.5"], "fpratio_sampling is 1.5; expected a share between 0 and 1"),
        (["train.pretrained_model_path=/none.pth"], "train.pretrained_model_path /none.pth: no such file"),
        (["train.automl=1"], "Key 'train.automl' not in 'ExperimentConfig'"),
    ],
)
def test_refusals_are_those_of_the_other_engine(line: Line, tmp_path: Path, more: list[str], reason: str) -> None:
    folder = f"train.results_dir={tmp_path / 'out'}"
    by_engine = [line.run("train", "--engine", engine, folder, *more) for engine in ("net", "features")]
    assert by_engine[0].returncode == 1
    assert reason in by_engine[0].stderr
    assert by_engine[0].stderr.count("\n") == 1
    if "fpratio" not in reason:
        assert by_engine[1].stderr == by_engine[0].stderr


@needs_torch
def test_a_finished_folder_and_a_checkpoint_for_other_images_are_refused(line: Line, trained: Path) -> None:
    again = line.run("train", "--engine", "net", f"train.results_dir={trained}")
    assert (again.returncode, "already holds checkpoints" in again.stderr) == (1, True)
    latest = trained / "changenet_model_classify_latest.pth"
    smaller = ["dataset.classify.image_width=32", f"inference.checkpoint={latest}"]
    other = line.run("inference", f"inference.results_dir={line.root / 'other'}", *smaller)
    assert other.returncode == 1
    assert "width is 48, the spec and this engine need 32" in other.stderr


@pytest.mark.skipif(TORCH, reason="torch is installed")
def test_without_torch_one_line_says_what_to_install(line: Line, tmp_path: Path) -> None:
    done = line.run("train", "--engine", "net", f"train.results_dir={tmp_path / 'out'}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "export DEFT_PYTHON=" in done.stderr
    shown = inside.deft("preflight", "--workspace", line.workspace, "--max-iterations", "1", "--engine", "auto")
    assert "| engine | features | user (auto: this Python has no torch) |" in shown.stdout


@needs_torch
def test_preflight_says_which_engine_and_why(line: Line) -> None:
    shown = inside.deft("preflight", "--workspace", line.workspace, "--max-iterations", "1", "--engine", "net")
    assert "| engine | net | user (asked for; " in shown.stdout


def test_pixels_are_decoded_once_and_read_back_whole(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFT_CACHE_DIR", str(line.root / "pixels"))
    spec = line.workspace / "specs/baseline_spec.yaml"
    rows = read_rows(line.workspace / "kpi/testing_set.csv")
    view = optics(load_spec(spec), spec)
    first = pixel_table(rows.head(20), line.workspace / "kpi/images", view, 3, "rows")
    whole = pixel_table(rows, line.workspace / "kpi/images", view, 3, "rows")
    assert (first.hits, whole.hits) == (0, 20 * len(LIGHTS))
    assert whole.read(slice(None)).shape == (60, 2, 3 * len(LIGHTS), SIZE, SIZE)
    assert (whole.read(slice(20)) == first.read(slice(None))).all()


def test_a_torn_archive_is_mended(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFT_CACHE_DIR", str(line.root / "torn"))
    spec = line.workspace / "specs/baseline_spec.yaml"
    rows, view = read_rows(line.workspace / "kpi/testing_set.csv"), optics(load_spec(spec), spec)
    images = line.workspace / "kpi/images"
    table = pixel_table(rows.head(10), images, view, 1, "rows")
    whole = table.read(slice(None))
    for path in (table.archive, table.archive.with_name("keys.bin")):
        os.truncate(path, path.stat().st_size - 7)
    mended = pixel_table(rows.head(10), images, view, 1, "rows")
    assert mended.hits == 10 * len(LIGHTS) - 1
    assert (mended.read(slice(None)) == whole).all()


def test_every_batch_has_its_share_of_defects() -> None:
    defect = np.arange(50) < 5
    count = defects_in_batch(96, 0.2)
    how: dict[str, Any] = {"seed": 1, "epoch": 2, "steps": 7, "batch": 96, "defects": count, "pasted": 8, "shift": 3}
    drawn = draw_epoch(defect, **how)
    assert (defect[drawn.rows].sum(1) == count).all()
    assert defect[drawn.rows[:, :count]].all()
    again = draw_epoch(defect, **how)
    assert (again.shift == drawn.shift).all()
    assert (again.paste == drawn.paste).all()
    assert drawn.paste.shape == (7, 8, 8)
    assert np.abs(drawn.shift).max() == 3


def test_the_learning_rate_rises_to_its_peak_and_ends_near_nothing() -> None:
    rates = [learning_rate(step, 100, 1e-3) for step in range(100)]
    assert max(rates) == rates[30] == pytest.approx(1e-3)
    assert rates[0] == pytest.approx(4e-5)
    assert rates[-1] < 2e-6


def test_a_checkpoint_of_unknown_kind_belongs_to_the_engine_that_explains(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"no safetensors")
    assert engine_of(tmp_path / "x.pth") == FEATURES
