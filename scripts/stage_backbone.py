#!/usr/bin/env python3
"""Put the backbone's weights where the loop looks for them. The last line printed is the staged path."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stage_backbone.py", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--workspace", type=Path, help="stage into its augmentation/backbone folder")
    where.add_argument("--dest", type=Path, help="stage into this folder")
    parser.add_argument("--source", type=Path, help="weights file on this machine (default: hub cache, then the hub)")
    parser.add_argument("--repo-id", default="nvidia/C-RADIOv2-B", help="default: %(default)s")
    parser.add_argument("--filename", default="model.safetensors", help="file in the repository (default: %(default)s)")
    parser.add_argument("--stage-name", default="c_radio_v2_b.safetensors", help="default: %(default)s")
    parser.add_argument(
        "--network", choices=("open", "airgap"), default="open", help="airgap: nothing is downloaded, as AIR_GAPPED=1"
    )
    parser.add_argument("--force", action="store_true", help="stage again where it is there already")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from deft_aoi.base.credentials import credential
    from deft_aoi.base.files import sha256_file
    from deft_aoi.base.paths import Workspace
    from deft_aoi.weights.backbone import stage_backbone

    home = Workspace.at(args.workspace).root if args.workspace else args.dest.expanduser().absolute()
    folder = Workspace(home).backbone_dir if args.workspace else home
    staged = stage_backbone(
        folder, repo_id=args.repo_id, filename=args.filename, stage_name=args.stage_name, source=args.source,
        force=args.force, token=credential("HF_TOKEN", home), offline=args.network == "airgap",
    )  # fmt: skip
    print(f"sha256 {sha256_file(staged)}", file=sys.stderr)
    print(staged)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
