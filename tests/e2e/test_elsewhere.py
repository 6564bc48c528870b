"""Select here, train there: the user's own scores as baseline, an export, the scores of what was trained with it."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import yaml

from deft_aoi.base.files import sha256_file
from deft_aoi.base.paths import Workspace
from deft_aoi.preflight.inputs import read_inputs
from deft_aoi.preflight.own_baseline import elsewhere_defaults
from loop_cli import ROWS, deft, entries
from small_workspace import make_workspace

IDENTITY = ["input_path", "golden_path", "object_name"]


def own_scores(root: Path) -> Path:
    """inference.csv of somebody's model over KPI and pool: half of the defects look like good parts to it."""
    frames = [pd.read_csv(root / "kpi/testing_set.csv", dtype=str)]
    frames.append(pd.read_csv(root / "augmentation/mining_pool/mining_pool.csv", dtype=str))
    rows = pd.concat(frames, ignore_index=True)
    base = (rows["label"] != "PASS") * (0.2 + 0.6 * (rows.index % 2))
    rows["siamese_score"] = [f"{value:.6f}" for value in base + 0.3 * ((rows.index * 37) % 101) / 101]
    rows.to_csv(root / "inference.csv", index=False)
    return root / "inference.csv"


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory, null_engine_in_module: None) -> Path:
    """A run whose first iteration waits for another machine."""
    root = make_workspace(tmp_path_factory.mktemp("elsewhere") / "ws", counts=(ROWS, 24, 48, 60))
    own_scores(root)
    words = (
        "--max-iterations",
        "1",
        "--mine-rows",
        "12",
        "--screen",
        "off",
        "--num-epochs",
        "2",
        "--kpi-target",
        "FAR <= 0% at recall = 100%",
    )
    shown = deft("preflight", "--workspace", str(root), *words, "--baseline-scores", "inference.csv")
    assert shown.stdout.splitlines()[2].startswith(
        "**This run trains NVIDIA TAO Visual ChangeNet (fan_tiny_8_p4_hybrid"
    )
    assert "on another machine, from exports of this one. It is a ChangeNet.**" in shown.stdout
    assert "| policy | weakness |" in shown.stdout or "policy weakness" in shown.stdout
    code = re.search(r"--approve (\w+)", shown.stdout)
    assert code
    started = deft("start", "--workspace", str(root), "--approve", code[1])
    run = Path(started.stdout.split("\n")[0].removeprefix("started "))
    said = deft("run", "--results-dir", str(run), check=2)
    assert "iter1/train is done on another machine" in said.stderr
    assert "look at:" not in said.stdout, "without --wait a person reads, and status names the sheet"
    return run


@pytest.fixture
def copied(waiting: Path, tmp_path: Path) -> Path:
    shutil.copytree(waiting.parents[1], tmp_path / "ws")
    return tmp_path / "ws/results" / waiting.name


def test_the_first_far_is_that_of_the_scores_that_were_brought(waiting: Path) -> None:
    root = waiting.parents[1]
    scored = pd.read_csv(root / "inference.csv").head(48)
    defect = scored["label"] != "PASS"
    threshold = scored.loc[defect, "siamese_score"].min()
    expected = 100 * (scored.loc[~defect, "siamese_score"] >= threshold).mean()
    log = entries(waiting)
    assert [(e["iter"], e["stage"]) for e in log[:2]] == [("baseline", "train"), ("baseline", "evaluate")]
    assert log[1]["facts"]["far_pct"] == pytest.approx(expected)
    assert log[0]["facts"]["taken"] == [
        {"file": "inference.csv", "rows": 108, "sha256": sha256_file(root / "inference.csv")}
    ]
    assert log[0]["facts"]["trained_here"] is False
    status = deft("status", "--results-dir", str(waiting)).stdout
    assert status.startswith("This run trains NVIDIA TAO Visual ChangeNet")
    assert status.splitlines()[-1].startswith("next: deft export-training --results-dir")


