"""`deft verify`: is the run on disk what the journal says."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deft_aoi.base.errors import OK, REFUSED, InputError

if TYPE_CHECKING:
    from deft_aoi.base.paths import RunPaths

HELP = "Check journal, artifacts, judging images and state against each other; exit 2 and one line for each problem."
LIMIT = (
    "proves that files, figures and chain agree with each other; whoever can write the folder could rebuild all of it. "
    "Against that, compare with a head that was noted elsewhere or signed: --seal"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument(
        "--seal", metavar="HEAD|FILE|KEY.pub",
        help="a head of the chain noted elsewhere; a saved output of deft step or run, or the file that DEFT_SEAL_FILE "
        "named; the public key of DEFT_SEAL_KEY, which signed the heads in the run's seals/",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.loop.verify import heads, seal_problems, verify
    from deft_aoi.record import journal

    paths = RunPaths.at(args.results_dir)
    problems = verify(paths)
    entries = journal.read(paths.log)
    noted, off = noted_heads(args.seal, paths, heads(entries)) if args.seal else ([], [])
    problems += [*off, *seal_problems(entries, noted)]
    chained = all("prev" in entry for entry in entries)
    files = sum(len(entry.get("artifacts", [])) for entry in entries)
    if not problems:
        remember(paths)
    verdict = f"{len(problems)} problems" if problems else "verified" if chained else "consistent, unchained"
    head = heads(entries)[-1] if entries else ""
    said = f"{verdict}: {len(entries)} journal lines, {files} artifacts, chain {head[: journal.HEAD]}"
    seal = (
        LIMIT
        if not noted
        else f"{len(noted)} noted heads are heads of this chain: the lines that they cover were not rebuilt"
    )
    if args.json:
        facts = {"verdict": verdict, "problems": problems, "lines": len(entries), "artifacts": files}
        print_json({**facts, "head": head, "sealed_by": len(noted)})
    else:
        print("\n".join([*problems, said, *([] if problems else [seal])]))
    return REFUSED if problems else OK


def noted_heads(seal: str, paths: RunPaths, heads: Sequence[str]) -> tuple[list[str], list[str]]:
    """(heads that were noted elsewhere or signed, what is wrong with signatures): a head as such, a file of them, or
    the public key that signed them. `heads` are those of the chain."""
    from deft_aoi.record import seals

    if re.fullmatch(r"[0-9a-f]{16,64}", seal):
        return [seal], []
    path = Path(seal)
    if not path.is_file():
        raise InputError(
            f"--seal {seal}: neither a head (16 or more of 0-9a-f) nor a file; type what deft step printed"
        )
    text = path.read_text(errors="replace")
    if seals.is_public_key(text):
        signed, problems = seals.signed_heads(paths, path)
        return signed, [*problems, *seals.unsigned_lines(heads, signed)]
    found = seals.noted_heads(text, paths.root.name)
    if not found:
        raise InputError(
            f"{path}: no head of the chain of {paths.root.name} in it; expected lines as deft step prints them, ending "
            "in chain ..., or a public key of OpenSSH"
        )
    return found, []


def remember(paths: RunPaths) -> None:
    """Note which journal was found sound, so that `deft status` does not ask for it again; a read-only run has none."""
    from deft_aoi.base.files import atomic_write_json, utc_now
    from deft_aoi.record import state

    with contextlib.suppress(OSError):
        known = state.load(paths.state).get("journal") or {}
        atomic_write_json(paths.verified, {"digest": known.get("digest"), "ts": utc_now()})
