#!/usr/bin/env python3
"""Check a training CSV before training: columns, labels, images on disk, leakage against the validation CSV."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="validate_training_csv.py", description=__doc__)
    parser.add_argument("--csv", type=Path, required=True, help="training CSV")
    parser.add_argument("--workspace-root", type=Path, required=True, help="folder that the CSV's paths start from")
    parser.add_argument("--validation-csv", type=Path, help="held-out CSV that must share no image with it")
    parser.add_argument("--light", action="append", help="light name, repeatable (default: SolderLight)")
    parser.add_argument("--image-ext", default=".jpg", help="image extension with its dot (default: .jpg)")
    parser.add_argument("--report-json", type=Path, help="write the findings here, whatever they are")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from deft_aoi.base.errors import InputError
    from deft_aoi.base.files import atomic_write_json
    from deft_aoi.data.leakage import validate_training_csv

    lights = tuple(args.light or ["SolderLight"])
    report = validate_training_csv(
        args.csv, args.workspace_root, validation_csv=args.validation_csv, lights=lights, ext=args.image_ext
    )
    if args.report_json:
        atomic_write_json(args.report_json, report.to_json())
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not report.ok:
        more = f" (and {len(report.problems) - 1} more problems, see --report-json)" if len(report.problems) > 1 else ""
        raise InputError(report.problems[0] + more)
    leakage = "no leakage" if args.validation_csv else "leakage not checked (no --validation-csv)"
    labels = ", ".join(f"{label} {count}" for label, count in report.labels.items())
    print(f"ok: {report.rows} rows, {report.distinct_files} images present, {leakage}; {labels}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
