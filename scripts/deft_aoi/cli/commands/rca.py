"""`deft rca`: gap analysis of a scored CSV, without a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import OK

HELP = """Analyse any inference CSV (input_path, golden_path, label, object_name, siamese_score): the threshold that
keeps the recall, the weakest samples of each label, tables by label, light, board and component type, a proposed cause
for each weak sample with its numbers, and a contact sheet to look at once. In a run the stage `rca` does the same."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("csv", type=Path, help="scored CSV (inference.csv)")
    parser.add_argument(
        "--images-dir", type=Path, required=True, help="folder that input_path and golden_path start from"
    )
    parser.add_argument("--spec", type=Path, required=True, help="experiment spec: lights, extension, image size")
    parser.add_argument("--output", type=Path, required=True, help="folder for the results (new or empty)")
    parser.add_argument("--min-recall", type=float, default=1.0, help="fraction of defects to keep (default: 1.0)")
    parser.add_argument("--top-k-per-label", type=int, default=50, help="weak samples for each label (default: 50)")
    parser.add_argument("--training-csv", type=Path, help="rows that the model learned from: finds what it never saw")
    parser.add_argument("--training-images-dir", type=Path, help="default: --images-dir")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.errors import InputError
    from deft_aoi.base.rows import read_rows
    from deft_aoi.rca.evidence import Known
    from deft_aoi.spec.tree import load_spec, optics
    from deft_aoi.stages.gap_analysis import SHEET, Subject, analyse, false_calls, holder

    if args.output.is_dir() and any(args.output.iterdir()):
        raise InputError(f"--output {args.output}: not empty; pass a new folder")
    if args.top_k_per_label < 1:
        raise InputError(f"--top-k-per-label {args.top_k_per_label}: expected a whole number from 1")
    view = optics(load_spec(args.spec), args.spec)
    known = None
    if args.training_csv:
        known = Known(read_rows(args.training_csv), args.training_images_dir or args.images_dir)
    judges = [known] if known else []
    subject = Subject(args.csv, args.images_dir, view, args.min_recall, args.top_k_per_label, known, judges)
    found = analyse(subject, args.output)
    if args.json:
        print_json({"threshold": found.threshold, "output": str(args.output), **found.facts})
        return OK
    print(f"threshold {found.threshold!r}, held by {holder(found.scored)}; hardest defects first: "
          f"{', '.join(found.facts['rca_target_defects'])}")  # fmt: skip
    print(f"{len(found.weak)} weak samples, {false_calls(found.weak)} of them false calls")
    for name, count in found.facts["causes"].items():
        print(f"{name}: {count['weak']}, {count['wrong']} of them decided wrongly")
    print(f"look at {args.output / SHEET}; tables and evidence: {args.output}/weak_samples_breakdown.txt")
    return OK
