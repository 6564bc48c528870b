"""`deft run`: all stages to the end."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from deft_aoi.base.errors import COMPLETE, OK, STILL_RUNNING, DeftError

HELP = (
    "Do stage after stage until the loop is complete (exit 0) or must stop (exit 3). On a terminal it prints every "
    "stage, in a pipe every evaluation and the end. With --wait it does as many stages as fit into the time, one line "
    "each, and returns after an iteration's evaluate too: exit 75: call again, 10: complete, 3: hard stop, 2: refused."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument(
        "--wait", type=float, metavar="SECONDS", help="return after about this time, for a shell with a time limit"
    )
    parser.add_argument("--json", action="store_true", help="for programs: where the run is at the end")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.cli.commands.status import end_lines
    from deft_aoi.loop import driver
    from deft_aoi.loop.standing import standing

    if args.wait is not None:
        return within(args.results_dir, args.wait, as_json=args.json)
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


def within(results_dir: Path, wait: float, *, as_json: bool) -> int:
    """Stages until the time is up, the loop ends or a person or the reporter is due; returns the exit code."""
    from deft_aoi.base.console import whole
    from deft_aoi.base.safe_paths import printable
    from deft_aoi.cli.commands.step import asks_for_reporter, look_lines, say_end
    from deft_aoi.loop import driver
    from deft_aoi.loop.standing import standing

    deadline, look = time.monotonic() + wait, list[str]()
    while True:
        try:
            outcome = driver.step(results_dir, wait=max(0.0, deadline - time.monotonic()))
        except DeftError:  # the stages before it still have something to show
            if look and not as_json:
                whole(printable("\n".join(dict.fromkeys(look))))
            raise
        if not as_json:
            whole(printable(outcome.line))  # each of them, also where a pipe shows twelve lines
            look += look_lines(outcome.run.entries) if outcome.code in (OK, COMPLETE) else []
        if outcome.code != OK:
            break
        if time.monotonic() >= deadline or asks_for_reporter(standing(outcome.run.paths, outcome.run)):
            outcome = replace(outcome, code=STILL_RUNNING)
            break
    say_end(outcome, look, as_json=as_json, before=[])
    return outcome.code


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
