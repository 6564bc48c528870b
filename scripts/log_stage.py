"""Append one line to the journal of a run, for a stage that was done outside `deft step`.

The order of stages is enforced: an illegal one is refused and the legal ones are named.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script
from deft_aoi.base.paths import RunPaths
from deft_aoi.record import state
from deft_aoi.record.bank_runs import require_started
from deft_aoi.record.journal import append, next_seq
from deft_aoi.record.order import PRUNE, STAGES

__all__ = ["append_stage", "main", "next_seq"]


def append_stage(
    log_path: Path,
    *,
    iter_label: str,
    stage: str,
    status: str,
    summary: str,
    duration_sec: int,
    context_tokens: int = 0,
) -> int:
    """Append the line and refresh deft_state.json next to the journal, if there is one; returns the line's seq."""
    snapshot = log_path.with_name("deft_state.json")
    approved = None
    if snapshot.is_file():
        known = state.load(snapshot)
        require_started(known, RunPaths(log_path.parent))
        approved = known["max_iterations"]
    entry = append(
        log_path,
        iter_label=iter_label,
        stage=stage,
        status=status,
        summary=summary,
        duration_sec=duration_sec,
        context_tokens=context_tokens,
        max_iterations=approved,
    )
    if approved is not None:
        state.refresh(snapshot, log_path)
    return int(entry["seq"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log-path", type=Path, required=True, help="loop_log.jsonl of the run")
    parser.add_argument("--iter-label", required=True, help="baseline or iter<N>")
    parser.add_argument("--stage", required=True, choices=[stage for stage in STAGES if stage != PRUNE])
    parser.add_argument("--status", required=True, choices=("ok", "error"))
    parser.add_argument("--summary", required=True, help="one line")
    parser.add_argument("--duration-sec", type=int, required=True, help="whole seconds, >= 0")
    parser.add_argument("--context-tokens", type=int, default=0)
    args = parser.parse_args(argv)
    seq = append_stage(
        args.log_path,
        iter_label=args.iter_label,
        stage=args.stage,
        status=args.status,
        summary=args.summary,
        duration_sec=args.duration_sec,
        context_tokens=args.context_tokens,
    )
    print(json.dumps({"seq": seq, "log_path": str(args.log_path)}))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
