"""`deft verify`: is the run on disk what the journal says."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.errors import OK, REFUSED

HELP = "Check journal, artifacts and state against each other; exit 2 and one line for each thing that is off."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")


def run(args: argparse.Namespace) -> int:
    from deft_aoi import journal
    from deft_aoi.audit import verify
    from deft_aoi.paths import RunPaths

    paths = RunPaths.at(args.results_dir)
    problems = verify(paths)
    for text in problems:
        print(text)
    entries = journal.read(paths.log)
    chained = all("prev" in entry for entry in entries)
    files = sum(len(entry.get("artifacts", [])) for entry in entries)
    verdict = f"{len(problems)} problems" if problems else "verified" if chained else "consistent, unchained"
    print(f"{verdict}: {len(entries)} journal lines, {files} artifacts")
    return REFUSED if problems else OK
