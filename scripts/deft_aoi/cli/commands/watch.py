"""`deft watch`: a live view of a running loop in the terminal."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from deft_aoi.base.errors import COMPLETE, HARD_STOP, OK

HELP = "Watch a running loop in the terminal: figures, what runs, its last lines. Reads only; ends with the loop."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--once", action="store_true", help="print one view and end")
    parser.add_argument("--json", action="store_true", help="for programs: where the run is now")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="default: 1")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live

    from deft_aoi.base.console import print_json
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.loop.standing import standing
    from deft_aoi.report.watch import view

    paths = RunPaths.at(args.results_dir)
    console, facts = Console(), standing(paths)
    if args.json:
        print_json(facts)
        return OK
    if args.once or not console.is_terminal:
        console.print(view(paths, facts))
        return OK
    try:
        with Live(view(paths, facts), console=console, auto_refresh=False) as live:
            while facts["next"] is not None and not facts["stopped"]:
                time.sleep(args.every)
                facts = standing(paths)
                live.update(view(paths, facts), refresh=True)
    except KeyboardInterrupt:
        return OK
    return HARD_STOP if facts["stopped"] else COMPLETE
