"""`deft ablate`: the last iteration trained again with and without a source of rows."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import OK

HELP = "Train the last iteration again with and without a source of rows, and show the difference with its spread."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument(
        "--without", choices=("synthetic", "mined"), required=True, help="rows that the other arm lacks"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds, each trains both arms (default and least: 3)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    import sys

    from deft_aoi.base.console import print_json
    from deft_aoi.loop import ablation

    record = ablation.ablate(args.results_dir, args.without, args.seeds, lambda line: print(line, file=sys.stderr))
    if args.json:
        print_json(record)
    else:
        print(record["sentence"])
        print(args.results_dir / record["table"])
    return OK