def test_an_export_trains_elsewhere_and_its_scores_take_the_loop_to_its_end(copied: Path, tmp_path: Path) -> None:
    root = copied.parents[1]
    there = tmp_path / "there"
    made = json.loads(
        deft("export-training", "--results-dir", str(copied), "--tar", "--at", str(there), "--json").stdout
    )
    shutil.copytree(made["folder"], there)
    with tarfile.open(there / "images.tar") as archive:
        archive.extractall(there / "images", filter="data")
    rows, provenance = (pd.read_csv(there / name, dtype=str) for name in ("train.csv", "provenance.csv"))
    assert rows["object_name"].tolist() == provenance["object_name"].tolist()
    assert set(provenance["source"]) == {"base_train", "mining_pool"}
    listed = pd.read_csv(there / "images.csv")
    assert all(sha256_file(there / "images" / file) == digest for file, digest in zip(listed["file"], listed["sha256"]))
    spec = yaml.safe_load((there / "train.yaml").read_text())
    assert spec["dataset"]["classify"]["train_dataset"] == {
        "csv_path": f"{there}/train.csv",
        "images_dir": f"{there}/images",
    }
    # The embedded engine plays the other machine: it answers TAO's command lines.
    train, score, back = made["commands"]
    assert train.endswith("/train.yaml train.pretrained_model_path=YOUR_CHECKPOINT.pth")
    read_me = (there / "README.md").read_text()
    assert "best model so far: baseline, your own model. Nobody has named its checkpoint: in command 1" in read_me
    bring = f"{root}/iter1_inference.csv"
    assert f"/results/inference/inference.csv` to the machine of this run as `{bring}`" in read_me
    assert f"--scores {bring} " in back
    deft(*train.replace("YOUR_CHECKPOINT.pth", "null").split())
    latest = there / "results/train/changenet_model_classify_latest.pth"
    deft(*score.replace("MODEL.pth", str(latest)).split())
    brought = there / "results/inference/inference.csv"
    assert back.split()[1:4] == ["step", "--results-dir", str(copied)]

    wrong = pd.read_csv(brought, dtype=str)
    wrong.loc[0, "label"] = "bridge" if wrong.loc[0, "label"] != "bridge" else "PASS"
    wrong.loc[1, "object_name"] = "C999"
    wrong.to_csv(tmp_path / "wrong.csv", index=False)
    said = deft("step", "--results-dir", str(copied), "--scores", str(tmp_path / "wrong.csv"), check=2).stderr
    assert re.search(r"wrong\.csv, line 2: label '\w+' of \w+, the set says '\w+' \(1 such rows\)", said)
    assert re.search(r"wrong\.csv, line 3: kpi/images/\S+/C999 is in no KPI, validation or pool row", said)
    assert re.search(r"testing_set\.csv, line 3: \w+ has no score in .* \(1 of 48 rows of the kpi set\)", said)
    before = len(entries(copied))

    shutil.copy(brought, bring)  # the printed line as it is
    done = deft(*back.split()[1:-1], "/models/mine.pth")
    assert "trained elsewhere on 36 rows" in done.stdout
    assert len(entries(copied)) == before + 1
    facts = entries(copied)[-1]["facts"]
    assert facts["handed_out"]["files"]["train.csv"] == sha256_file(copied / "iter1/dataset/train_combined_iter1.csv")
    deft("run", "--results-dir", str(copied))
    assert deft("verify", "--results-dir", str(copied)).stdout.startswith("verified: ")
    model = json.loads((copied / "best_model.json").read_text())
    assert (next(iter(model)), model["changenet"]) == ("model", True)
    assert model["checkpoint"] == ("/models/mine.pth" if model["iteration"] == "iter1" else "not named")
    handed = yaml.safe_load((copied / "best_model_inference_spec.yaml").read_text())
    assert handed["model"]["backbone"]["type"] == "fan_tiny_8_p4_hybrid"
    assert (handed["results_dir"], handed["dataset"]["classify"]["batch_size"]) == ("", 1)
    for page in (copied / "iter1_summary.md", copied / "DEFT_Loop_Report.html"):
        assert "This run trains NVIDIA TAO Visual ChangeNet" in page.read_text()
    assert (root / "kpi/testing_set.csv").is_file()


def test_an_export_that_changed_is_not_taken_back(copied: Path, tmp_path: Path) -> None:
    scores = copied.parents[1] / "inference.csv"
    said = deft("step", "--results-dir", str(copied), "--scores", str(scores), check=2).stderr
    assert "no export of iter1" in said
    folder = Path(json.loads(deft("export-training", "--results-dir", str(copied), "--json").stdout)["folder"])
    (folder / "train.csv").write_text("changed\n")
    said = deft("step", "--results-dir", str(copied), "--scores", str(scores), check=2).stderr
    assert "train.csv: gone or changed since it was handed out" in said
    assert entries(copied)[-1]["stage"] == "data_merge"


