"""`deft verify`: is the run on disk what the journal says."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from deft_aoi.base.errors import OK, REFUSED

if TYPE_CHECKING:
    from deft_aoi.base.paths import RunPaths

HELP = "Check journal, artifacts and state against each other; exit 2 and one line for each thing that is off."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.loop.verify import verify
    from deft_aoi.record import journal

    paths = RunPaths.at(args.results_dir)
    problems = verify(paths)
    entries = journal.read(paths.log)
    chained = all("prev" in entry for entry in entries)
    files = sum(len(entry.get("artifacts", [])) for entry in entries)
    if not problems:
        remember(paths)
    verdict = f"{len(problems)} problems" if problems else "verified" if chained else "consistent, unchained"
    said = f"{verdict}: {len(entries)} journal lines, {files} artifacts"
    if args.json:
        print_json({"verdict": verdict, "problems": problems, "lines": len(entries), "artifacts": files})
    else:
        print("\n".join([*problems, said]))
    return REFUSED if problems else OK


def remember(paths: RunPaths) -> None:
    """Note which journal was found sound, so that `deft status` does not ask for it again; a read-only run has none."""
    from deft_aoi.base.files import atomic_write_json, utc_now
    from deft_aoi.record import state

    with contextlib.suppress(OSError):
        known = state.load(paths.state).get("journal") or {}
        atomic_write_json(paths.verified, {"digest": known.get("digest"), "ts": utc_now()})
