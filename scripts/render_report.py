#!/usr/bin/env python3
"""Render the report of a run; prints the page's path."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="render_report.py", description=__doc__)
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--require-terminal", action="store_true", help="refuse while the loop is not at its end")
    args = parser.parse_args(argv)
    from deft_aoi.base.errors import InputError
    from deft_aoi.report.render import render
    from deft_aoi.report.source import open_run

    status = open_run(args.results_dir).status()
    if args.require_terminal and status not in ("complete", "hard_stop"):
        raise InputError(f"{args.results_dir}: the loop is {status.replace('_', ' ')}, not at its end")
    print(render(args.results_dir))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
