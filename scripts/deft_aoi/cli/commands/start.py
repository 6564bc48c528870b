"""`deft start`: begin the approved plan."""

from __future__ import annotations

import argparse

from deft_aoi.base.errors import OK

HELP = "Start the plan whose Summary a person has approved. The code is shown at the Summary's end."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", default="~/workspace", help="workspace folder (default: ~/workspace)")
    parser.add_argument("--approve", required=True, metavar="CODE", help="approval code of the Summary")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.paths import Workspace
    from deft_aoi.loop.standing import standing
    from deft_aoi.preflight import preflight

    paths = preflight.find_by_code(Workspace.at(args.workspace), args.approve)
    preflight.start(paths)
    command = standing(paths)["command"]
    if args.json:
        print_json({"results_dir": str(paths.root), "command": command})
    else:
        print(f"started {paths.root}\nnext: {command}")
    return OK
