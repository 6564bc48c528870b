"""`deft step`: do the next stage."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = (
    "Do the next stage of a run. Exit 0: stage done, 75: still running (call again), 3: hard stop, "
    "10: loop complete, 2: refused."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--wait", type=float, default=540.0, metavar="SECONDS", help="longest wait (default: 540)")


def run(args: argparse.Namespace) -> int:
    from deft_aoi import driver

    outcome = driver.step(args.results_dir, wait=args.wait)
    print(outcome.line, flush=True)
    return outcome.code
