"""`deft start`: begin the approved plan."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from deft_aoi.base.errors import OK

if TYPE_CHECKING:
    from deft_aoi.base.paths import RunPaths

HELP = "Start the plan whose Summary a person has approved. The code is shown at the Summary's end."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", default="~/workspace", help="workspace folder (default: ~/workspace)")
    parser.add_argument("--approve", required=True, metavar="CODE", help="approval code of the Summary")
    parser.add_argument("--json", action="store_true", help="for programs")


def first_page(paths: RunPaths) -> None:
    """The report of a run that has done nothing yet, so that there is a page to look at from the first minute."""
    from deft_aoi.report import render

    try:
        render.render(paths.root)
    except Exception as error:  # a page must not keep an approved run from starting
        print(f"report not rendered ({type(error).__name__}: {error})", file=sys.stderr)


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.paths import Workspace
    from deft_aoi.loop.standing import standing
    from deft_aoi.preflight import preflight

    paths = preflight.find_by_code(Workspace.at(args.workspace), args.approve)
    preflight.start(paths)
    first_page(paths)
    command = standing(paths)["command"]
    if args.json:
        print_json({"results_dir": str(paths.root), "command": command})
    else:
        print(f"started {paths.root}\nnext: {command}")
    return OK
