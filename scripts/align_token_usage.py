#!/usr/bin/env python3
"""Write the agent's token use into the journal lines of a run, from the agent's own transcripts.

Exit code 3 when there is no transcript or no message falls into any journal line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.cli import run_script


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="align_token_usage.py", description=__doc__)
    parser.add_argument("--log-path", type=Path, required=True, help="loop_log.jsonl of the run")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--transcript", type=Path, action="append", help="session transcript (.jsonl), repeatable")
    where.add_argument("--project-dir", type=Path, help="folder of transcripts")
    where.add_argument("--cwd", type=Path, help="the agent's working directory (default: this one)")
    parser.add_argument("--dry-run", action="store_true", help="print the table, write nothing")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from deft_aoi import journal, tokens
    from deft_aoi.errors import HARD_STOP, InputError

    entries = journal.read(args.log_path)
    if not entries:
        raise InputError(f"{args.log_path}: no journal lines; expected the loop_log.jsonl of a run")
    if args.transcript:
        paths = [path for transcript in args.transcript for path in tokens.with_subagents(transcript)]
    else:
        folder = args.project_dir or tokens.project_folder(args.cwd or Path.cwd())
        paths = tokens.transcripts_in(folder)
        if not paths:
            hint = "pass --transcript FILE or --project-dir FOLDER"
            print(f"align_token_usage: {folder}: no transcripts (*.jsonl) there; {hint}", file=sys.stderr)
            return HARD_STOP
    read = tokens.read_messages(paths)
    uses = tokens.attribute(read.messages, entries)
    if read.unreadable_lines:
        print(f"{read.unreadable_lines} transcript lines are no JSON and were left out", file=sys.stderr)
    if not uses:
        print(f"align_token_usage: none of {len(read.messages)} messages falls into {args.log_path}", file=sys.stderr)
        return HARD_STOP
    named = {entry["seq"]: f"{entry['iter']} {entry['stage']}" for entry in entries}
    print(f"{'seq':>4}  {'stage':<26}{'messages':>9}{'input':>11}{'output':>9}{'cache read':>12}{'subagents':>11}")
    for use in uses:
        side = use.side_usage.context + use.side_usage.output
        total = use.usage
        print(
            f"{use.seq:>4}  {named[use.seq]:<26}{use.n_messages:>9}{total.input + total.cache_create:>11,}"
            f"{total.output:>9,}{total.cache_read:>12,}{side:>11,}"
        )
    if not args.dry_run:
        journal.set_tokens(args.log_path, {use.seq: use.to_json() for use in uses})
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
