"""`deft import-pairs`: make a workspace from folders of inspected and golden images."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from deft_aoi.base.console import next_line, print_json
from deft_aoi.base.errors import OK, InputError

HELP = """Make a workspace from your own images: --ng holds inspected parts with defects, --ok the golden image of each
under the same file name, --pass inspected parts that are good (their goldens in --ok too). Labels come from names
(PCB+bridge_00000.png is a bridge) or from a CSV with the columns image, label and, where wanted, golden (file name in
--ok; many images may share one) and board. Boards never end up in two splits. Files that cannot be used are listed and
skipped."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ng", type=Path, required=True, help="folder of inspected images with defects")
    parser.add_argument("--ok", type=Path, required=True, help="folder of golden images")
    parser.add_argument("--pass", dest="passes", type=Path, help="folder of inspected images that are good")
    parser.add_argument("--labels", type=Path, help="CSV: image, label [, golden, board]; PASS is allowed as a label")
    parser.add_argument("--workspace", type=Path, required=True, help="folder to make; new or empty")
    parser.add_argument("--light", action="append", help="light name, repeatable (default: SolderLight)")
    parser.add_argument("--image-ext", default=".jpg", help="extension of the written images (default: .jpg)")
    parser.add_argument("--size", type=int, default=224, help="image side for the spec (default: 224)")
    parser.add_argument(
        "--shares", default="10,15,35,40", help="boards to train,validation,KPI,pool (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another split (default: 0)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.data.pairs import skipped_text
    from deft_aoi.importers.pair_folders import import_pairs

    try:
        shares = [int(part) for part in args.shares.split(",")]
    except ValueError:
        raise InputError(f"--shares {args.shares}: expected four whole numbers, as 10,15,35,40") from None
    summary = import_pairs(
        args.ng, args.ok, args.workspace, passes=args.passes, labels=args.labels,
        lights=args.light or ["SolderLight"], ext=args.image_ext, size=args.size, shares=shares, seed=args.seed,
    )  # fmt: skip
    if args.json:
        print_json({**asdict(summary), "workspace": str(summary.workspace)})
        return OK
    for name, labels in summary.labels.items():
        shown = " ".join(f"{label} {count}" for label, count in labels.items())
        print(f"{name:<11}{sum(labels.values()):>6} rows  {shown}")
    if summary.full_scale:
        print(f"pictures of more than 8 bits: written with 8, {summary.full_scale:,} became 255 in all of them")
    if summary.skipped:
        print(skipped_text(summary.skipped, shown=10), file=sys.stderr)
    print(f"wrote {summary.workspace}: {summary.boards} boards")
    print(next_line("preflight", "--workspace", summary.workspace, "--max-iterations", "N"))
    return OK
