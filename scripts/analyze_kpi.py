#!/usr/bin/env python3
"""KPI of a scored CSV: threshold sweep, FAR at recall 100 % with its bound, confusion matrices, histogram."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="analyze_kpi.py", description=__doc__)
    parser.add_argument("csv_path", type=Path, help="CSV with a label and a score column, as inference.csv")
    parser.add_argument("--output-dir", type=Path, help="folder of the files (default: kpi_analysis next to the CSV)")
    parser.add_argument("--label-column", default="label", help="column of the true label (default: label)")
    parser.add_argument("--score-column", default="siamese_score", help="column of the score (default: siamese_score)")
    parser.add_argument("--pass-label", default="PASS", help="the label of a good part (default: PASS)")
    parser.add_argument("--kpi-target", help='give the verdict on this target too, as "FAR < 0.1%% at recall=100%%"')
    parser.add_argument("--bins", type=int, default=40, help="bars of the histogram (default: 40)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from deft_aoi.kpi.analyze import write_analysis
    from deft_aoi.kpi.printed_summary import summary_text
    from deft_aoi.kpi.target import parse_target

    output = args.output_dir or args.csv_path.parent / "kpi_analysis"
    record = write_analysis(
        args.csv_path, output, label_column=args.label_column, score_column=args.score_column,
        pass_label=args.pass_label, bins=args.bins,
        contract=parse_target(args.kpi_target) if args.kpi_target else None,
    )  # fmt: skip
    print(summary_text(record), end="")
    print(f"wrote {output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
