"""`deft score`: decide new rows with the best model."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import OK, InputError

HELP = (
    "Decide new parts with best_model.json of a finished run: PASS, NO_PASS, or REVIEW for a person where the score is "
    "too near the threshold. --images takes a folder of pictures as they come from the line: goldens are found by the "
    "rule of deft import, decisions go to decisions.csv and decisions.jsonl, a heat map is written for what is not "
    "PASS, and a second call only decides what is new. --csv takes rows as in the training CSV. Warns where the scores "
    "drift from the KPI set's."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="best_model.json of a run")
    parser.add_argument("--images", type=Path, help="folder of new pictures, with folders in it or without")
    parser.add_argument("--goldens", type=Path, help="with --images: folder of goldens (default: the workspace's own)")
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="with --images: look for new ones, without end")
    parser.add_argument("--csv", type=Path, help="rows as in the training CSV; labels may be missing")
    parser.add_argument("--images-dir", type=Path, help="with --csv: folder of the rows' paths (default: the run's)")
    parser.add_argument(
        "--output-dir", type=Path, help="folder of the files (default: <csv or folder>_scored next to it)"
    )
    parser.add_argument(
        "--review-share", type=float, default=0.02,
        help="share of PASS rows nearest to the threshold that go to a person (default: 0.02; 0: none)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    if (args.images is None) == (args.csv is None):
        raise InputError("deft score: expected --images DIR (pictures from the line) or --csv FILE (a table of rows)")
    return _table(args) if args.images is None else _folder(args)


def _folder(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.loop.score_folder import open_station, text, watch

    images = args.images.expanduser().absolute()
    output = (args.output_dir or images.with_name(f"{images.name}_scored")).expanduser().absolute()
    if args.watch is not None and args.watch < 1:
        raise InputError(f"--watch {args.watch:g}: expected seconds, at least 1")
    station = open_station(args.model.absolute(), images, output, goldens=args.goldens, review_share=args.review_share)
    results = [station.decide_new()] if args.watch is None else watch(station, args.watch)
    for result in results:
        if args.json:
            print_json(result.record())
        else:
            print(text(result, output), flush=True)
    return OK


def _table(args: argparse.Namespace) -> int:
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
