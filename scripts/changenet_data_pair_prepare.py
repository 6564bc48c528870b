#!/usr/bin/env python3
"""Turn a folder of NG images and a folder of their goldens into a ChangeNet CSV with converted images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="changenet_data_pair_prepare.py", description=__doc__)
    parser.add_argument("--input-dir", type=Path, required=True, help="inspected images, as PCB+bridge_00000.png")
    parser.add_argument("--golden-dir", type=Path, required=True, help="goldens under the same names")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("dataset.csv"), help="CSV to write (default: dataset.csv)"
    )
    parser.add_argument(
        "-l", "--label", help="label of every row (default: read from the names, ng where a name has none)"
    )
    parser.add_argument("--images-dir", type=Path, help="root of the written images (default: images next to the CSV)")
    parser.add_argument(
        "--subdir", default="sdg", help="images go to its folders SUBDIR_ng and SUBDIR_ok (default: sdg)"
    )
    parser.add_argument("--light", action="append", help="light name, repeatable (default: SolderLight)")
    parser.add_argument("--image-ext", default=".jpg", help="extension of the written images (default: .jpg)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from deft_aoi.data.pairs import Skipped, skipped_text
    from deft_aoi.importers.pair_table import prepare_pairs

    summary = prepare_pairs(
        args.input_dir, args.golden_dir, args.output, label=args.label, images_dir=args.images_dir,
        subdir=args.subdir, lights=args.light or ["SolderLight"], ext=args.image_ext,
    )  # fmt: skip
    if summary["skipped"]:
        print(skipped_text(Skipped(**entry) for entry in summary["skipped"]), file=sys.stderr)
    if summary["full_scale"]:
        print(f"pictures of more than 8 bits: written with 8, {summary['full_scale']:,} became 255 in all of them")
    labels = ", ".join(f"{label} {count}" for label, count in summary["by_label"].items())
    print(f"wrote {args.output}: {summary['rows']} rows ({labels})")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
