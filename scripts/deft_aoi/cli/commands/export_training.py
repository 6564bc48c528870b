"""`deft export-training`: hand an iteration's training out to another machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import OK

HELP = (
    "Write what another machine needs to train and score the next model: rows with provenance, TAO specs, images by "
    "name or as a tar, and the three commands. For a run of platform elsewhere whose next stage is train."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument(
        "--tar", action="store_true", help="put the images into images.tar (default: images.csv names them)"
    )
    parser.add_argument(
        "--at", default="", metavar="FOLDER", help="the export's path there (default: the same as here)"
    )
    parser.add_argument(
        "--images-at", default="", metavar="FOLDER",
        help="where the workspace's files are there (default: as here; with --tar: the export's folder images)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.loop.export_training import READ_ME, export_training

    made = export_training(args.results_dir, at=args.at, images_at=args.images_at, tar=args.tar)
    if args.json:
        print_json(made.record())
        return OK
    print(
        f"{made.label}: {made.rows} training rows, {made.to_score} rows to score, {made.images} images: {made.folder}"
    )
    print(f"there: {made.commands[0]}\nthere: {made.commands[1]}")
    print(f"then here: {made.commands[2]}\nmore: {made.folder / READ_ME}")
    return OK
