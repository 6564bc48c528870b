"""`deft resolve`: a person's decision after a hard stop."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = (
    "Record a person's decision after a hard stop in the journal: the failed stage may run again (exit 0), "
    "or with --stop the loop ends (exit 10)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--stop", action="store_true", help="end the loop here and deliver the best model so far")
    parser.add_argument("--reason", required=True, help="what was decided or fixed, one line")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.cli.commands.step import tell
    from deft_aoi.loop import decisions

    return tell(decisions.resolve(args.results_dir, args.reason, stop=args.stop), as_json=args.json)
