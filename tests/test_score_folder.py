"""deft score --images: a folder of new pictures is decided where it is, with goldens found by the import's rule."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json, atomic_write_text, sha256_file
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import PASS, image_paths, read_rows, write_rows
from deft_aoi.cli.main import main
from deft_aoi.engine.features.checkpoint import load_checkpoint
from deft_aoi.engine.features.head import probabilities
from deft_aoi.engine.features.table import feature_table
from deft_aoi.engine.net.facts import NetFacts
from deft_aoi.engine.net.net_checkpoint import load_checkpoint as load_net
from deft_aoi.engine.net.net_checkpoint import save_checkpoint as save_net
from deft_aoi.engine.net.net_checkpoint import scoring_model
from deft_aoi.engine.net.onnx_net import onnx_logits
from deft_aoi.engine.net.pixels import pixel_table
from deft_aoi.executors.base import JobState, Task
from deft_aoi.loop.score import score
from deft_aoi.loop.score_folder import FolderScores, open_station
from deft_aoi.spec.tree import load_spec, optics
from door_pictures import line, save, shot
from line_model import imported_model, make_model, new_pictures, random_net


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported_model(tmp_path_factory.mktemp("model"))


def scored(model: Path, images: Path, output: Path, goldens: Path | None = None) -> FolderScores:
    return open_station(model, images, output, goldens=goldens, review_share=0.02).decide_new()


def test_a_folder_is_decided_without_a_table_and_left_as_it_is(model: Path, tmp_path: Path) -> None:
    images = new_pictures(tmp_path / "today")
    before = sorted(path for path in images.rglob("*"))
    assert main(["score", "--model", str(model), "--images", str(images)]) == 0
    assert sorted(path for path in images.rglob("*")) == before
    rows = pd.read_csv(tmp_path / "today_scored/decisions.csv", keep_default_na=False)
    assert len(rows) == 8
    assert set(rows.loc[rows["part"].str.contains("again"), "decision"]) == {"NO_PASS"}
    assert set(rows.loc[~rows["part"].str.contains("again"), "decision"]) == {PASS}
    assert dict(zip(rows["component"], rows["golden"], strict=True)) == {"R1": "R1", "R2": "R2", "R3": "R3_median"}
    assert set(rows["board"]) == {"SN300", "SN301"}
    lines = [json.loads(text) for text in (tmp_path / "today_scored/decisions.jsonl").read_text().splitlines()]
    assert [(one["part"], one["score"]) for one in lines] == list(zip(rows["part"], rows["score"], strict=True))
    for row in rows.itertuples():
        assert (row.heat != "") == (row.decision != PASS)
        if row.heat:
            assert cv2.imread(str(tmp_path / "today_scored" / row.heat)).shape == (48, 3 * 48, 3)


def test_scores_are_those_of_inference_on_the_same_files(model: Path, tmp_path: Path) -> None:
    workspace = Workspace.at(model.parents[2])
    rows = read_rows(workspace.kpi_csv)
    images = tmp_path / "kpi"
    images.mkdir()
    for name in rows["object_name"]:
        shutil.copy(workspace.images / f"pairs/test/{name}_SolderLight.png", images / f"{name}.png")
    scored(model, images, tmp_path / "out")
    mine = pd.read_csv(tmp_path / "out/decisions.csv").set_index("part")["score"]
    view = optics(load_spec(workspace.spec), workspace.spec)
    head = load_checkpoint(model.parent / "best.pth", view)
    theirs = pd.Series(head.scores(feature_table(rows, workspace.images, view).values), rows["object_name"])
    assert len(mine) == len(rows)
    np.testing.assert_array_equal(mine.astype(np.float32), theirs.loc[mine.index])


def test_a_second_call_decides_what_is_new_and_goes_on_after_a_kill(model: Path, tmp_path: Path) -> None:
    images, output = new_pictures(tmp_path / "today"), tmp_path / "out"
    whole = scored(model, images, output)
    table = (output / "decisions.csv").read_bytes()
    assert (whole.parts, whole.fresh) == (8, 8)
    assert scored(model, images, output).fresh == 0
    lines = (output / "decisions.jsonl").read_bytes().splitlines(keepends=True)
    (output / "decisions.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:40])
    assert scored(model, images, output).fresh == 3
    assert (output / "decisions.csv").read_bytes() == table
    save(images / "SN300/SN300_R1.png", shot(0, 1, defect=True))
    save(images / "SN302_R1.png", shot(0, 302))
    again = scored(model, images, output)
    assert (again.parts, again.fresh) == (9, 2)
    assert again.decisions["NO_PASS"] == whole.decisions["NO_PASS"] + 1


def test_what_cannot_be_scored_is_for_a_person(model: Path, tmp_path: Path) -> None:
    images = tmp_path / "today"
    save(images / "SN300_R1.png", shot(0, 300))
    save(images / "SN300_U9.png", shot(9, 300))
    (images / "SN301_R1.png").write_bytes(b"cut off")
    result = scored(model, images, tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out/decisions.csv", keep_default_na=False).set_index("part")
    assert result.unscored == 2
    assert (rows.loc["SN300_U9", "decision"], rows.loc["SN300_U9", "problem"]) == (
        "REVIEW",
        "no golden for component U9",
    )
    assert rows.loc["SN301_R1", "problem"] == "not a readable image: SN301_R1.png"
    assert rows.loc["SN301_R1", "decision"] == "REVIEW"


def test_12_bit_pictures_are_not_scored_as_if_they_were_dark(model: Path, tmp_path: Path) -> None:
    images = tmp_path / "today"
    for name, factor in (("SN300_R1", 16), ("SN301_R1", 257)):
        save(images / f"{name}.png", shot(0, 300))
        picture = cv2.imread(str(images / f"{name}.png"), cv2.IMREAD_GRAYSCALE).astype(np.uint16)
        cv2.imwrite(str(images / f"{name}.png"), picture * factor)
    scored(model, images, tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out/decisions.csv", keep_default_na=False).set_index("part")
    assert rows.loc["SN300_R1", "decision"] == "REVIEW"
    assert "12-bit data" in rows.loc["SN300_R1", "problem"]
    assert rows.loc["SN301_R1", "problem"] == ""


def test_a_table_of_12_bit_pictures_is_refused(model: Path, tmp_path: Path) -> None:
    workspace = Workspace.at(model.parents[2])
    rows = read_rows(workspace.training_csv).head(4)
    view = optics(load_spec(workspace.spec), workspace.spec)
    for column in ("input_path", "golden_path"):
        for name in image_paths(rows, column, workspace.images, view.lights[0], view.ext):
            picture = cv2.imread(name, cv2.IMREAD_GRAYSCALE).astype(np.uint16)
            target = tmp_path / "images" / Path(name).relative_to(workspace.images)
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), picture * 16)
    write_rows(tmp_path / "new.csv", rows)
    with pytest.raises(InputError, match=r"more than 8 bits a value.*12-bit data"):
        score(model, tmp_path / "new.csv", tmp_path / "out", images_dir=tmp_path / "images")
    assert not (tmp_path / "out/decisions.csv").exists()


def test_any_folder_of_goldens_serves(model: Path, tmp_path: Path) -> None:
    images = new_pictures(tmp_path / "today")
    for number in range(3):
        save(tmp_path / f"mine/R{number + 1}.png", shot(number, 7, move=0))
    scored(model, images, tmp_path / "out", tmp_path / "mine")
    rows = pd.read_csv(tmp_path / "out/decisions.csv")
    assert dict(zip(rows["component"], rows["golden"], strict=True)) == {"R1": "R1", "R2": "R2", "R3": "R3"}


def test_a_component_that_was_never_imported_finds_the_golden_of_its_name(tmp_path: Path) -> None:
    line(tmp_path / "in", boards=10, components=3, goldens=3)
    save(tmp_path / "in/GOLDEN/R4.png", shot(3, 9000, move=0))
    words = ["--workspace", str(tmp_path / "w"), "--size", "48", "--image-ext", ".png", "--yes"]
    assert main(["import", str(tmp_path / "in"), *words]) == 0
    images = save(tmp_path / "today/SN300_R4.png", shot(3, 300)).parent
    assert scored(make_model(Workspace.at(tmp_path / "w")), images, tmp_path / "out").unscored == 0
    assert pd.read_csv(tmp_path / "out/decisions.csv")["golden"].tolist() == ["R4"]


def test_what_does_not_fit_is_refused(model: Path, tmp_path: Path) -> None:
    images = new_pictures(tmp_path / "today")
    with pytest.raises(InputError, match="inside the folder that is scored"):
        scored(model, images, images / "out")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no pictures in it"):
        scored(model, tmp_path / "none", tmp_path / "out")
    scored(model, images, tmp_path / "out")
    other = json.loads(model.read_text()) | {"threshold": 0.25}
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved/best_model.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match="another model"):
        scored(tmp_path / "moved/best_model.json", images, tmp_path / "out", tmp_path / "today/SN300")
    with pytest.raises(InputError, match="--goldens DIR"):
        scored(tmp_path / "moved/best_model.json", images, tmp_path / "out2")
    (tmp_path / "moved/best_model.json").write_text(json.dumps(other | {"engine": "tao"}))
    with pytest.raises(InputError, match=r"a TAO model runs where its run does"):
        scored(tmp_path / "moved/best_model.json", images, tmp_path / "out2", tmp_path / "today/SN300")
    assert main(["score", "--model", str(model)]) == 2


def test_a_net_model_gives_the_scores_of_inference(model: Path, tmp_path: Path) -> None:
    """By its ONNX, without torch; another handed-over model in the same workspace."""
    workspace = Workspace.at(model.parents[2])
    view = optics(load_spec(workspace.spec), workspace.spec)
    run = workspace.results / "run_20260102_000000"
    save_net(run / "best.pth", random_net(4), NetFacts.of(view, 1, 4))
    facts = {**json.loads(model.read_text()), "engine": "net", "checkpoint": str(run / "best.pth")}
    atomic_write_json(run / "best_model.json", facts | {"checkpoint_sha256": sha256_file(run / "best.pth")})
    rows = read_rows(workspace.kpi_csv)
    images = tmp_path / "kpi"
    images.mkdir()
    for name in rows["object_name"]:
        shutil.copy(workspace.images / f"pairs/test/{name}_SolderLight.png", images / f"{name}.png")
    scored(run / "best_model.json", images, tmp_path / "out")
    mine = pd.read_csv(tmp_path / "out/decisions.csv").set_index("part")["score"]
    loaded = load_net(run / "best.pth", view)
    pixels = pixel_table(rows, workspace.images, view, 1, "rows")
    theirs = probabilities(onnx_logits(loaded.onnx, scoring_model(loaded), loaded.digest, pixels))
    np.testing.assert_allclose(mine.loc[rows["object_name"]], theirs, atol=1e-6)
    assert mine.std() > 1e-3


class Platform:
    """Stands for a platform that has TAO: scores a row by how bright its picture is, from the files of the spec."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def submit(self, task: Task, job: Path) -> None:
        classify = load_spec(Path(task.command[-1]))["dataset"]["classify"]
        where = classify["infer_dataset"]
        rows = read_rows(Path(where["csv_path"]))
        files = image_paths(rows, "input_path", Path(where["images_dir"]), "SolderLight", classify["image_ext"])
        assert all(Path(name).is_file() for name in image_paths(rows, "golden_path", Path(where["images_dir"]),
                                                                "SolderLight", classify["image_ext"]))  # fmt: skip
        self.rows.append(len(rows))
        write_rows(task.expects[0], rows.assign(siamese_score=[str(cv2.imread(name).mean() / 255) for name in files]))
        atomic_write_text(task.output / "status.json", json.dumps({"status": "SUCCESS", "message": task.finished}))

    def poll(self, job: Path) -> JobState:
        return JobState("finished", 0)


