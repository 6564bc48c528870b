"""The plugin's hook, fed on stdin what a harness sends before a tool call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOOK = ROOT / "hooks/gate.py"
TAO = "nvcr.io/nvidia/tao/tao-toolkit:7.0.1-pyt"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with a Summary that waits."""
    root = tmp_path / "my ws"
    (root / "specs").mkdir(parents=True)
    (root / "specs/baseline_spec.yaml").write_text("task: classify\n")
    run = root / "results/run_20260101_000000"
    run.mkdir(parents=True)
    (run / "preflight.json").write_text(json.dumps({"digest": "abc"}))
    return root


def approve(workspace: Path, digest: str = "abc") -> None:
    state = workspace / "results/run_20260101_000000/deft_state.json"
    state.write_text(json.dumps({"config": {"approval": digest}}))


def fire(tool: str, given: dict[str, Any], cwd: Path, **environment: str) -> tuple[int, str]:
    """What the hook answers to one event, as Claude Code and Codex send it."""
    event = {
        "session_id": "s1", "transcript_path": str(cwd / "s1.jsonl"), "cwd": str(cwd), "permission_mode": "default",
        "hook_event_name": "PreToolUse", "tool_name": tool, "tool_input": given, "tool_use_id": "t1",
    }  # fmt: skip
    command = json.loads((ROOT / "hooks/hooks.json").read_text())["hooks"]["PreToolUse"][0]["hooks"][0]["command"]
    done = subprocess.run(
        ["sh", "-c", command], input=json.dumps(event), cwd=cwd, capture_output=True, text=True, check=False,
        env=os.environ | {"CLAUDE_PLUGIN_ROOT": str(ROOT)} | environment,
    )  # fmt: skip
    assert done.returncode in (0, 2), done.stderr
    assert done.stdout == ""
    return done.returncode, done.stderr


def shell(line: str, cwd: Path, **environment: str) -> int:
    return fire("Bash", {"command": line, "description": "x"}, cwd, **environment)[0]


REFUSED_BEFORE = [
    f"docker run --gpus all -v '{{ws}}:{{ws}}' {TAO} visual_changenet train -e spec.yaml",
    "cd '{ws}' && sudo docker run --rm hello-world",
    f"docker run -v $HOME/x:/x {TAO} true",
    "cd '{ws}'; docker --log-level debug container start c1",
    "WS='{ws}'\nmkdir -p \"$WS/results/run_20260101_000000/baseline\"",
    "echo done > '{ws}/results/run_20260101_000000/note.txt'",
    "cd '{ws}/results' && echo x >> run_20260101_000000/a.log",
    "cp a.csv '{ws}/results/mine.csv'",
    "true || touch '{ws}/results/x'",
    "podman run -v '{ws}:/w' alpine",
    "docker compose -f '{ws}/compose.yaml' up -d",
    "sed -i s/a/b/ '{ws}/results/run_20260101_000000/preflight.json'",
    "timeout 5 tee '{ws}/results/x' < /dev/null",
    "dd if=/dev/zero of='{ws}/results/x' count=1",
]
ALLOWED_BEFORE = [
    "ls '{ws}/results'",
    "cat '{ws}/results/run_20260101_000000/preflight_summary.md' | head -5",
    "docker image inspect " + TAO,
    "docker pull " + TAO,
    "cp '{ws}/results/run_20260101_000000/preflight_summary.md' /tmp/shown.md",
    "sh /skill/scripts/deft preflight --workspace '{ws}' --max-iterations 2",
    "sh /skill/scripts/deft start --workspace '{ws}' --approve CODE 2>&1 | tail -3",
    "docker run --rm hello-world",
    "sed -i s/pass/PASS/ '{ws}/train/base/training_set.csv'",
    "python3 - <<'END'\ntext = 'docker run ; rm {ws}/results/x'\nEND\necho ok",
    "echo 'an open quote",
    "grep -r 'docker run' '{ws}/specs' > /dev/null 2>&1",
]


