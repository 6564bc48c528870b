"""`deft step`: do the next stage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deft_aoi.errors import HARD_STOP
from deft_aoi.output import print_json

if TYPE_CHECKING:
    from deft_aoi.driver import Outcome

HELP = (
    "Do the next stage of a run. Exit 0: stage done, 75: still running (call again), 3: hard stop, "
    "10: loop complete, 2: refused."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--wait", type=float, default=540.0, metavar="SECONDS", help="longest wait (default: 540)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi import driver

    return tell(driver.step(args.results_dir, wait=args.wait), args.results_dir, as_json=args.json)


def tell(outcome: Outcome, results_dir: Path, *, as_json: bool) -> int:
    """Say what one call did and what to type next; returns the exit code."""
    from deft_aoi.commands.status import standing
    from deft_aoi.paths import RunPaths

    command = standing(RunPaths.at(results_dir))["command"]
    if as_json:
        print_json({"code": outcome.code, "line": outcome.line, "command": command})
    else:
        mark = "after a person's decision" if outcome.code == HARD_STOP else "next"
        print(f"{outcome.line}\n{mark}: {command}", flush=True)
    return outcome.code
