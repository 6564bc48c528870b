"""`deft score`: decide new rows with the best model."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from deft_aoi.base.errors import OK, InputError

TOKEN = "DEFT_SCORE_TOKEN"
HELP = f"""Decide new parts with best_model.json of a finished run: PASS, NO_PASS, or REVIEW for a person where the
score is too near the threshold. --images takes a folder of pictures as they come from the line: goldens are found by
the rule of deft import, decisions go to decisions.csv and decisions.jsonl, a heat map is written for what is not PASS,
and a second call only decides what is new. --csv takes rows as in the training CSV. Both warn where the scores drift
from the KPI set's. --serve answers programs over HTTP with the same decisions: it prints its address, with a token (or
takes the one of the variable {TOKEN}), and publishes its schema at /api/openapi.json."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="best_model.json of a run")
    parser.add_argument("--images", type=Path, help="folder of new pictures, with folders in it or without")
    parser.add_argument("--goldens", type=Path, help="folder of goldens (default: the workspace's own)")
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="with --images: look for new ones, without end")
    parser.add_argument("--serve", action="store_true", help="answer programs over HTTP, one part a request")
    parser.add_argument("--bind", default="127.0.0.1", help="with --serve: address (default: this machine only)")
    parser.add_argument("--port", type=int, default=8770, help="with --serve (default: 8770; 0 takes a free one)")
    parser.add_argument(
        "--name", action="append", default=[], metavar="HOST", help="with --serve: further name that clients use"
    )
    parser.add_argument("--csv", type=Path, help="rows as in the training CSV; labels may be missing")
    parser.add_argument("--images-dir", type=Path, help="with --csv: folder of the rows' paths (default: the run's)")
    parser.add_argument(
        "--output-dir", type=Path, help="folder of the files (default: <csv or folder>_scored next to it)"
    )
    add_review_share(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def add_review_share(parser: argparse.ArgumentParser) -> None:
    """The flag that every command has which decides by a review band."""
    parser.add_argument(
        "--review-share", type=float, default=0.02,
        help="share of PASS rows nearest to the threshold that go to a person (default: 0.02; 0: none)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if (args.images is not None) + (args.csv is not None) + args.serve != 1:
        raise InputError(
            "deft score: expected --images DIR (pictures from the line), --csv FILE (a table of rows) or --serve"
        )
    if args.serve:
        return _serve(args)
    return _table(args) if args.images is None else _folder(args)


def _serve(args: argparse.Namespace) -> int:
    from deft_aoi.web.loopback import SCHEMA_PATH, loopback, make_app, open_door
    from deft_aoi.web.loopback import run as answer
    from deft_aoi.web.score_service import open_service

    service = open_service(args.model.absolute(), args.goldens, args.review_share)
    door = open_door(args.bind, args.port, names=args.name, token=os.environ.get(TOKEN) or None)
    if not loopback(args.bind):
        print(f"deft score: programs that reach {args.bind} and know the token can ask", file=sys.stderr)
    given = os.environ.get(TOKEN)
    print(door.address.partition("?")[0] if given else door.address, flush=True)
    print(f"schema: {door.address.partition('?')[0].rstrip('/')}{SCHEMA_PATH}", flush=True)
    answer(make_app(door, "deft score", service.endpoints()), door)
    return OK


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
