"""Stage `anomalygen_finetune`: what is learned, that generation uses it, when it runs, what Pre-Flight says of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

import inside
from anomaly_world import make_set
from deft_aoi.base.errors import HARD_STOP, OK, InputError
from deft_aoi.base.finding import BLOCK, NOTE
from deft_aoi.base.paths import Workspace
from deft_aoi.preflight import preflight
from deft_aoi.preflight.generator_plan import generator_findings, hidden
from deft_aoi.record import journal, order
from deft_aoi.record.order import Step
from deft_aoi.record.run import Plan, load_run
from deft_aoi.spec.tree import Optics
from deft_aoi.synthetic import memory
from deft_aoi.synthetic.dataset import SPEC, AnomalySet, read_entries, training_problems
from test_inline import ASKED, begin, one_light, until


@pytest.fixture(autouse=True, scope="module")
def null_engine(null_engine_in_module: None) -> None:
    """Models are the null engine's here; what generates pairs is real."""


def call(module: str, *flags: object) -> inside.Done:
    return inside.engine(module, *flags)


def trained(root: Path, out: Path, *more: object) -> Path:
    """Folder of a checkpoint made as AnomalyGen's own commands make it."""
    out.mkdir()
    config = out / "ag_config.yaml"
    done = call("anomalygen_config", "--name", "pcb", "--dataset-dir", root, "--defect-spec", root / SPEC,
                "--validation-jsonl", "none", "--output", config, *more)  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = call("anomalygen_train", "--ag-config", config, "--output-root", out)
    assert done.returncode == 0, done.stderr
    return out / "anomaly_gen/pcb/pcb_training_reference"


def generated(root: Path, out: Path, checkpoint: Path | str, step: int) -> inside.Done:
    flags = ("--name", "x", "--num-sdg", 6, "--dataset-dir", root, "--defect-spec", root / SPEC, "--seed", 5)
    done = call("anomalygen_prep", *flags, "--amp-output-dir", out / "amp", "--output-jsonl", out / "testcase.jsonl")
    assert done.returncode == 0, done.stderr
    return call("anomalygen_sdg", "--checkpoint_dir", checkpoint, "--step", step, "--input_jsonl",
                out / "testcase.jsonl", "--output_dir", out / "sdg")  # fmt: skip


def bytes_of(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*.png"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_step_learns_an_example_and_the_same_set_gives_the_same_bytes(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set")
    first = trained(root, tmp_path / "a", "--save-iter", 4)
    second = trained(root, tmp_path / "b", "--save-iter", 4)
    assert (first / "checkpoints/latest_checkpoint.txt").read_text() == "iter_000000006.pt\n"
    names = sorted(path.name for path in (first / "checkpoints/model").iterdir())
    assert names == ["iter_000000004.pt", "iter_000000006.pt"]
    for name in names:
        pair = [(home / "checkpoints/model" / name).read_bytes() for home in (first, second)]
        assert pair[0] == pair[1]
    early, last = (memory.load(first / "checkpoints/model" / name) for name in names)
    assert {kind: len(found) for kind, found in early.examples.items()} == {"IC+bridge": 2, "IC+missing": 2}
    assert {kind: len(found) for kind, found in last.examples.items()} == {"IC+bridge": 3, "IC+missing": 3}
    example = last.examples["IC+missing"][0]
    shown = cv2.imread(str(root / f"IC/anomaly_image/missing/{example.stem}.png"))
    x, y, width, height = example.box
    assert (example.pictures()[0][y : y + height, x : x + width] == shown[y : y + height, x : x + width]).all()
    config = yaml.safe_load((first / "ag_config.yaml").read_text())
    assert config["dataloader_train"]["dataset"]["anomaly_types"] == [["IC", "bridge"], ["IC", "missing"]]


