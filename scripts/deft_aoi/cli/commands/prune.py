"""`deft prune`: drop checkpoints that are neither best nor latest."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import OK

HELP = "Drop checkpoints that are neither best nor latest; the journal says which, so that deft verify knows."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument(
        "--policy",
        choices=("unscored", "beaten"),
        default="unscored",
        help="unscored (default): epochs that nobody scored; beaten: also the checkpoints of iterations that are "
        "neither the best so far nor the newest",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.loop import decisions

    gone = decisions.prune_run(args.results_dir, args.policy, dry_run=args.dry_run)
    if args.json:
        print_json({"dropped": [] if args.dry_run else gone, "would_drop": gone if args.dry_run else []})
        return OK
    for item in gone:
        print(f"{item['path']}: {item['bytes']:,} bytes")
    verb = "would be dropped" if args.dry_run else "dropped"
    print(f"{len(gone)} checkpoints {verb}, {sum(item['bytes'] for item in gone) / 1e9:.2f} GB")
    return OK
