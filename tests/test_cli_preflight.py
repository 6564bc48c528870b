"""Pre-Flight as a user meets it: one clear line for bad input, exit 2, nothing written; a Summary with a code else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

import inside
from deft_aoi.base.paths import SKILL_ROOT
from small_workspace import make_workspace


def deft(*arguments: str, cwd: Path) -> inside.Done:
    return inside.deft(*arguments, check=None, cwd=cwd)


def tree(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*"))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("line") / "ws")


@pytest.fixture
def workspace(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "ws"))


def stage_weights(ws: Path) -> None:
    (ws / "augmentation/backbone").mkdir(parents=True)
    (ws / "augmentation/backbone/weights.safetensors").write_text("w")


def drop_column(ws: Path) -> None:
    path = ws / "kpi/testing_set.csv"
    pd.read_csv(path, dtype=str).drop(columns="object_name").to_csv(path, index=False)


def lower_case_pass(ws: Path) -> None:
    path = ws / "train/base/training_set.csv"
    path.write_text(path.read_text().replace(",PASS,", ",pass,", 1))


def share_a_row(ws: Path) -> None:
    train, held = ws / "train/base/training_set.csv", ws / "train/base/validation_set.csv"
    rows = pd.concat([pd.read_csv(held, dtype=str), pd.read_csv(train, dtype=str).head(1)])
    rows.to_csv(held, index=False)


def empty_pool(ws: Path) -> None:
    path = ws / "augmentation/mining_pool/mining_pool.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")


def own_spec_key(ws: Path) -> None:
    path = ws / "specs/baseline_spec.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["train"]["automl_policy"] = "off"
    path.write_text(yaml.safe_dump(spec))


def output_outside(ws: Path) -> None:
    path = ws / "specs/baseline_spec.yaml"
    path.write_text(path.read_text() + "results_dir: /results/run\n")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no workspace": (shutil.rmtree, "no such folder"),
    "missing csv": (lambda ws: (ws / "kpi/testing_set.csv").unlink(), r"testing_set\.csv: no such CSV"),
    "missing column": (drop_column, r"testing_set\.csv: column object_name missing"),
    "label case": (lower_case_pass, r"training_set\.csv, line \d+: label 'pass'.*write exactly PASS"),
    "missing image": (
        lambda ws: next((ws / "kpi/images").rglob("*_SolderLight.png")).unlink(),
        r"line \d+: image .*_SolderLight\.png is missing",
    ),
    "overlap": (share_a_row, r"leakage: 1 rows of .*validation_set\.csv are also in .*training_set\.csv"),
    "empty pool": (empty_pool, r"mining_pool\.csv: no rows"),
    "spec key": (own_spec_key, r"Key 'train\.automl_policy' not in 'ExperimentConfig'"),
    "output outside": (output_outside, r"results_dir: /results/run is outside the workspace"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(workspace: Path, tmp_path: Path, name: str) -> None:
    spoil, message = BAD[name]
    spoil(workspace)
    before = tree(tmp_path)
    done = deft("preflight", "--workspace", str(workspace), "--max-iterations", "2", cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "max_iterations is required"),
        (("--max-iterations", "0"), "max_iterations is required"),
        (("--max-iterations", "1", "--kpi-target", "FAR < 0.1"), "has no unit"),
        (("--max-iterations", "1", "--kpi-target", "be good"), "not understood"),
        (("--max-iterations", "1", "--batch-size", "500"), "smaller than batch_size 500"),
        (("--max-iterations", "1", "--mine-rows", "0"), "mine_rows is 0"),
        (("--max-iterations", "1", "--platform", "mars"), "platform 'mars'"),
        (("--max-iterations", "1", "--synthetic", "pregen_ingest"), "no images in"),
    ],
)
def test_bad_parameters_are_refused(workspace: Path, tmp_path: Path, flags: tuple[str, ...], message: str) -> None:
    done = deft("preflight", "--workspace", str(workspace), *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (workspace / "results").exists()


def test_as_a_process_of_its_own(workspace: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deft_aoi.cli.main", "preflight", "--workspace", "ws", "--max-iterations", "2"]
    environment = {"PYTHONPATH": str(SKILL_ROOT / "scripts"), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lower_case_pass(workspace)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "label 'pass'" in done.stderr


def test_several_findings_come_at_once(workspace: Path, tmp_path: Path) -> None:
    drop_column(workspace)
    empty_pool(workspace)
    done = deft("preflight", "--workspace", str(workspace), "--max-iterations", "2", cwd=tmp_path)
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == [" check 1", " check 1"]


def test_the_summary_shows_every_value_with_its_source_and_a_code(workspace: Path, tmp_path: Path) -> None:
    done = deft("preflight", "--workspace", str(workspace), "--max-iterations", "2", "--mine-rows", "9", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for line in (
        "| max_iterations | 2 | user |",
        "| num_epochs | 4 | spec |",
        "| encoder, knn_metric, min_similarity, top_k_per_target | not used by policy weakness | default |",
        "| policy | weakness | default (the pool has labels) |",
        "- Not in the training rows, to be mined: bridge.",
        "let your agent run commands without asking each time",
    ):
        assert line in done.stdout
    assert "false *alarm* rate" in done.stdout
    assert "the verdict will be FAIL or NOT PROVABLE, never PASS" in done.stdout
    assert re.search(r"FAR < 0.1% needs [\d,]+ PASS rows on [\d,]+ boards, none called falsely", done.stdout)
    assert "a PASS needs no escape, and proof of escape <= 5% (default;" in done.stdout
    code = re.search(r"Approval code: \*\*([0-9A-F]{10})\*\*", done.stdout)
    assert code
    assert f"--approve {code[1]}" in done.stdout
    again = deft("preflight", "--workspace", str(workspace), "--max-iterations", "1", "--mine-rows", "9", cwd=tmp_path)
    assert f"takes the place of the Summary with code {code[1]}, which is void" in again.stdout
    assert "takes the place" not in done.stdout


def test_a_value_that_the_policy_does_not_read_is_called_that(workspace: Path, tmp_path: Path) -> None:
    flags = ("--max-iterations", "2", "--min-similarity", "0.8")
    shown = deft("preflight", "--workspace", str(workspace), *flags, cwd=tmp_path)
    assert "| min_similarity | 0.8 | user, not used by policy weakness |" in shown.stdout
    near = deft("preflight", "--workspace", str(workspace), *flags, "--policy", "knn", cwd=tmp_path)
    assert "| min_similarity | 0.8 | user |" in near.stdout
    assert "not used" not in near.stdout


def test_the_summary_says_what_becomes_of_doubtful_labels(workspace: Path, tmp_path: Path) -> None:
    shown = deft("preflight", "--workspace", str(workspace), "--max-iterations", "2", cwd=tmp_path).stdout
    rows = len(pd.read_csv(next(workspace.glob("results/run_*/label_review.csv"))))
    assert f"{rows} labels are suspect (label_review.csv has all)." in shown
    assert "a training row is used as it is, and a pool row is withheld if mining still suspects it" in shown


def test_the_summary_says_how_many_rows_would_prove_the_target(workspace: Path) -> None:
    target = "FAR < 20% at recall = 100% and escape <= 1%"
    shown = deft(
        "preflight", "--workspace", str(workspace), "--max-iterations", "1", "--kpi-target", target, cwd=workspace
    )
    found = re.search(r"escape <= 1% needs ([\d,]+) defects on ([\d,]+) boards, none missed", shown.stdout)
    assert found
    assert int(found[1]) >= 299
    assert "(default;" not in shown.stdout


def plan(workspace: Path, *flags: str) -> dict[str, str]:
    done = deft("preflight", "--workspace", str(workspace), "--max-iterations", "1", "--json", *flags, cwd=workspace)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def start(workspace: Path, code: str) -> inside.Done:
    return deft("start", "--workspace", str(workspace), "--approve", code, cwd=workspace)


def test_a_wrong_code_starts_nothing(workspace: Path) -> None:
    plan(workspace)
    done = start(workspace, "0123456789")
    assert done.returncode == 2
    assert "belongs to no Summary" in done.stderr
    assert not list(workspace.glob("results/run_*/deft_state.json"))


def test_a_changed_parameter_is_another_code_and_the_old_one_is_refused(workspace: Path) -> None:
    first = plan(workspace)["approval_code"]
    second = plan(workspace, "--mine-rows", "11")["approval_code"]
    assert first != second
    assert start(workspace, first).returncode == 2
    assert start(workspace, second).returncode == 0


def test_a_changed_csv_needs_a_new_summary(workspace: Path) -> None:
    code = plan(workspace)["approval_code"]
    csv = workspace / "train/base/training_set.csv"
    csv.write_text("\n".join(csv.read_text().splitlines()[:-1]) + "\n")
    done = start(workspace, code)
    assert done.returncode == 2
    assert "train/base/training_set.csv changed since the Summary was shown" in done.stderr


def test_an_unfinished_run_is_named_and_cannot_be_started_twice(workspace: Path) -> None:
    code = plan(workspace)["approval_code"]
    assert start(workspace, code).returncode == 0
    assert "already started" in start(workspace, code).stderr
    again = deft("preflight", "--workspace", str(workspace), "--max-iterations", "1", cwd=workspace)
    assert "an unfinished run is there" in again.stdout
    assert len(list(workspace.glob("results/run_*"))) == 2


def test_no_step_without_approval(workspace: Path, tmp_path: Path) -> None:
    plan(workspace)
    run = next(workspace.glob("results/run_*"))
    done = deft("step", "--results-dir", str(run), cwd=tmp_path)
    assert done.returncode == 2
    assert "its Summary waits for a person's approval" in done.stderr


def test_one_call_names_a_spec_key_a_results_folder_a_label_and_a_copied_image(workspace: Path, tmp_path: Path) -> None:
    """No finding hides another one: the rest is judged as if the refused keys were not there."""
    own_spec_key(workspace)
    output_outside(workspace)
    lower_case_pass(workspace)
    copy_an_image(workspace)
    done = deft("preflight", "--workspace", str(workspace), "--max-iterations", "2", cwd=tmp_path)
    assert done.returncode == 2
    said = done.stderr
    assert "Key 'train.automl_policy' not in 'ExperimentConfig'" in said
    assert f"results_dir: /results/run is outside the workspace {workspace}; remove the key, or set it to" in said
    assert f"{workspace / 'results'}" in said
    assert re.search(r"training_set\.csv, line \d+: label 'pass'", said)
    assert "leakage: 1 images are in training and in kpi" in said
    assert said.count("\n") == 4, said
    assert not (workspace / "results/run").exists()


def copy_an_image(ws: Path) -> None:
    """The first KPI part gets the bytes of the last training part's pictures, under its own name."""
    first, last = (pd.read_csv(ws / name, dtype=str) for name in ("kpi/testing_set.csv", "train/base/training_set.csv"))
    for light in ("WhiteLight", "SolderLight"):
        source, target = (
            ws / "kpi/images" / row["input_path"] / f"{row['object_name']}_{light}.png"
            for row in (last.iloc[-1], first.iloc[0])
        )
        shutil.copy2(source, target)


