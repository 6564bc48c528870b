"""`deft report`: render the report of a run from what is on disk."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Render the report of a run: report.json and DEFT_Loop_Report.html, at any moment of it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results-dir", required=True, type=Path, metavar="R", help="run directory: results/run_<time>"
    )
    parser.add_argument(
        "--iteration", metavar="LABEL", help="render <LABEL>/report.html and <LABEL>_summary.md (baseline, iter1, ...)"
    )
    parser.add_argument("--pdf", action="store_true", help="print the page to PDF too, where a browser is at hand")
    parser.add_argument(
        "--brief",
        action="store_true",
        help="render, then print what a reporter needs: verdict, caveats, iterations, contact sheets, every figure a "
        "narrative may quote, the key of every picture",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json, whole
    from deft_aoi.base.safe_paths import printable
    from deft_aoi.report.brief import brief_lines
    from deft_aoi.report.closing import labelled
    from deft_aoi.report.collect import collect
    from deft_aoi.report.page import picture_keys
    from deft_aoi.report.render import render, render_iteration

    path = render_iteration(args.results_dir, args.iteration) if args.iteration else render(args.results_dir)
    if args.brief:
        facts = collect(args.results_dir)
        if args.json:
            print_json(facts)
        else:
            whole(
                printable(
                    "\n".join([labelled("page", str(path)), *brief_lines(facts, picture_keys(args.results_dir, facts))])
                )
            )
        return 0
    made = {"report": str(path)}
    if args.pdf:
        from deft_aoi.report.pdf import print_pdf

        made["pdf"] = str(print_pdf(path))
    print_json(made) if args.json else print("\n".join(made.values()))
    return 0