def test_generation_paints_from_the_checkpoint_and_not_from_the_pictures(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set")
    home = trained(root, tmp_path / "t")
    shutil.rmtree(root / "IC/anomaly_image")
    done = generated(root, tmp_path / "with", home, 6)
    assert "generated 6 of 6" in done.stdout
    for path in (tmp_path / "with/sdg/reconstructed_image").iterdir():
        bad = cv2.imread(str(path))
        mask = cv2.imread(str(path.parents[1] / "original_mask" / path.name), cv2.IMREAD_GRAYSCALE)
        level = np.median(bad[cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0])
        assert level > 215 if "bridge" in path.name else level < 40, "the defects of that set, bright and dark"
    assert "generated 0 of 6" in generated(root, tmp_path / "without", "none", 0).stdout


def test_another_data_set_makes_another_checkpoint_and_other_pictures(tmp_path: Path) -> None:
    root, other = make_set(tmp_path / "set"), make_set(tmp_path / "other", seed=9)
    for path in (other / "IC/anomaly_image").rglob("*.png"):
        picture, name = cv2.imread(str(path)), path.stem
        mask = cv2.imread(str(other / "IC/mask" / path.parent.name / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        picture[mask > 0] = (40, 40, 220)
        cv2.imwrite(str(path), picture)
    homes = trained(root, tmp_path / "a"), trained(other, tmp_path / "b")
    for name, home in zip("ab", homes):
        assert "generated 6 of 6" in generated(root, tmp_path / f"g{name}", home, 6).stdout
    assert bytes_of(tmp_path / "ga/sdg/original_mask") == bytes_of(tmp_path / "gb/sdg/original_mask")
    for path in (tmp_path / "gb/sdg/reconstructed_image").iterdir():
        mask = cv2.imread(str(path.parents[1] / "original_mask" / path.name), cv2.IMREAD_GRAYSCALE)
        inside = cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0
        assert np.median(cv2.imread(str(path))[inside], axis=0)[2] > 180, "red, as that set's defects are"


def test_a_checkpoint_of_another_kind_has_no_effect(tmp_path: Path) -> None:
    root, model = make_set(tmp_path / "set"), tmp_path / "c/checkpoints/model/iter_000000006.pt"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    assert generated(root, tmp_path / "one", tmp_path / "c", 6).returncode == 0
    assert generated(root, tmp_path / "two", "none", 0).returncode == 0
    assert bytes_of(tmp_path / "one/sdg") == bytes_of(tmp_path / "two/sdg")


def test_a_set_that_teaches_nothing_is_refused(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set")
    for path in (root / "IC/anomaly_image").rglob("*.png"):
        path.write_bytes(b"torn")
    (tmp_path / "o").mkdir()
    call("anomalygen_config", "--name", "pcb", "--dataset-dir", root, "--defect-spec", root / SPEC,
         "--validation-jsonl", "none", "--output", tmp_path / "o/c.yaml")  # fmt: skip
    done = call("anomalygen_train", "--ag-config", tmp_path / "o/c.yaml", "--output-root", tmp_path / "o")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "nothing can be learned" in done.stderr
    assert not (tmp_path / "o/trained").exists()


def test_a_mask_for_every_picture_or_a_sentence(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set")
    found, entries = AnomalySet.at(root), read_entries(root / SPEC)
    assert training_problems(found, entries, strict=False) == []
    strict = training_problems(found, entries, strict=True)
    assert "IC+bridge: 3 of 3 pictures have no mask (first: n0.png; expected IC/mask/bridge/n0_mask.png)" in strict
    (root / "IC/mask/bridge/n1.png").unlink()
    assert len(training_problems(found, entries, strict=False)) == 1
    shutil.rmtree(root / "IC/anomaly_image/missing")
    assert any("IC+missing: no picture" in line for line in training_problems(found, entries, strict=False))


def line(label: str, stage: str, **facts: Any) -> dict[str, Any]:
    return {"iter": label, "stage": stage, "status": "ok", "facts": facts, "prev": ""}


def test_it_comes_once_between_routing_and_the_first_generation() -> None:
    known = order.Judged("baseline")
    after = [line("iter1", "routing"), line("iter1", "anomalygen_finetune"), line("iter2", "routing")]
    found = [order.step_after(last, known, 3, finetune=True) for last in after]
    assert found == [Step("iter1", "anomalygen_finetune"), Step("iter1", "anomalygen"), Step("iter2", "anomalygen")]
    assert order.step_after(after[0], known, 3) == Step("iter1", "anomalygen")


def test_a_run_fine_tunes_generates_from_it_and_tells(tmp_path: Path) -> None:
    paths = one_light(tmp_path / "w", make=make_set)
    plan = load_run(paths.root).plan
    assert plan.anomalygen_finetune == "off"
    asked = {"anomalygen_labels": ("bridge", "missing"), "anomalygen_finetune": "on", "results_dir": None}
    paths = begin(tmp_path / "w", **asked)
    summary = paths.preflight_summary.read_text()
    assert (
        "AnomalyGen fine-tuning: once, in iteration 1 before anything is generated, on 6 real defects of 2" in summary
    )
    assert until(paths, "anomalygen_finetune").code == OK
    last = journal.read(paths.log)[-1]
    assert (last["iter"], last["stage"]) == ("iter1", "anomalygen_finetune")
    assert last["summary"] == "generator fine-tuned on 6 real defects of 2 types · step 6"
    facts = load_run(paths.root).facts("iter1", "anomalygen_finetune")
    assert {item["path"].rpartition("/")[2] for item in last["artifacts"]} == {
        "ag_config.yaml", "iter_000000006.pt", "validation.jsonl"
    }  # fmt: skip
    cases = [json.loads(text) for text in (paths.root / "iter1/anomalygen_finetune/cases/validation.jsonl").open()]
    assert len(cases) == 6, "every mask once"
    shutil.rmtree(tmp_path / "w/augmentation/anomalygen/datasets/pcb/IC/anomaly_image")
    assert until(paths, "anomalygen").code == OK
    made = load_run(paths.root).facts("iter1", "anomalygen")
    assert made["pairs"] == 12
    assert (made["checkpoint_dir"], made["checkpoint_step"]) == (facts["checkpoint_dir"], 6)
    handle = json.loads((paths.jobs / "iter1-anomalygen-run_sdg/handle.json").read_text())
    assert handle["task"][handle["task"].index("--checkpoint_dir") + 1] == facts["checkpoint_dir"]


def test_a_damaged_set_stops_before_any_script_and_the_run_goes_on_when_mended(tmp_path: Path) -> None:
    from deft_aoi.loop import decisions

    paths = one_light(tmp_path / "w", make=make_set)
    paths = begin(tmp_path / "w", anomalygen_labels=("bridge", "missing"), anomalygen_finetune="on")
    home = tmp_path / "w/augmentation/anomalygen/datasets/pcb"
    shutil.rmtree(home / "IC/anomaly_image/missing")
    outcome = until(paths, "anomalygen_finetune")
    assert outcome.code == HARD_STOP
    assert "HARD STOP anomalygen_dataset at iter1/anomalygen_finetune" in outcome.line
    assert "IC+missing: no picture" in outcome.line
    assert not list(paths.jobs.glob("iter1-anomalygen_finetune-*"))
    make_set(home)
    assert decisions.resolve(paths.root, "pictures are back").code == OK
    assert until(paths, "anomalygen_finetune").code == OK


def test_where_no_set_is_staged_the_training_rows_teach(tmp_path: Path) -> None:
    paths = begin(tmp_path / "w", anomalygen_finetune="on")
    assert until(paths, "anomalygen_finetune").code == OK
    facts = load_run(paths.root).facts("iter1", "anomalygen_finetune")
    assert facts["dataset"] == str(paths.root / "iter1/anomalygen_finetune/dataset")
    assert sum(facts["examples"].values()) > 0
    assert until(paths, "anomalygen").code == OK


def containers(root: Path, **asked: Any) -> dict[str, Any]:
    from deft_aoi.preflight.generator_plan import generator_values

    values = {"synthetic": "inference_only", "platform": "local-docker", **asked}
    return generator_values(Workspace(root), values, {"anomalygen_labels": "default"})


def test_auto_means_base_models_and_a_data_set_but_no_checkpoint(tmp_path: Path) -> None:
    home = tmp_path / "augmentation/anomalygen"
    assert containers(tmp_path)["anomalygen_finetune"] == "off"
    (home / "base_checkpoints/nvidia/Cosmos-Predict2-2B-Text2Image").mkdir(parents=True)
    make_set(home / "datasets/pcb")
    assert containers(tmp_path) == {"anomalygen_fetch": (), "anomalygen_finetune": "on"}
    off = containers(tmp_path, anomalygen_finetune="off")
    assert off == {"anomalygen_fetch": ("checkpoint",), "anomalygen_finetune": "off"}
    (home / "checkpoints/pcb").mkdir(parents=True)
    (home / "checkpoints/pcb/ag_config.yaml").write_text("{}")
    assert containers(tmp_path)["anomalygen_finetune"] == "off"
    assert containers(tmp_path, anomalygen_finetune="on")["anomalygen_finetune"] == "on"
    with pytest.raises(InputError, match="nothing generates"):
        containers(tmp_path, synthetic="off", anomalygen_finetune="on")


def test_the_summary_tells_what_it_costs_and_what_stands_in_its_way(tmp_path: Path) -> None:
    make_set(tmp_path / "augmentation/anomalygen/datasets/pcb")
    plan = Plan(str(tmp_path), "x", 1, platform="local-docker", synthetic="inference_only", anomalygen_finetune="on")
    seen = Optics(("A",), ".png", 64, 64)
    blocked = [one.text for one in generator_findings(Workspace(tmp_path), plan, seen) if one.level == BLOCK]
    assert any("expected IC/mask/bridge/n0_mask.png" in text for text in blocked)
    for path in (tmp_path / "augmentation/anomalygen/datasets/pcb/IC/mask").rglob("*.png"):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    notes = [one.text for one in generator_findings(Workspace(tmp_path), plan, seen) if one.level == NOTE]
    assert any("75000 steps on 1 GPU, hours to days" in text and "about 5 GB each" in text for text in notes)
    assert "anomalygen_max_iter" not in hidden(plan)
    assert "anomalygen_max_iter" in hidden(Plan(str(tmp_path), "x", 1, synthetic="inference_only"))


def test_values_that_cannot_be_used(tmp_path: Path) -> None:
    begin(tmp_path / "w")
    for asked, says in (({"anomalygen_finetune": "maybe"}, "expected auto, on or off"),
                        ({"anomalygen_max_iter": 0}, "anomalygen_max_iter is 0")):  # fmt: skip
        with pytest.raises(InputError, match=says):
            preflight.preflight({**ASKED, "workspace": str(tmp_path / "w"), **asked})