def test_scores_of_an_earlier_model_are_not_taken_for_the_new_one(copied: Path, tmp_path: Path) -> None:
    root, step = copied.parents[1], ("step", "--results-dir", str(copied), "--scores")
    deft("export-training", "--results-dir", str(copied))
    ask = deft("status", "--results-dir", str(copied)).stdout.splitlines()[-1]
    bring = f"{root}/iter1_inference.csv"
    assert ask.endswith(f"--scores {bring}")
    known = pd.read_csv(root / "inference.csv", dtype=str)
    known.sample(frac=1, random_state=1).to_csv(tmp_path / "shuffled.csv", index=False)
    changed = known.assign(siamese_score=known["siamese_score"].astype(float) + 0.001)
    cases = [
        ("iter1_inference.csv", "no such file"),
        ("inference.csv", "this file holds the scores of baseline"),  # relative: that of the workspace
        (str(tmp_path / "shuffled.csv"), "every kpi row has the score of baseline"),
    ]
    for name, why in cases:
        said = deft(*step, name, cwd=tmp_path, check=2).stderr
        assert f": {why}; " in said
        assert said.count("\n") == 1
        assert said.rstrip().endswith(f" to {bring}"), "what to bring, and where to"
    shutil.copy(root / "inference.csv", tmp_path / "kept.csv")
    changed.to_csv(root / "inference.csv", index=False)
    said = deft(*step, str(root / "inference.csv"), check=2).stderr
    assert "this is the approved file with the scores of baseline" in said
    shutil.copy(tmp_path / "kept.csv", root / "inference.csv")
    assert not (copied / "iter1/scores").exists()
    changed.to_csv(bring, index=False)
    assert "trained elsewhere on" in deft(*step, "iter1_inference.csv", cwd=tmp_path).stdout


def test_what_a_wait_has_to_show_comes_before_the_other_machines_turn(waiting: Path, tmp_path: Path) -> None:
    """A run that leaves with exit 2 at train, in one call from its start."""
    root = tmp_path / "ws"
    shutil.copytree(waiting.parents[1], root, ignore=shutil.ignore_patterns("results"))
    words = (
        "--max-iterations",
        "1",
        "--num-epochs",
        "2",
        "--screen",
        "off",
        "--kpi-target",
        "FAR <= 0% at recall = 100%",
    )
    given = ("--baseline-scores", "inference.csv", "--baseline-ckpt", "/models/mine.pth")
    shown = deft("preflight", "--workspace", str(root), *words, *given).stdout
    assert "baseline scores: 108 parts (48 kpi, 60 pool rows)" in shown
    assert "--baseline-ckpt: not given" not in shown
    code = re.search(r"--approve (\w+)", shown)
    assert code
    run = deft("start", "--workspace", str(root), "--approve", code[1]).stdout.split("\n")[0].removeprefix("started ")
    said = deft("run", "--results-dir", run, "--wait", "540", check=2)
    assert re.search(r"^look at: \S+contact_sheet\.png \(weak rows of baseline\)\nrecord: ", said.stdout, re.M), (
        said.stdout
    )
    assert "the same contact sheet as in baseline/rca" in said.stdout
    made = json.loads(deft("export-training", "--results-dir", run, "--json").stdout)
    assert made["commands"][0].endswith("/train.yaml")
    assert "checkpoint `/models/mine.pth`" in (Path(made["folder"]) / "README.md").read_text()
    assert yaml.safe_load((Path(made["folder"]) / "train.yaml").read_text())["train"]["pretrained_model_path"] == (
        "/models/mine.pth"
    )


def test_the_reason_of_the_policy_is_the_true_one(waiting: Path) -> None:
    """Every pool row has a score; what is in the way are the pre-generated pairs."""
    workspace = Workspace.at(waiting.parents[1])
    inputs = read_inputs(workspace)
    asked = {"platform": "elsewhere", "baseline_scores": ("inference.csv",)}
    defaults = {"policy": "weakness", "synthetic": "pregen_ingest", "acceptance": "off"}
    assert elsewhere_defaults(asked, inputs, defaults) == (
        "weakness also needs scores of the pre-generated pairs, which nobody has: --synthetic off to get weakness"
    )
    assert defaults["policy"] == "knn+label"
    defaults["policy"] = "weakness"
    assert not elsewhere_defaults(asked | {"synthetic": "off"}, inputs, defaults)
    assert defaults["policy"] == "weakness"


def test_scores_that_do_not_fit_are_refused_before_the_start(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", counts=(ROWS, 24, 48, 60))
    scores = own_scores(root)
    rows = pd.read_csv(scores, dtype=str)
    rows.iloc[1:50].to_csv(scores, index=False)
    words = ("preflight", "--workspace", str(root), "--max-iterations", "1", "--num-epochs", "2")
    said = deft(*words, "--baseline-scores", "inference.csv", check=2).stderr
    assert re.search(
        r"testing_set\.csv, line 2: C0 has no score in .*inference\.csv \(1 of 48 rows of the kpi set\)", said
    )
    rows.head(48).to_csv(scores, index=False)
    shown = deft(*words, "--baseline-scores", "inference.csv").stdout
    why = "weakness needs a score for every pool row, 60 of 60 have none: bring them to get weakness"
    assert f"| policy | knn+label | default ({why}) |" in shown
    assert (
        "scores by itself" in deft(*words, "--baseline-scores", "inference.csv", "--engine", "features", check=2).stderr
    )
    assert "needs --baseline-scores CSV" in deft(*words, "--platform", "elsewhere", check=2).stderr
