"""`deft feedback`: what operators decided about scored parts, back into the mining pool."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import OK

HELP = """Take in what operators decided about parts that deft score --images decided: real defect, false call, or an
escape that was found later. Each part goes into the mining pool with verdict, operator and date, unless it shows a
picture of a set that judges, is there already, or contradicts another verdict or label: contradictions are listed. The
next Pre-Flight says what is new and whether a new loop is worth it; the report shows false calls over time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--decisions", type=Path, required=True, help="decisions.csv of deft score --images")
    parser.add_argument(
        "--verdicts",
        type=Path,
        required=True,
        help="CSV with part and verdict (real defect, false call, good, escape), where wanted label, operator, date; "
        "decisions.csv with a column verdict will do; rows without a verdict are passed over",
    )
    parser.add_argument("--operator", default="", help="who decided, where the table does not say")
    parser.add_argument("--workspace", type=Path, help="whose pool grows (default: that of the model)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import next_line, print_json
    from deft_aoi.loop.feedback import take_in, text

    taken = take_in(
        args.decisions.absolute(), args.verdicts.absolute(), workspace=args.workspace, operator=args.operator
    )
    if args.json:
        print_json(taken.record())
        return OK
    print(text(taken))
    print(next_line("preflight", "--workspace", taken.workspace, "--max-iterations", "N"))
    return OK