@pytest.mark.parametrize("line", REFUSED_BEFORE)
def test_before_the_approval_it_refuses(workspace: Path, tmp_path: Path, line: str) -> None:
    code, said = fire("Bash", {"command": line.format(ws=workspace)}, tmp_path)
    assert code == 2
    assert said.startswith("gate: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("line", ALLOWED_BEFORE)
def test_before_the_approval_it_lets_through(workspace: Path, tmp_path: Path, line: str) -> None:
    assert shell(line.format(ws=workspace), tmp_path) == 0


@pytest.mark.parametrize("line", [one for one in REFUSED_BEFORE if "preflight.json" not in one and "$HOME" not in one])
def test_after_the_approval_it_lets_through(workspace: Path, tmp_path: Path, line: str) -> None:
    approve(workspace)
    assert shell(line.format(ws=workspace), tmp_path) == 0


def test_an_approval_of_another_summary_is_none(workspace: Path, tmp_path: Path) -> None:
    approve(workspace, digest="of another plan")
    assert shell(f"mkdir '{workspace}/results/run_20260101_000000/x'", tmp_path) == 2


def test_a_new_summary_closes_the_gate_again(workspace: Path, tmp_path: Path) -> None:
    approve(workspace)
    (workspace / "results/run_20260102_000000").mkdir()
    assert shell(f"docker run -v '{workspace}:/w' {TAO}", tmp_path) == 2
    assert shell(f"touch '{workspace}/results/run_20260102_000000/x'", tmp_path) == 2
    assert shell(f"touch '{workspace}/results/run_20260101_000000/narrative.json'", tmp_path) == 0


@pytest.mark.parametrize("tool", ["Write", "Edit", "MultiEdit"])
def test_files_are_written_after_the_approval_and_records_never(workspace: Path, tmp_path: Path, tool: str) -> None:
    run = workspace / "results/run_20260101_000000"
    note, log = {"file_path": str(run / "narrative.json")}, {"file_path": str(run / "loop_log.jsonl")}
    assert fire(tool, note, tmp_path)[0] == 2
    approve(workspace)
    assert fire(tool, note, tmp_path)[0] == 0
    code, said = fire(tool, log, tmp_path)
    assert code == 2
    assert "only deft writes it" in said
    assert fire(tool, {"file_path": str(workspace / "specs/baseline_spec.yaml")}, tmp_path)[0] == 0
    assert fire(tool, {"file_path": str(tmp_path / "results/run_1/loop_log.jsonl")}, tmp_path)[0] == 0


def test_a_patch_names_its_files_inside(workspace: Path) -> None:
    patch = "*** Begin Patch\n*** Update File: results/run_20260101_000000/deft_state.json\n@@\n-a\n+b\n*** End Patch\n"
    assert fire("apply_patch", {"command": patch}, workspace)[0] == 2
    assert fire("apply_patch", {"command": patch.replace("results/run", "other/run")}, workspace)[0] == 0


def test_a_copy_of_the_skill_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/baseline_spec.yaml").write_text("")
    (tmp_path / "SKILL.md").write_text("")
    assert shell("docker run hello-world > results/x", tmp_path) == 0


@pytest.mark.parametrize("sent", ["", "[]", "{", '{"tool_name": "Bash", "tool_input": null}', '{"tool_name": 3}'])
def test_what_is_no_event_never_blocks(sent: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, HOOK], input=sent, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr


def command() -> str:
    hooks = json.loads((ROOT / "hooks/hooks.json").read_text())["hooks"]
    return str(hooks["PreToolUse"][0]["hooks"][0]["command"])


def broken_python(folder: Path, code: int) -> Path:
    """A folder for PATH whose python3 fails with `code`, as a version manager's shim does."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python3").write_text(f"#!/bin/sh\necho no such version >&2\nexit {code}\n")
    (folder / "bin/python3").chmod(0o755)
    return folder / "bin"


def plugin(tmp_path: Path, what: str) -> dict[str, str]:
    """The environment of a plugin that is broken in one way."""
    gate = tmp_path / "plugin/hooks/gate.py"
    gate.parent.mkdir(parents=True)
    env = {**os.environ, "CLAUDE_PLUGIN_ROOT": str(tmp_path / "plugin"), "TMPDIR": str(tmp_path)}
    if what == "variable unset":
        del env["CLAUDE_PLUGIN_ROOT"]
    elif what == "syntax":
        gate.write_text("def :\n")
    elif what == "exit 2 of its own":
        gate.write_text("raise SystemExit(2)\n")
    elif what == "a folder in its place":
        gate.mkdir()
    elif what.startswith("python"):
        gate.write_text((ROOT / "hooks/gate.py").read_text())
        code = int(what.rpartition(" ")[2])
        env["PATH"] = f"{broken_python(tmp_path, code)}:{env['PATH']}"
    return env


@pytest.mark.parametrize(
    "what",
    [
        "folder gone", "variable unset", "syntax", "exit 2 of its own", "a folder in its place", "python exits 2",
        "python exits 127", "python exits 1",
    ],
)  # fmt: skip
def test_only_a_decision_of_the_gate_refuses(tmp_path: Path, workspace: Path, what: str) -> None:
    event = json.dumps({"tool_name": "Bash", "tool_input": {"command": "ls"}, "cwd": str(workspace)})
    env = plugin(tmp_path, what)
    said = []
    for _ in range(2):
        done = subprocess.run(
            ["sh", "-c", command()], input=event, env=env, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        said.append(done.stderr)
    assert "the approval gate is off" in said[0]
    assert said[1] == ""


@pytest.mark.parametrize("sent", ["", "{", "[1]", '{"tool_name": "Bash", "tool_input": {"command": 5}}', "[" * 100_000])
def test_an_event_that_cannot_be_judged_is_let_through_and_said_once(tmp_path: Path, sent: str) -> None:
    env = os.environ | {"CLAUDE_PLUGIN_ROOT": str(ROOT), "TMPDIR": str(tmp_path)}
    said = [
        subprocess.run(
            ["sh", "-c", command()], input=sent, env=env, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        for _ in range(2)
    ]
    assert [done.returncode for done in said] == [0, 0]
    assert said[1].stderr == ""


def test_a_working_folder_that_is_gone_is_let_through(tmp_path: Path) -> None:
    home = tmp_path / "gone"
    home.mkdir()
    event = json.dumps({"tool_name": "Bash", "tool_input": {"command": "docker run x"}})
    env = os.environ | {"CLAUDE_PLUGIN_ROOT": str(ROOT), "TMPDIR": str(tmp_path)}
    script = f"cd '{home}' && rmdir '{home}' && {command()}"
    done = subprocess.run(["sh", "-c", script], input=event, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
