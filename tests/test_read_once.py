"""Every input is opened once: counted by the interpreter's own audit events, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deft_aoi.base.errors import OK
from deft_aoi.loop import decisions, driver
from deft_aoi.record.order import DATA_MINING, Step
from deft_aoi.record.run import Run, load_run
from deft_aoi.stages import mining
from small_workspace import make_workspace

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
INPUTS = (
    "specs/baseline_spec.yaml", "train/base/training_set.csv", "train/base/validation_set.csv", "kpi/testing_set.csv",
    "kpi/acceptance_set.csv", "augmentation/mining_pool/mining_pool.csv",
)  # fmt: skip
# Notes every file that is opened for reading and whose text is parsed, then does what `deft` does.
COUNTED = """
import json, os, sys
seen = {"opened": [], "parsed": []}
def note(event, arguments):
    writes = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
    if event == "open" and isinstance(arguments[0], (str, bytes)) and not writes:
        seen["opened"].append(os.fsdecode(arguments[0]))
sys.addaudithook(note)
import pandas, yaml
def parsing(parse):
    def noted(source, *rest, **options):
        seen["parsed"].append(str(source))
        return parse(source, *rest, **options)
    return noted
pandas.read_csv = parsing(pandas.read_csv)
yaml.SafeLoader.__init__ = parsing(yaml.SafeLoader.__init__)
from deft_aoi.cli.main import main
code = main(sys.argv[2:])
open(sys.argv[1], "w").write(json.dumps(seen))
sys.exit(code)
"""


def opened(record: Path, *arguments: str) -> tuple[Counter[str], list[str], str]:
    """(how often each file was opened for reading, what was parsed, standard output) of one `deft` command."""
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", COUNTED, str(record), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 75), done.stderr
    seen = json.loads(record.read_text())
    return Counter(seen["opened"]), seen["parsed"], done.stdout


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("once") / "ws", counts=(40, 24, 48, 60), acceptance=24).resolve()


@pytest.fixture(scope="module")
def planned(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Counter[str], list[str]]:
    record = tmp_path_factory.mktemp("once") / "preflight.json"
    flags = ("--workspace", str(workspace), "--max-iterations", "1", "--num-epochs", "2", "--policy", "weakness")
    return opened(record, "preflight", *flags)[:2]


def test_pre_flight_opens_spec_pins_and_each_csv_once(workspace: Path, planned: tuple[Counter[str], list[str]]) -> None:
    files, parsed = planned
    assert len(parsed) >= 2 * len(INPUTS)  # every CSV as text and as TAO's loader takes it
    assert {name: files[str(workspace / name)] for name in INPUTS} == dict.fromkeys(INPUTS, 1)
    assert files[str(SCRIPTS.parent / "specs/versions.yaml")] == 1


@pytest.fixture(scope="module")
def started(
    workspace: Path, planned: tuple[Counter[str], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Counter[str], list[str], Path]:
    assert planned
    run = next(workspace.glob("results/run_*"))
    code = json.loads((run / "preflight.json").read_text())["approval_code"]
    record = tmp_path_factory.mktemp("once") / "start.json"
    return *opened(record, "start", "--workspace", str(workspace), "--approve", code)[:2], run


def test_start_hashes_inputs_and_parses_none(workspace: Path, started: tuple[Counter[str], list[str], Path]) -> None:
    files, parsed, _ = started
    # Once each for its hash; the spec a second time, for the run's own copy of it.
    assert {name: files[str(workspace / name)] for name in INPUTS} == dict.fromkeys(INPUTS, 1) | {INPUTS[0]: 2}
    pins = ("specs/versions.yaml", "specs/platforms.yaml")  # of the skill, and no input
    parsed = [name for name in parsed if "/results/run_" not in name]  # the first page shows what the run has
    assert len(parsed) == sum(files[str(SCRIPTS.parent / name)] for name in pins), parsed


def test_a_step_reads_the_journal_once(started: tuple[Counter[str], list[str], Path], tmp_path: Path) -> None:
    """The stage, its journal line, the state, the report after an evaluation and the printed next command included."""
    run = started[2]
    for stage, times in (("train", 0), ("evaluate", 1)):  # before the first stage there is none
        files, _, said = opened(tmp_path / f"{stage}.json", "step", "--results-dir", str(run))
        assert f"· {stage}]" in said
        assert files[str(run / "loop_log.jsonl")] == times
        assert "next: " in said
    assert (run / "DEFT_Loop_Report.html").is_file()


def step_to(run: Path, stage: str) -> None:
    """Do every stage before `stage` of iteration 1."""
    while (following := driver.pending(load_run(run))) != Step("iter1", stage):
        assert driver.step(run, wait=300, report=False).code == OK, following


def test_mining_chooses_once_and_merge_reads_a_row_in_one_file(
    started: tuple[Counter[str], list[str], Path], workspace: Path, tmp_path: Path
) -> None:
    step_to(started[2], DATA_MINING)
    run, pool = load_run(started[2]), workspace / INPUTS[-1]
    rows_that_come_while_mining_works_move_no_other(run, pool)
    _, parsed, _ = opened(tmp_path / "mining.json", "step", "--results-dir", str(run.paths.root))
    assert parsed.count(str(pool)) == 1
    files, _, said = opened(tmp_path / "merge.json", "step", "--results-dir", str(run.paths.root))
    assert "· data_merge]" in said
    mined = run.paths.mining("iter1")
    assert (files[str(mined / "mining_pool.csv")], files[str(mined / "mined.parquet")]) == (1, 0)


def rows_that_come_while_mining_works_move_no_other(run: Run, pool: Path) -> None:
    """New rows come first in the file; what was decided before still means the same rows. The pool is put back."""
    before, content = mining.open_pool(run, "iter1"), pool.read_bytes()
    rows = pd.read_csv(pool, dtype=str)
    pd.concat([rows.head(1).assign(object_name="NEW"), rows]).to_csv(pool, index=False)
    after = mining.open_pool(run, "iter1")
    pd.testing.assert_frame_equal(after.rows, before.rows)
    assert after.free.tolist() == before.free.tolist()
    assert [after.stock.content(row) for row in before.free] == [before.stock.content(row) for row in before.free]
    np.testing.assert_array_equal(after.stock.looks, before.stock.looks)
    decisions.clear_jobs(run, "iter1", DATA_MINING, keep_finished=False)  # what `deft resolve` does
    assert len(mining.open_pool(run, "iter1").rows) == len(before.rows) + 1
    decisions.clear_jobs(run, "iter1", DATA_MINING, keep_finished=False)
    pool.write_bytes(content)
