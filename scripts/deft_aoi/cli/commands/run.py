"""`deft run`: all stages to the end."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deft_aoi.base.errors import COMPLETE, OK

HELP = (
    "Do stage after stage until the loop is complete (exit 0) or must stop (exit 3). On a terminal it says every "
    "stage, in a pipe every evaluation and the end."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--json", action="store_true", help="for programs: where the run stands at the end")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.cli.commands.status import end_lines, standing
    from deft_aoi.loop import driver

    said = Milestones(quiet=args.json)
    code = driver.drive(args.results_dir, said)
    said.end()
    facts = standing(RunPaths.at(args.results_dir))
    if args.json:
        print_json(facts)
    elif facts["next"] is None:
        print("\n".join(end_lines(facts)))
    else:
        print(f"{'after a person decided' if facts['stopped'] else 'next'}: {facts['command']}")
    return OK if code == COMPLETE else code


class Milestones:
    """Says status lines as they come: on a terminal all of them, in a pipe the evaluations and the last one."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._waiting = ""

    def __call__(self, line: str) -> None:
        if self._quiet:
            return
        if sys.stdout.isatty() or "· evaluate]" in line:
            print(line, flush=True)
            self._waiting = ""
        else:
            self._waiting = line

    def end(self) -> None:
        """Say the last line where nobody has seen it."""
        if self._waiting:
            print(self._waiting, flush=True)
