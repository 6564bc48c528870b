#!/usr/bin/env python3
"""Journal a stage that was done outside `deft step`.

Every figure is computed from the stage's files. The bank's further flags are taken: a file must be there, and a
--threshold, --val-loss or --mining-count that the files do not give is refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script

# Facts of a line that a caller of the bank's script hands in.
TOLD = {
    "best_ckpt": "best_ckpt_path", "inference_csv": "inference_csv", "threshold": "threshold", "val_loss": "val_loss",
    "mining_parquet": "mining_mined_parquet", "mining_count": "mining_mined_count",
    "combined_csv": "combined_training_csv", "provenance_csv": "provenance_csv",
}  # fmt: skip
# Files that must be there; what the line says of them is found by the stage itself.
FILES = (
    "training_spec", "metric_result", "rca_gaps", "routing_mining", "routing_anomalygen", "anomalygen_sdg",
    "anomalygen_allocation", "mining_candidates", "mining_summary", "mining_history", "mining_history_summary",
    "mining_target_embeddings", "mining_source_embeddings", "mining_target_log", "mining_source_log", "mining_knn_log",
    "merge_validation_report", "best_model", "inference_spec",
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="commit_stage.py", description=__doc__)
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--iter-label", required=True, help="baseline or iter<N>")
    parser.add_argument("--stage", required=True, help="must be the next stage of the run")
    parser.add_argument("--status", choices=("ok", "error"), default="ok")
    parser.add_argument("--summary", required=True, help="one line; what the files say is added to it")
    parser.add_argument("--duration-sec", type=int, required=True, help="whole seconds")
    parser.add_argument("--skip", action="store_true", help=argparse.SUPPRESS)  # found by the stage itself, as are
    parser.add_argument("--best-ckpt-kind", choices=("best_val", "latest"), help=argparse.SUPPRESS)
    parser.add_argument("--stop-reason", choices=("metric_met", "max_iterations"), help=argparse.SUPPRESS)
    parser.add_argument("--rca-target-defect", action="append", default=[], help=argparse.SUPPRESS)
    for name in ("threshold", "val-loss", "rca-threshold"):
        parser.add_argument(f"--{name}", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--mining-count", type=int, help=argparse.SUPPRESS)
    for name in (*FILES, *(n for n in TOLD if n not in ("threshold", "val_loss", "mining_count"))):
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from deft_aoi.base.errors import InputError
    from deft_aoi.loop.commit import commit
    from deft_aoi.record.order import Step

    named = {name: getattr(args, name) for name in (*FILES, *TOLD)}
    for name, value in named.items():
        if isinstance(value, Path) and not value.is_file():
            raise InputError(f"--{name.replace('_', '-')} {value}: no such file")
    told = {fact: named[name] for name, fact in TOLD.items()}
    after = commit(
        args.results_dir, Step(args.iter_label, args.stage), summary=args.summary, duration=args.duration_sec,
        told=told, failed=args.status == "error",
    )  # fmt: skip
    last = after.entries[-1]
    print(f"committed seq={last['seq']} {last['iter']}/{last['stage']} status={last['status']}: {last['summary']}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
