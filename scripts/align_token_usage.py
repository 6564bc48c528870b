#!/usr/bin/env python3
"""Write the agent's token use into the journal lines of a run, from the agent's own transcripts.

Exit code 3 when there is no transcript or no message falls into any journal line; that it was tried is noted in
`no_tokens.json` next to the journal, so that `deft status` does not ask for it again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="align_token_usage.py", description=__doc__)
    parser.add_argument("--log-path", type=Path, required=True, help="loop_log.jsonl of the run")
    parser.add_argument(
        "--transcript", type=Path, action="append", default=[],
        help="session transcript (.jsonl) of the run, repeatable; what it says before the first stage counts to it",
    )  # fmt: skip
    parser.add_argument("--project-dir", type=Path, help="folder of transcripts")
    parser.add_argument("--cwd", type=Path, help="the agent's working directory (default: this one)")
    parser.add_argument("--dry-run", action="store_true", help="print the table, write nothing")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from deft_aoi.agent import tokens, transcripts
    from deft_aoi.base.errors import HARD_STOP, InputError
    from deft_aoi.base.files import atomic_write_json, utc_now
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.record import journal

    entries = journal.read(args.log_path)
    if not entries:
        raise InputError(f"{args.log_path}: no journal lines; expected the loop_log.jsonl of a run")
    paths = [path for transcript in args.transcript for path in transcripts.with_subagents(transcript)]
    places = [str(transcript) for transcript in args.transcript]
    folders = [args.project_dir] if args.project_dir else []
    if args.cwd or not (places or folders):
        folders.append(transcripts.project_folder(args.cwd or Path.cwd()))
        paths += transcripts.codex_sessions(args.cwd or Path.cwd(), transcripts.parse_time(entries[0]["ts"]))
    paths += [path for folder in folders for path in transcripts.transcripts_in(folder)]
    paths, place = list(dict.fromkeys(paths)), ", ".join([*places, *map(str, folders)])
    aligned = tokens.align(paths, entries)
    if args.transcript:
        aligned = tokens.from_the_first(aligned, entries[0]["seq"])
    if not aligned.uses:
        hint = "pass --transcript FILE or --project-dir FOLDER"
        what = (
            f"none of {aligned.messages} messages falls into {args.log_path}" if paths else "no transcripts (*.jsonl)"
        )
        if not args.dry_run:
            atomic_write_json(RunPaths.at(args.log_path.parent).no_tokens, {"ts": utc_now(), "why": f"{place}: {what}"})
        noted = "" if args.dry_run else "; noted: the run has no token figures, go on with the next step"
        print(f"align_token_usage: {place}: {what}{noted}; for figures, {hint}", file=sys.stderr)
        return HARD_STOP
    print("\n".join([*tokens.table(aligned, entries), *tokens.left_out(aligned)]))
    if not args.dry_run:
        journal.set_tokens(args.log_path, {use.seq: use.to_json() for use in aligned.uses})
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
