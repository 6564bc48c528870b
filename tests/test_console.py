"""What every command says, on a real small run: few lines, the next command in full, JSON for programs."""

from __future__ import annotations

import argparse
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import inside
from deft_aoi.base import console
from deft_aoi.base.cache_folder import cache_root
from deft_aoi.base.errors import COMPLETE, HARD_STOP, OK, REFUSED, STILL_RUNNING
from deft_aoi.cli.main import COMMANDS, SCRIPTS, command_module
from small_workspace import LIGHTS, make_workspace

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = ROOT / "scripts/deft"
SMALL_LINE = ("--boards", "6", "--rows-per-board", "30")
FOR_DEVELOPERS = {"docs", "test"}  # their output is a developer's
LIVE = {"serve"}  # does not end by itself
# A whole loop of its own, whose lines e2e/test_demo.py counts; and a command that says what it is given to run says.
ELSEWHERE = {"demo", "deft_exec"}
LISTS = {"list_tao_platforms"}  # asked for whole


def call(*words: str | Path, cwd: Path, **environment: str) -> inside.Done:
    done = inside.deft(*words, check=None, cwd=cwd, env={"DEFT_LAUNCHER": str(LAUNCHER)} | environment)
    assert done.returncode in (OK, REFUSED, HARD_STOP, COMPLETE, STILL_RUNNING), done.stderr
    assert "Traceback" not in done.stderr
    return done


def lines(done: inside.Done) -> list[str]:
    return (done.stdout + done.stderr).splitlines()


@pytest.fixture(autouse=True, scope="module")
def null_engine(null_engine_in_module: None) -> None:
    """What is said does not depend on how scores came about."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a complete loop of one iteration."""
    workspace = make_workspace(tmp_path_factory.mktemp("said") / "ws", counts=(24, 24, 48, 60))
    target = ("--kpi-target", "FAR <= 0% at recall = 100%", "--num-epochs", "2", "--mine-rows", "12")
    shown = call("preflight", "--workspace", workspace, "--max-iterations", "1", *target, cwd=workspace)
    code = re.search(r"Approval code: \*\*(\w+)\*\*", shown.stdout)
    assert code, shown.stderr
    call("start", "--workspace", workspace, "--approve", code[1], cwd=workspace)
    run = next((workspace / "results").glob("run_*"))
    assert call("run", "--results-dir", run, cwd=workspace).returncode == OK
    return run


def parser_of(name: str) -> argparse.ArgumentParser:
    if name in SCRIPTS:
        made: argparse.ArgumentParser = runpy.run_path(str(ROOT / f"scripts/{name}.py"))["build_parser"]()
        return made
    parser = argparse.ArgumentParser()
    command_module(name).add_arguments(parser)
    return parser


def flags_of(name: str) -> set[str]:
    return {flag for action in parser_of(name)._actions for flag in action.option_strings}


def pictures(folder: Path) -> Path:
    folder.mkdir()
    for number in range(4):
        image = np.full((32, 32, 3), 60 * number, np.uint8)
        cv2.imwrite(str(folder / f"PCB+bridge_{number:05d}.png"), image)
    return folder


