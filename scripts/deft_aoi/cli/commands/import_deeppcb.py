"""`deft import-deeppcb`: make a workspace from the public DeepPCB data."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from deft_aoi.base.console import next_line, print_json
from deft_aoi.base.errors import OK

HELP = """Make a workspace from DeepPCB: square windows around annotated defects (open, short, mousebite, spur, copper,
pinhole) and windows without any, each with the same window of the template as golden. About 250 seed rows with two
defect types, 500 validation, 3,000 KPI (90 percent PASS) and 5,700 pool rows with all six. No board is in two splits.
Same arguments, same bytes. Images are JPEG of quality 95, far above the quality of the source."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deeppcb", type=Path, required=True, help="folder with DeepPCB's group* folders")
    parser.add_argument("--workspace", type=Path, required=True, help="folder to make; new or empty")
    parser.add_argument(
        "--split-by", choices=("board", "group"), default="board",
        help="group: no board design of the KPI set is in any other split (default: board)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another split (default: 0)")
    parser.add_argument("--size", type=int, default=96, help="side of a window in pixels (default: 96)")
    parser.add_argument("--image-ext", default=".jpg", help=".jpg (default) or .png")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual number of rows (default: 1)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.importers.deeppcb import import_deeppcb

    summary = import_deeppcb(
        args.deeppcb, args.workspace, split_by=args.split_by, seed=args.seed, size=args.size, ext=args.image_ext,
        scale=args.scale, progress=_show if sys.stderr.isatty() else None,
    )  # fmt: skip
    if args.json:
        print_json({**asdict(summary), "workspace": str(summary.workspace)})
        return OK
    for name, labels in summary.labels.items():
        shown = " ".join(f"{label} {count}" for label, count in labels.items())
        print(f"{name:<11}{summary.boards[name]:>5} boards {sum(labels.values()):>6} rows  {shown}")
    if summary.split_by == "group":
        print(f"groups only in KPI: {' '.join(summary.groups['kpi'])}")
    if summary.unreadable:
        print(
            f"{len(summary.unreadable)} boards skipped, unreadable: {' '.join(summary.unreadable[:5])}", file=sys.stderr
        )
    print(f"wrote {summary.workspace} in {summary.seconds:.1f} s")
    print(next_line("preflight", "--workspace", summary.workspace, "--max-iterations", "N"))
    return OK


def _show(done: int, total: int) -> None:
    print(f"\rcutting board {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
