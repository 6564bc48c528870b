"""`deft rebuild-state`: fold the journal into a fresh snapshot."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import OK

HELP = "Write deft_state.json again from preflight.json and the journal, also where it is lost or damaged."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.loop.standing import standing
    from deft_aoi.loop.verify import rebuild

    paths = RunPaths.at(args.results_dir)
    folded = rebuild(paths)
    command = standing(paths)["command"]
    if args.json:
        print_json({"state": str(paths.state), "iteration": folded["current_iteration"], "command": command})
        return OK
    print(f"{paths.state}: iteration {folded['current_iteration']} of {folded['max_iterations']}")
    if command:
        print(f"next: {command}")
    return OK
