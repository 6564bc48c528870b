"""Every input is opened once: counted by the interpreter's own audit events, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

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
        seen["parsed"].append(str(source)[:40])
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
    assert {name: files[str(workspace / name)] for name in INPUTS} == dict.fromkeys(INPUTS, 1)
    pins = ("specs/versions.yaml", "specs/platforms.yaml")  # of the skill, and no input
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