def words_for(name: str, run: Path, folder: Path) -> list[str]:
    """Arguments with which a command does its work on `run`, or refuses it: what its flags ask for."""
    workspace = run.parents[1]
    special = {
        "simulate": ["--workspace", folder / "line", *SMALL_LINE],
        "import": [folder, "--workspace", folder / "door"],
        "import-deeppcb": ["--deeppcb", folder, "--workspace", folder / "pcb"],
        "import-pairs": ["--ng", folder / "ng", "--ok", folder / "ok", "--workspace", folder / "pairs"],
        "preflight": ["--workspace", workspace, "--max-iterations", "1"],
        "start": ["--workspace", workspace, "--approve", "NONE"],
        "align_token_usage": ["--log-path", run / "loop_log.jsonl", "--transcript", folder / "session.jsonl"],
        "analyze_kpi": [run / "baseline/inference/best_val/inference.csv"],
        "changenet_data_pair_prepare": ["--input-dir", folder / "ng", "--golden-dir", folder / "ok"],
        "deft_context": ["--state", run / "deft_state.json"],
        "finalize_run": ["--results-dir", run, "--iter-label", "iter1", "--stop-reason", "max_iterations"],
        "record_metric_result": [
            "--state-path", run / "deft_state.json", "--iter-label", "iter1", "--result-json", folder / "none.json",
            "--best-ckpt", run / "none.pth", "--inference-csv", run / "baseline/inference/best_val/inference.csv",
        ],
        "render_report": ["--results-dir", run],
        "resolve_mining_pool": [
            "--csv", workspace / "augmentation/mining_pool/mining_pool.csv", "--images-root", workspace / "kpi/images",
            "--output-csv", folder / "pool.csv", "--image-ext", ".png",
        ],
        "init_deft_state": [
            "--results-dir", folder / "new", "--workspace", workspace, "--kpi-target", "FAR < 1%",
            "--max-iterations", "1", "--num-gpus", "1", "--num-epochs", "2", "--num-sdg", "20",
            "--project", "p", "--step", "1",
        ],
        "log_stage": [
            "--log-path", run / "loop_log.jsonl", "--iter-label", "iter1", "--stage", "rca", "--status", "ok",
            "--summary", "x", "--duration-sec", "1",
        ],
        "prepare_inference_spec": ["--results-dir", run],
        "rollback": ["--results-dir", run, "--to", "baseline", "--reason", "x"],
        "score": [
            "--model", run / "best_model.json", "--csv", workspace / "kpi/testing_set.csv",
            "--output-dir", folder / "scored",
        ],
        "next_seq": ["--log-path", run / "loop_log.jsonl"],
        "resolve_versions_key": ["images.tao_toolkit.pyt"],
        "stage-encoder": ["--workspace", workspace, "--source", folder / "none.onnx"],
        "stage_backbone": ["--workspace", workspace, "--source", folder / "none.pth"],
        "validate_training_csv": [
            "--csv", run / "iter1/dataset/train_combined_iter1.csv", "--workspace-root", workspace,
            *(word for light in LIGHTS for word in ("--light", light)), "--image-ext", ".png",
        ],
    }  # fmt: skip
    if name in special:
        return [str(word) for word in special[name]]
    values = {"--results-dir": run, "--workspace": workspace, "--reason": "because", "--light": LIGHTS[0]}
    takes = {"--results-dir", "--workspace"}
    needed = {flag for action in parser_of(name)._actions if action.required for flag in action.option_strings}
    known = flags_of(name)
    return [str(word) for flag in values if flag in (takes & known) | needed for word in (flag, values[flag])]


EVERY = sorted({*COMMANDS, *SCRIPTS} - FOR_DEVELOPERS - LIVE - ELSEWHERE)


@pytest.mark.parametrize("name", EVERY)
def test_every_command_says_little(name: str, finished: Path, tmp_path: Path) -> None:
    for folder in ("ng", "ok"):
        pictures(tmp_path / folder)
    (tmp_path / "session.jsonl").write_text("{}\n")
    done = call(name, *words_for(name, finished, tmp_path), cwd=tmp_path)
    assert lines(done), "a command that says nothing leaves its reader alone"
    if name == "preflight" and done.returncode == OK:
        assert len(lines(done)) <= 84, "the Summary: a person approves it"
    elif name not in LISTS:
        assert len(lines(done)) <= console.LIMIT, "\n".join(lines(done))


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - FOR_DEVELOPERS - LIVE))
def test_every_command_has_json_for_programs(name: str) -> None:
    assert "--json" in flags_of(name)


@pytest.mark.parametrize("name", ["status", "step", "verify", "report", "prune", "rebuild-state", "watch", "preflight"])
def test_json_is_whole_and_alone_on_stdout(name: str, finished: Path, tmp_path: Path) -> None:
    done = call(name, *words_for(name, finished, tmp_path), "--json", cwd=tmp_path)
    assert json.loads(done.stdout)


def typed(text: str) -> list[str]:
    """The words of the command that a text says comes next, launcher first."""
    found = re.search(r"^(?:next|after a person's decision|After a person's yes): ([^;(\n]+)", text, re.M)
    assert found, text
    return shlex.split(found[1])