def test_without_a_spec_the_rows_are_judged_all_the_same(workspace: Path, tmp_path: Path) -> None:
    (workspace / "specs/baseline_spec.yaml").unlink()
    lower_case_pass(workspace)
    done = deft("preflight", "--workspace", str(workspace), "--max-iterations", "2", cwd=tmp_path)
    assert re.findall(r"no such experiment spec|label 'pass'", done.stderr) == [
        "no such experiment spec",
        "label 'pass'",
    ]
    assert done.stderr.count("\n") == 2


def test_an_image_outside_the_workspace_is_not_opened_to_name_more(workspace: Path, tmp_path: Path) -> None:
    """A refused set is no reason to read what it points to."""
    own_spec_key(workspace)
    link = next((workspace / "kpi/images").rglob("K0/test/*_SolderLight.png"))
    link.unlink()
    (tmp_path / "secret.txt").write_text("no image: whoever opens it calls it unreadable")
    link.symlink_to(tmp_path / "secret.txt")
    done = deft("preflight", "--workspace", str(workspace), "--max-iterations", "2", cwd=tmp_path)
    assert "copy the image inside" in done.stderr
    assert "Key 'train.automl_policy'" in done.stderr
    assert done.stderr.count("\n") == 2, done.stderr


def test_a_staged_backbone_brings_one_question_that_a_platform_or_an_engine_answers(
    workspace: Path, tmp_path: Path
) -> None:
    stage_weights(workspace)
    asked = ("preflight", "--workspace", str(workspace), "--max-iterations", "2")
    done = deft(*asked, cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines), done.stdout) == (2, 5, "")
    assert "where shall it be trained?" in lines[0]
    assert "fan_tiny_8_p4_hybrid" in lines[0]
    assert "weights.safetensors" in lines[0]
    for line, choice in zip(lines[1:], ("local-docker", "virtualenv", "elsewhere", "local"), strict=True):
        assert line.startswith(f"deft preflight: --platform {choice}"), line
    assert not (workspace / "results").exists()
    for answer in (("--platform", "local"), ("--engine", "features")):
        shown = deft(*asked, *answer, cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.splitlines()[2] == (
            "**This run trains a small classifier on frozen EfficientNet-Lite0 features (engine features), on this "
            "machine's CPU. It is not a ChangeNet: NVIDIA TAO cannot load it.**"
        )


def test_a_workspace_that_this_skill_simulated_is_not_asked(workspace: Path, tmp_path: Path) -> None:
    stage_weights(workspace)
    (workspace / "simulated_line.json").write_text("{}")
    done = deft("preflight", "--workspace", str(workspace), "--max-iterations", "2", cwd=tmp_path)
    assert (done.returncode, "not a ChangeNet" in done.stdout) == (0, True)


def test_a_checkpoint_of_tao_is_no_baseline_for_an_engine_of_ours(workspace: Path, tmp_path: Path) -> None:
    (workspace / "mine.pth").write_text("w")
    words = ("--max-iterations", "1", "--engine", "features", "--baseline-ckpt", "mine.pth")
    done = deft("preflight", "--workspace", str(workspace), *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "engine features cannot load a TAO checkpoint" in done.stderr
