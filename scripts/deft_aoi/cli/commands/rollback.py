"""`deft rollback`: make an earlier model the best one again."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = (
    "Make an earlier evaluated model the best one again, by a line in the journal; nothing is deleted. Legal after an "
    "iteration's evaluate (the loop goes on from that model) and after loop_stop (the next step delivers it)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--to", required=True, metavar="LABEL", help="baseline or iter<N>: the model to go back to")
    parser.add_argument("--reason", required=True, help="why, one line")
    parser.add_argument(
        "--open-acceptance",
        action="store_true",
        help="after loop_stop: also open the acceptance set for it; the report names every opening after the first",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.cli.commands.step import tell
    from deft_aoi.loop import decisions

    outcome = decisions.rollback(args.results_dir, args.to, args.reason, open_acceptance=args.open_acceptance)
    return tell(outcome, as_json=args.json)