def test_a_tao_model_scores_a_folder_where_its_run_works(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, run = Platform(), Workspace.at(model.parents[2]).results / "run_20260105_000000"
    monkeypatch.setattr("deft_aoi.loop.score.executor_of", lambda *_: platform)
    monkeypatch.setattr("deft_aoi.loop.score_folder.BATCH", 6)
    run.mkdir()
    images = new_pictures(tmp_path / "today")
    middle = float(np.median([cv2.imread(str(path)).mean() / 255 for path in images.rglob("*.png")]))
    atomic_write_json(run / "best_model.json", {**json.loads(model.read_text()), "engine": "tao", "threshold": middle})
    (run / "deft_state.json").write_text("{}")
    (images / "SN301_R1.png").write_bytes(b"cut off")
    result = scored(run / "best_model.json", images, tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out/decisions.csv", keep_default_na=False)
    assert (result.parts, result.unscored, sum(platform.rows)) == (9, 1, 8)
    for part, found in zip(rows["part"], rows["score"]):
        assert found == "" or float(found) == cv2.imread(str(images / f"{part}.png")).mean() / 255
    assert set(rows["decision"]) == {"PASS", "NO_PASS", "REVIEW"}
    assert not list((run / "scored").iterdir())
    assert scored(run / "best_model.json", images, tmp_path / "out").fresh == 0
