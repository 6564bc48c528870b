#!/usr/bin/env python3
"""Stage the customer's pre-generated NG/OK pairs into a run, once, with the hash of every source file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prestage_pregen.py", description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory inside the workspace")
    parser.add_argument("--light", action="append", help="light name, repeatable (default: the spec's lights)")
    parser.add_argument("--image-ext", help="extension of the staged images (default: the spec's)")
    parser.add_argument(
        "--force", action="store_true", help="stage again even where it was done; the old is kept aside"
    )
    for flag in ("--ds-image", "--siglip-model"):
        parser.add_argument(flag, help="accepted; the loop itself embeds the source pool, once")
    parser.add_argument("--embed-with-siglip", action="store_true", help="accepted; see --siglip-model")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from deft_aoi.base.paths import RunPaths, Workspace
    from deft_aoi.data.pairs import Skipped, check_ext, skipped_text
    from deft_aoi.spec.tree import Optics, load_spec, optics
    from deft_aoi.synthetic.pregenerated import stage_pregen

    workspace = Workspace.at(args.workspace)
    results = workspace.inside(args.results_dir.absolute(), "--results-dir")
    seen = optics(load_spec(workspace.spec), workspace.spec)
    lights, ext = tuple(args.light or seen.lights), check_ext(args.image_ext or seen.ext)
    results.mkdir(parents=True, exist_ok=True)
    paths = RunPaths.at(results)
    chosen = Optics(lights, ext, seen.width, seen.height)
    manifest = stage_pregen(workspace, paths, chosen, force=args.force)
    if args.embed_with_siglip or args.ds_image or args.siglip_model:
        print("note: nothing embedded here; the loop embeds the source pool once, with its encoder", file=sys.stderr)
    if manifest["skipped"]:
        print(skipped_text(Skipped(**entry) for entry in manifest["skipped"]), file=sys.stderr)
    labels = ", ".join(f"{label} {count}" for label, count in manifest["by_label"].items())
    print(f"{manifest['pairs']} pairs in {paths.synth_pool}: {labels}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
