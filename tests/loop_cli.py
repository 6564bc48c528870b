"""A whole loop on a tiny line through the command line: in this process, or as a user runs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.record import journal
from deft_aoi.record.locations import Places
from inside import deft
from real_loops import COUNTS, NEVER_MET, PLAN, ROWS, approved_code
from small_workspace import make_workspace

__all__ = ["ROWS", "begin", "command", "deft", "entries", "environment"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deft_aoi.cli.main", *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SKILL_ROOT / "scripts")}


def begin(root: Path, *flags: str, **more: str) -> Path:
    """A started run on a fresh tiny line that never meets its target; labels are not screened unless `screen` says."""
    if not root.exists():
        make_workspace(root, counts=COUNTS)
    screened = more.pop("screen", "no")
    named = {"policy": "knn+label"} | more
    flags += tuple(text for name, value in named.items() for text in (f"--{name.replace('_', '-')}", value) if text)
    flags += () if screened == "yes" else ("--screen", "off")
    shown = deft("preflight", "--workspace", root, *PLAN, *NEVER_MET, *flags).stdout
    started = deft("start", "--workspace", root, "--approve", approved_code(shown))
    return Path(started.stdout.split("\n")[0].removeprefix("started "))


def entries(run: Path) -> list[dict[str, Any]]:
    """Lines of the journal, their paths as they can be opened now."""
    return list(Places.at(run).entries(journal.read(run / "loop_log.jsonl")))