def test_the_next_command_can_be_typed_as_it_stands(tmp_path: Path) -> None:
    """From an empty folder to the end and through a hard stop, typing only what the command before said."""
    workspace = make_workspace(tmp_path / "a workspace", counts=(24, 24, 48, 60))
    pool = workspace / "augmentation/mining_pool/mining_pool.csv"
    target = ("--kpi-target", "FAR <= 0% at recall = 100%", "--num-epochs", "1", "--mine-rows", "8")
    done = call("preflight", "--workspace", workspace, "--max-iterations", "1", *target, cwd=tmp_path)
    seen, looked, typed_words = [], [], typed(done.stdout)
    for _ in range(30):
        seen.append(typed_words[2])
        if typed_words[2] == "start":  # as a user types it; the others in this process
            done = subprocess.run(typed_words, cwd=tmp_path, capture_output=True, text=True, check=False)
        else:
            done = call(*typed_words[2:], cwd=tmp_path)
        if done.returncode == COMPLETE:
            break
        if look := re.search(
            r"^look at: (.+) \(weak rows of .+\)\nrecord: (.+) ROW=VERDICT --note ROW=TEXT$", done.stdout, re.M
        ):
            looked.append(look[1])
            spot = [*shlex.split(look[2])[2:], "1=edge case", "--note", "1=glare"]
            assert "1 verdicts in" in call(*spot, cwd=tmp_path).stdout
        if done.returncode == HARD_STOP:
            assert not pool.exists()
            pool.with_name("elsewhere").rename(pool)
        elif seen[-1] == "start":
            pool.rename(pool.with_name("elsewhere"))
        typed_words = typed(done.stdout)
        assert typed_words[0] == "sh"  # as SKILL.md writes every command
        assert Path(typed_words[1]) == LAUNCHER
        parser_of(typed_words[2]).parse_args(typed_words[3:])
    assert done.returncode == COMPLETE, done.stdout + done.stderr
    assert "resolve" in seen
    assert len(looked) == 1  # iteration 1 analyses the baseline again
    assert Path(looked[0]).name == "contact_sheet.png"
    assert typed(done.stdout)[2] == "align_token_usage"
    *above, report, verify, final = done.stdout.splitlines()
    assert report.startswith("then: the reporter ")
    assert re.match(r"then: sh .* verify --results-dir ", verify)
    assert re.match(r"then: sh .* --final ", final)
    order = [line.split(":")[0] for line in above if line.startswith(("verdict:", "look at:", "record:", "next:"))]
    assert order == [*["verdict"], *["look at", "record"] * order.count("look at"), "next"]


def test_long_output_is_in_the_file_that_is_named(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.parents[1], tmp_path / "ws", symlinks=True)) / "results" / finished.name
    for path in run.rglob("*.csv"):
        path.unlink()
    log = run / "loop_log.jsonl"
    log.write_text(log.read_text().replace('"duration_sec"', '"duration_sec" '))
    done = call("verify", "--results-dir", run, cwd=tmp_path)
    assert len(lines(done)) == console.LIMIT
    named = re.search(r"^\.\.\. (\d+) more lines, all of them in (.+)$", done.stdout, re.M)
    assert named
    everything = Path(named[2]).read_text().splitlines()
    assert len(everything) == int(named[1]) + console.LIMIT - 1
    assert Path(named[2]).parent == cache_root() / "output", "nothing is left in the temporary folder"
    assert everything[:10] == lines(done)[:10]
    assert everything[-1] == lines(done)[-1]
    Path(named[2]).unlink()
    assert len(lines(call("verify", "--results-dir", run, cwd=tmp_path, DEFT_LINES="all"))) == len(everything)


def test_lines_come_as_they_are_said_and_the_last_two_wait(capsys: pytest.CaptureFixture[str]) -> None:
    with console.brief("x", []):
        for number in range(11):
            print(number)
        print("half", end="", file=sys.stderr)
        assert capsys.readouterr().out.splitlines() == [str(number) for number in range(10)]
    said = capsys.readouterr()
    assert (said.out, said.err) == ("10\n", "half\n")


def test_what_a_program_reads_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    with console.brief("x", ["--json"]):
        print("\n" * 40)
    with console.brief("x", []):
        console.print_json(list(range(40)))
    assert capsys.readouterr().out.count("\n") > 80


@pytest.mark.parametrize("name", ["preflight", "init_deft_state"])  # a command and a contract script
def test_help_is_never_cut(name: str, tmp_path: Path) -> None:
    said = call(name, "--help", cwd=tmp_path).stdout
    assert len(said.splitlines()) > console.LIMIT
    assert "more lines" not in said


def test_without_a_cache_folder_everything_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEFT_CACHE_DIR", str(tmp_path / "file"))
    with console.brief("x", []):
        print("\n".join(map(str, range(40))))
    assert capsys.readouterr().out.split() == [str(number) for number in range(40)]
