"""`deft rebuild-state`: fold the journal into a fresh snapshot."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.errors import OK

HELP = "Write deft_state.json anew from preflight.json and the journal, also where it is lost or damaged."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.audit import rebuild
    from deft_aoi.paths import RunPaths

    folded = rebuild(RunPaths.at(args.results_dir))
    print(f"{args.results_dir}/deft_state.json: iteration {folded['current_iteration']} of {folded['max_iterations']}")
    return OK
