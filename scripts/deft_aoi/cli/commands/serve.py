"""`deft serve`: the page to work in."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deft_aoi.base.errors import OK

HELP = (
    "Open the page to work in: runs, live progress, the review queue, the map of all rows, figures, comparison. "
    "Prints an address with a token; this machine only, unless --bind names another address."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workspace", action="append", default=[], type=Path, metavar="W", help="all runs of it; repeatable"
    )
    parser.add_argument("--results-dir", type=Path, metavar="R", help="run directory; its workspace is shown")
    parser.add_argument(
        "--scores", action="append", default=[], type=Path, metavar="DIR",
        help="output folder of deft score: its REVIEW rows join the queue; repeatable",
    )  # fmt: skip
    parser.add_argument("--look", action="store_true", help="read only: no decision, approval or resolve")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8765, help="default: 8765; 0 takes a free one")
    parser.add_argument(
        "--name", action="append", default=[], metavar="HOST", help="host name that browsers use besides; repeatable"
    )


def run(args: argparse.Namespace) -> int:
    from deft_aoi.web.loopback import fixed_token, loopback, open_door, run
    from deft_aoi.web.page import page_app
    from deft_aoi.web.site import make_site

    site = make_site(args.workspace, args.results_dir, args.scores)
    door = open_door(args.bind, args.port, names=args.name, look=args.look, token=fixed_token())
    try:
        if not loopback(args.bind):
            print(f"deft serve: anyone with this address who reaches {args.bind} can work here", file=sys.stderr)
        print(door.address, flush=True)
        run(page_app(site, door), door)
    except KeyboardInterrupt:
        print("deft serve: ended", file=sys.stderr)
    finally:
        door.socket.close()
    return OK
