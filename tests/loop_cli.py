"""A whole loop on a tiny line through the command line, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from small_workspace import make_workspace

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
ROWS = 24


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deft_aoi.cli.main", *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SCRIPTS)}


def deft(*arguments: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True, check=False)
    assert check is None or done.returncode == check, done.stdout + done.stderr
    return done


def begin(root: Path, **more: str) -> Path:
    """A started run on a fresh tiny line that never meets its target."""
    if not root.exists():
        make_workspace(root, counts=(ROWS, 24, 48, 60))
    more = {"policy": "knn+label"} | more
    flags = [text for name, value in more.items() for text in (f"--{name.replace('_', '-')}", value) if text]
    target = "FAR <= 0% at recall = 100%"
    shown = deft(
        "preflight",
        "--workspace",
        str(root),
        "--max-iterations",
        "2",
        "--mine-rows",
        "12",
        "--num-epochs",
        "2",
        "--kpi-target",
        target,
        *flags,
    )
    code = re.search(r"--approve (\w+)", shown.stdout)
    assert code
    started = deft("start", "--workspace", str(root), "--approve", code[1])
    return Path(started.stdout.split("\n")[0].removeprefix("started "))


def entries(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "loop_log.jsonl").read_text().splitlines()]
