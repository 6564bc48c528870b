"""deft export: one folder for the line whose scores are those of the engine, without the engine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json, sha256_file
from deft_aoi.base.paths import SKILL_ROOT, Workspace
from deft_aoi.base.rows import read_rows
from deft_aoi.base.safe_yaml import read_yaml
from deft_aoi.cli.main import main
from deft_aoi.engine import images
from deft_aoi.engine.features import distances
from deft_aoi.engine.features.head import start_head
from deft_aoi.engine.features.onnx_features import OPSET, score_of
from deft_aoi.engine.features.trunk import Trunk
from deft_aoi.engine.images import make_pair
from deft_aoi.engine.net.facts import NetFacts
from deft_aoi.engine.net.net_checkpoint import save_checkpoint as save_net
from deft_aoi.engine.onnx_expr import Expr, Sheet
from deft_aoi.engine.onnx_pair import channels, resize
from deft_aoi.engine.onnx_writer import UINT8
from deft_aoi.executors.base import JobState, Task
from deft_aoi.loop.line_export import export
from deft_aoi.spec.tree import Optics, load_spec, optics
from line_model import imported_model, random_net

SIZES = ((48, 48), (96, 96), (144, 144), (96, 144), (30, 40), (60, 40), (77, 53), (200, 50), (100, 130))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported_model(tmp_path_factory.mktemp("model"))


def session(build: Callable[[Expr, Expr], Expr], opset: int = 17) -> Callable[..., np.ndarray]:
    """What a graph of two pictures gives."""
    sheet = Sheet()
    sides = [Expr(sheet, name, "uint8") for name in ("one", "other")]
    sheet.graph.node("Identity", [build(*sides).name], "out")
    made = sheet.graph.model({one.name: (UINT8, (0, 3)) for one in sides}, "out", {}, opset=opset)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    running = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    return lambda one, other: running.run(["out"], {"one": one, "other": other})[0]


def picture(height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng((height, width, seed))
    coarse = rng.uniform(0, 255, (max(height // 6, 2), max(width // 6, 2), 3))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(48, 48), (96, 64)])
def test_pictures_are_brought_to_size_and_to_grey_to_the_bit(size: tuple[int, int]) -> None:
    view = Optics(("S",), ".png", *size)
    sized = session(lambda one, _: resize(channels(one, grey=False), view))
    grey = session(lambda one, _: channels(one, grey=True))
    for height, width in SIZES:
        one = picture(height, width, 0)
        np.testing.assert_array_equal(sized(one, one).transpose(1, 2, 0), images.resize(one, *size))
        np.testing.assert_array_equal(grey(one, one)[0], cv2.cvtColor(one, cv2.COLOR_RGB2GRAY))


def test_moved_lit_and_grey_pairs_score_as_in_the_engine() -> None:
    view, pairs = Optics(("S",), ".png", 50, 40), []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        golden = picture(*((40, 50), (60, 75), (80, 100), (33, 41))[seed % 4], seed)
        move = np.array([[1, 0, rng.uniform(-4, 4)], [0, 1, rng.uniform(-4, 4)]])
        moved = cv2.warpAffine(golden.astype(float), move, golden.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        moved = moved * rng.uniform(0.9, 1.1) + rng.normal(0, 4, golden.shape)
        if seed % 2:
            moved[10:16, 6:-6] += 70
        test = np.clip(moved, 0, 255).astype(np.uint8)
        if seed % 3 == 0:
            test, golden = (np.repeat(side.mean(2, keepdims=True).astype(np.uint8), 3, 2) for side in (test, golden))
        pairs.append((test, golden))
    one_channel = [number % 3 == 0 for number in range(12)]
    made = [
        make_pair(*(side[..., 0] if grey else side for side in pair), view.width, view.height)
        for pair, grey in zip(pairs, one_channel, strict=True)
    ]
    assert sum(pair.shift != (0, 0) for pair in made) > 8
    values = distances.pair_features(made, Trunk())[:, None]
    head = start_head(("S",), values, np.arange(12) % 2 == 1)
    run = session(lambda test, golden: score_of(test.sheet, [(test, golden)], head, view), OPSET)
    found = np.array([run(*pair)[0] for pair in pairs])
    np.testing.assert_allclose(found, head.scores(values), atol=1e-5)
    assert np.ptp(found) > 0.5


def test_the_folder_works_by_itself(model: Path, tmp_path: Path) -> None:
    assert main(["export", "--model", str(model), "--output-dir", str(tmp_path / "line")]) == 0
    facts = json.loads((tmp_path / "line/preprocessing.json").read_text())
    parity = json.loads((tmp_path / "line/parity.json").read_text())
    assert parity["rows"] == 12
    assert parity["largest_difference"] <= 1e-5
    assert len({row["engine"] for row in parity["scores"]}) > 6
    assert facts["model"]["sha256"] == sha256_file(tmp_path / "line/model.onnx")
    assert facts["decision"]["threshold"] == json.loads(model.read_text())["threshold"]
    shutil.move(tmp_path / "line", tmp_path / "elsewhere")
    workspace = Workspace.at(model.parents[2])
    row = read_rows(workspace.kpi_csv).iloc[0]
    name = f"{row['object_name']}_SolderLight.png"
    files = [str(workspace.images / row[column] / name) for column in ("input_path", "golden_path")]
    words = [sys.executable, "-I", str(tmp_path / "elsewhere/example.py"), *files]
    said = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.split()
    assert float(said[1]) == pytest.approx(parity["scores"][0]["engine"], abs=1e-5)
    assert said[0] == ("NO_PASS" if float(said[1]) > facts["decision"]["threshold"] else "PASS")


def test_the_example_is_short_and_needs_three_packages() -> None:
    lines = (SKILL_ROOT / "assets/export/example.py").read_text().splitlines()
    assert len(lines) <= 40
    named = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert named == {"json", "sys", "pathlib", "numpy", "onnxruntime", "PIL"}


def net_beside(model: Path, folder: str, channels_of: int) -> Path:
    workspace = Workspace.at(model.parents[2])
    run = workspace.results / folder
    view = optics(load_spec(workspace.spec), workspace.spec)
    save_net(run / "best.pth", random_net(4, channels_of), NetFacts.of(view, channels_of, 4))
    facts = {**json.loads(model.read_text()), "engine": "net", "checkpoint": str(run / "best.pth")}
    atomic_write_json(run / "best_model.json", facts | {"checkpoint_sha256": sha256_file(run / "best.pth")})
    return run / "best_model.json"


@pytest.mark.parametrize("channels_of", [1, 3])
def test_a_net_is_exported_with_its_scores(model: Path, tmp_path: Path, channels_of: int) -> None:
    made = export(net_beside(model, f"run_20260103_00000{channels_of}", channels_of), tmp_path / "line", review_share=0)
    assert made.opset == 17
    assert made.largest is not None
    assert made.largest <= 1e-5
    assert json.loads((tmp_path / "line/preprocessing.json").read_text())["decision"]["review"] is None


def test_scores_that_differ_are_refused_and_nothing_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deft_aoi.loop.line_export.TOLERANCE", -1)
    with pytest.raises(InputError, match=r"the engine scores .*, the exported model .*nothing was written"):
        export(model, tmp_path / "line", review_share=0)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "line").mkdir()
    (tmp_path / "line/mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"already there and not empty.*--output-dir"):
        export(model, tmp_path / "line", review_share=0)


class Platform:
    """Stands for a platform that has TAO: keeps the task and writes what TAO's export writes."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def submit(self, task: Task, job: Path) -> None:
        self.tasks.append(task)
        task.expects[0].parent.mkdir(parents=True, exist_ok=True)
        task.expects[0].write_bytes(b"onnx")

    def poll(self, job: Path) -> JobState:
        return JobState("finished", 0)

    def log(self, job: Path) -> Path:
        return job / "output.log"


def test_a_tao_model_is_exported_where_its_run_works(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = Platform()
    monkeypatch.setattr("deft_aoi.loop.line_export_tao.executor_of", lambda *_: platform)
    run = Workspace.at(model.parents[2]).results / "run_20260104_000000"
    run.mkdir(exist_ok=True)
    atomic_write_json(run / "best_model.json", {**json.loads(model.read_text()), "engine": "tao"})
    with pytest.raises(InputError, match="the platform sees only the workspace"):
        export(run / "best_model.json", tmp_path / "line", review_share=0)
    shutil.rmtree(run / "line", ignore_errors=True)
    export(run / "best_model.json", None, review_share=0)
    (task,) = platform.tasks
    assert task.command[:3] == ("visual_changenet", "export", "-e")
    block = read_yaml(Path(task.command[3]))["export"]
    assert (block["input_width"], block["input_height"], block["opset_version"]) == (48, 48, 17)
    assert block["checkpoint"] == json.loads(model.read_text())["checkpoint"]
    facts = json.loads((run / "line/preprocessing.json").read_text())
    assert facts["before_the_model"]["normalisation"]["mean"] == [0.485, 0.456, 0.406]
    assert facts["model"]["sha256"] == sha256_file(run / "line/model.onnx")
