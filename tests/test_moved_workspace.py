"""A workspace that is moved or copied in the middle of a run: the run goes on, and what is checked is next to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from deft_aoi.base.paths import RunPaths
from deft_aoi.loop.verify import verify
from deft_aoi.record import journal
from deft_aoi.record.locations import PATH_FACTS, Places
from loop_cli import begin, deft, entries


def paths_in(value: object) -> list[str]:
    """Every text of a JSON value that is an absolute path."""
    if isinstance(value, dict):
        return [path for one in value.values() for path in paths_in(one)]
    if isinstance(value, list):
        return [path for one in value for path in paths_in(one)]
    return [value] if isinstance(value, str) and value.startswith("/") else []


def rate(run: Path) -> list[float]:
    return [entry["facts"]["far_pct"] for entry in entries(run) if entry["stage"] == "evaluate"]


@pytest.fixture(autouse=True, scope="module")
def null_engine(null_engine_in_module: None) -> None:
    """What is tested here is where files are, whoever wrote them."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody moved."""
    run = begin(tmp_path_factory.mktemp("whole") / "ws")
    deft("run", "--results-dir", str(run))
    return run


def test_journal_and_state_name_no_folder_of_this_machine(whole: Path) -> None:
    for entry in journal.read(whole / "loop_log.jsonl"):
        assert paths_in(entry["facts"]) == []
    state = json.loads((whole / "deft_state.json").read_text())
    assert state.pop("results_dir") == str(whole)
    assert state["config"]["plan"].pop("workspace") == str(whole.parents[1])
    assert paths_in(state) == []


def test_every_path_fact_can_be_opened(whole: Path) -> None:
    named = {
        name: Path(value)
        for entry in entries(whole)
        for name, value in entry["facts"].items()
        if name in PATH_FACTS and value
    }
    assert {"best_ckpt_path", "inference_csv", "mining_mined_parquet", "training_csv", "rca_dir"} <= named.keys()
    assert [path for path in named.values() if not path.exists()] == []


def test_a_run_goes_on_wherever_its_workspace_is_moved(whole: Path, tmp_path: Path) -> None:
    run = begin(tmp_path / "first")
    code, moves = 0, 0
    while code == 0:
        place = tmp_path / f"place{moves}" / "ws"
        place.parent.mkdir()
        shutil.move(run.parents[1], place)
        moves, run = moves + 1, place / "results" / run.name
        code = deft("step", "--results-dir", str(run), "--wait", "600", check=None).returncode
    assert code == 10
    assert moves == len(entries(whole))
    assert rate(run) == rate(whole)
    assert verify(RunPaths.at(run)) == []
    assert str(tmp_path / "first") not in (run / "DEFT_Loop_Report.html").read_text()


def test_an_edited_copy_is_named_and_the_original_is_sound(whole: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(whole.parents[1], copy, symlinks=True)
    kpi = copy / "kpi/testing_set.csv"
    kpi.write_text(kpi.read_text().replace("PASS", "bridge", 1))
    found = verify(RunPaths.at(copy / "results" / whole.name))
    assert found == ["kpi/testing_set.csv: changed since the Summary was approved"]
    assert verify(RunPaths.at(whole)) == []


def test_a_summary_can_be_started_where_the_workspace_was_moved_to(tmp_path: Path) -> None:
    from small_workspace import make_workspace

    first, second = tmp_path / "first", tmp_path / "second"
    make_workspace(first, counts=(24, 24, 48, 60))
    asked = ("--max-iterations", "1", "--num-epochs", "2", "--kpi-target", "FAR <= 0% at recall = 100%")
    shown = deft("preflight", "--workspace", str(first), *asked)
    code = shown.stdout.split("--approve ")[1].split()[0]
    shutil.move(first, second)
    started = deft("start", "--workspace", str(second), "--approve", code)
    assert str(second) in started.stdout


def test_older_absolute_paths_follow_the_workspace(tmp_path: Path) -> None:
    run, before = tmp_path / "ws/results/run_1", Path("/data/old")
    run.mkdir(parents=True)
    places = Places(run, tmp_path / "ws", before)
    assert places.file("/data/old/train/base/training_set.csv") == tmp_path / "ws/train/base/training_set.csv"
    assert places.file("/data/old/results/run_1/iter1/train/a.pth") == run / "iter1/train/a.pth"
    assert places.file("/elsewhere/model.pth") == Path("/elsewhere/model.pth")
    assert places.file("iter1/dataset/a.csv") == run / "iter1/dataset/a.csv"
    assert places.file("train/base/training_set.csv") == tmp_path / "ws/train/base/training_set.csv"
    facts = {"inference_csv": str(run / "a.csv"), "nested": {"csv": str(tmp_path / "ws/kpi/b.csv")}, "n": 1}
    assert places.portable(facts) == {"inference_csv": "a.csv", "nested": {"csv": "kpi/b.csv"}, "n": 1}
    assert places.located(places.portable(facts)) == facts
