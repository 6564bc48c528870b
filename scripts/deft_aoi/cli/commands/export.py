"""`deft export`: the best model as a folder for the inspection line."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import OK
from deft_aoi.cli.commands.score import add_review_share

HELP = """Write one folder for the line: the model as ONNX, which takes decoded pictures of any size; a JSON that says
what it does with them, with threshold and review band; an example in Python that needs onnxruntime, numpy and Pillow
only; and parity.json: KPI rows scored by the engine and by the example, equal to 1e-5, or nothing is written. A TAO
model is exported by visual_changenet export on its platform, with the same JSON and no check."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="best_model.json in its run")
    parser.add_argument("--output-dir", type=Path, help="folder to make (default: line in the run)")
    add_review_share(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.loop.line_export import export, text

    made = export(args.model.absolute(), args.output_dir, review_share=args.review_share)
    if args.json:
        print_json(made.record())
    else:
        print(text(made))
    return OK
