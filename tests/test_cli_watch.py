"""`deft watch`: one view in a pipe, a live one on a terminal that ends with the loop."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from deft_aoi.base.paths import SKILL_ROOT, RunPaths
from deft_aoi.report.watch import last_lines
from report_run import baseline_only, whole_run

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SKILL_ROOT / "scripts"), "COLUMNS": "120", "TERM": "xterm"}


def command(run: Path) -> list[str]:
    return [sys.executable, "-m", "deft_aoi.cli.main", "watch", "--results-dir", str(run)]


def test_one_view_in_a_pipe(tmp_path: Path) -> None:
    run = baseline_only(tmp_path).finish()
    done = subprocess.run(command(run), capture_output=True, text=True, check=True, env=ENVIRONMENT)
    far = json.loads((run / "deft_state.json").read_text())["iterations"]["baseline"]["far_pct"]
    assert f"{far:.2f}%" in done.stdout
    assert "next: iter1/" in done.stdout


def test_a_live_view_ends_with_the_loop(tmp_path: Path) -> None:
    run = whole_run(tmp_path, max_iterations=1).finish()
    leader, follower = pty.openpty()
    done = subprocess.run(command(run), stdout=follower, check=False, env=ENVIRONMENT, timeout=60)
    os.close(follower)
    assert done.returncode == 10
    assert "complete" in os.read(leader, 65536).decode()
    os.close(leader)


def test_output_of_a_job_cannot_steer_the_terminal(tmp_path: Path) -> None:
    log = RunPaths(tmp_path).root / "output.log"
    assert last_lines(log) == "no output yet"
    log.write_bytes(b"old\n" * 9000 + b"\x1b[2Jcleared\x07\n\xff epoch 3\n")
    assert last_lines(log).splitlines()[-2:] == ["·[2Jcleared·", "\ufffd epoch 3"]
