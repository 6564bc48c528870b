"""`deft score`: decide new rows with the best model."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import OK

HELP = (
    "Score new rows with best_model.json of a finished run and decide each: PASS, NO_PASS, or REVIEW for a person "
    "where the score lies too near the threshold. Warns where the scores drift from the KPI set's."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="best_model.json of a run")
    parser.add_argument("--csv", type=Path, required=True, help="rows as in the training CSV; labels may be missing")
    parser.add_argument("--images-dir", type=Path, help="folder that the rows' paths start from (default: the run's)")
    parser.add_argument("--output-dir", type=Path, help="folder of the files (default: <csv>_scored beside the CSV)")
    parser.add_argument(
        "--review-share", type=float, default=0.02,
        help="share of PASS rows nearest to the threshold that go to a person (default: 0.02; 0: none)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.loop.score import score, text

    output = (args.output_dir or args.csv.parent / f"{args.csv.stem}_scored").absolute()
    images = args.images_dir.absolute() if args.images_dir else None
    result = score(
        args.model.absolute(), args.csv.absolute(), output, images_dir=images, review_share=args.review_share
    )
    if args.json:
        print_json(result.record())
    else:
        print(text(result, output))
    return OK
