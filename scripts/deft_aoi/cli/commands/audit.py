"""`deft audit`: look into every image and label of a workspace, without a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import OK, REFUSED

HELP = """Compare training, validation, KPI, acceptance, pool and synthetic rows with each other: the same image by
path, by bytes or as a re-encoded, brightened or moved copy; one image under two labels; boards in two sets; images that
are missing or unreadable; labels of training and pool that the other rows doubt. Looks at every image (Pre-Flight has
a limit) and changes nothing. Exit 2 where Pre-Flight would refuse."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", default="~/workspace", help="workspace folder (default: ~/workspace)")
    parser.add_argument("--output", type=Path, help="folder for the tables (default: <workspace>/results/audit)")
    parser.add_argument("--no-labels", action="store_true", help="leave the labels out: they need image features")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.finding import BLOCK
    from deft_aoi.base.paths import Workspace
    from deft_aoi.data.audit_sets import write_audit
    from deft_aoi.data.label_review import write_review
    from deft_aoi.preflight.check_data import examine, findings, review_labels
    from deft_aoi.preflight.inputs import read_inputs
    from deft_aoi.preflight.summary_data import review_lines

    workspace = Workspace.at(args.workspace)
    output = args.output or workspace.results / "audit"
    seen = examine(read_inputs(workspace), limit=None)
    written = list(write_audit(seen.audit, output))
    found = findings(seen)
    counts = seen.audit.counts()
    labels: list[str] = []
    if not args.no_labels:
        doubts = review_labels(seen, max_rows=None)
        write_review(output / "label_review.csv", doubts.table)
        written.append(output / "label_review.csv")
        counts["labels"] = doubts.record()
        labels = review_lines(doubts)
    if args.json:
        print_json(counts)
    else:
        print("\n".join([f"{one.level}: {one.text}" for one in found] or ["no copies, no damage, no shared boards"]))
        print("\n".join(labels))
        print("wrote " + ", ".join(map(str, written)))
    return REFUSED if any(one.level == BLOCK for one in found) else OK
