"""`deft serve`: the report of a running loop in a browser, reloaded as the loop goes on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deft_aoi.base.errors import OK

HELP = "Show the report of a running loop in a browser and reload it as the loop goes on; reads only."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", required=True, type=Path, metavar="R", help="run directory")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8765, help="default: 8765; 0 takes a free one")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.report.serve import loopback, make_server

    server = make_server(args.results_dir, args.bind, args.port)
    try:
        if not loopback(args.bind):
            print(f"deft serve: anyone who reaches {args.bind} can read this report", file=sys.stderr)
        print(f"http://{args.bind}:{server.server_address[1]}/", flush=True)
        server.serve_forever()
    except KeyboardInterrupt:
        print("deft serve: ended", file=sys.stderr)
    finally:
        server.server_close()
    return OK
