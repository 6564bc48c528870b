"""`deft run`: all stages to the end."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.errors import COMPLETE, OK

HELP = "Do stage after stage until the loop is complete (exit 0) or must stop (exit 3)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")


def run(args: argparse.Namespace) -> int:
    from deft_aoi import driver

    code = driver.drive(args.results_dir, lambda line: print(line, flush=True))
    return OK if code == COMPLETE else code
