"""`deft verify`: is the run on disk what the journal says."""

from __future__ import annotations

import argparse
import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from deft_aoi.base.errors import OK, REFUSED, InputError

if TYPE_CHECKING:
    from deft_aoi.base.paths import RunPaths

HELP = "Check journal, artifacts, judging images and state against each other; exit 2 and one line for each problem."
LIMIT = (
    "proves that files, figures and chain agree with each other; whoever can write the folder could rebuild all of it. "
    "Against that, compare with a head noted elsewhere: --seal"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument(
        "--seal", metavar="HEAD|FILE", help="a head of the chain noted elsewhere, or a saved output of deft step or run"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.loop.verify import heads, seal_problems, verify
    from deft_aoi.record import journal

    paths = RunPaths.at(args.results_dir)
    problems = verify(paths)
    entries = journal.read(paths.log)
    noted = noted_heads(args.seal) if args.seal else []
    problems += seal_problems(entries, noted)
    chained = all("prev" in entry for entry in entries)
    files = sum(len(entry.get("artifacts", [])) for entry in entries)
    if not problems:
        remember(paths)
    verdict = f"{len(problems)} problems" if problems else "verified" if chained else "consistent, unchained"
    head = heads(entries)[-1] if entries else ""
    said = f"{verdict}: {len(entries)} journal lines, {files} artifacts, chain {head[: journal.HEAD]}"
    seal = LIMIT if not noted else f"the {len(noted)} noted heads are compared: what they stand for was not rebuilt"
    if args.json:
        facts = {"verdict": verdict, "problems": problems, "lines": len(entries), "artifacts": files}
        print_json({**facts, "head": head, "sealed_by": len(noted)})
    else:
        print("\n".join([*problems, said, *([] if problems else [seal])]))
    return REFUSED if problems else OK


def noted_heads(seal: str) -> list[str]:
    """Heads that were noted elsewhere: given as such, or found in a saved output ("chain 0123456789abcdef")."""
    if re.fullmatch(r"[0-9a-f]{16,64}", seal):
        return [seal]
    path = Path(seal)
    if not path.is_file():
        raise InputError(
            f"--seal {seal}: neither a head (16 or more of 0-9a-f) nor a file; type what deft step printed"
        )
    found = list(dict.fromkeys(re.findall(r"\bchain ([0-9a-f]{16,64})\b", path.read_text(errors="replace"))))
    if not found:
        raise InputError(
            f"{path}: no head of a chain in it; expected lines as deft step prints them, ending in chain ..."
        )
    return found


def remember(paths: RunPaths) -> None:
    """Note which journal was found sound, so that `deft status` does not ask for it again; a read-only run has none."""
    from deft_aoi.base.files import atomic_write_json, utc_now
    from deft_aoi.record import state

    with contextlib.suppress(OSError):
        known = state.load(paths.state).get("journal") or {}
        atomic_write_json(paths.verified, {"digest": known.get("digest"), "ts": utc_now()})
