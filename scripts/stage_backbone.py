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
    parser.add_argument("--workspace", type=Path, help="stage into its augmentation/backbone folder")
    parser.add_argument("--dest", type=Path, help="stage into this folder; wins over --workspace")
    parser.add_argument(
        "--backbone-type",
        metavar="TYPE",
        help="vit_<size>_dinov3 of the spec: its repository, staged as TYPE.safetensors",
    )
    parser.add_argument("--source", type=Path, help="weights file on this machine (default: hub cache, then the hub)")
    parser.add_argument("--repo-id", help="default: nvidia/C-RADIOv2-B, or that of --backbone-type")
    parser.add_argument("--filename", default="model.safetensors", help="file in the repository (default: %(default)s)")
    parser.add_argument("--stage-name", help="default: c_radio_v2_b.safetensors, or TYPE.safetensors")
    parser.add_argument(
        "--network", choices=("open", "airgap"), default="open", help="airgap: nothing is downloaded, as AIR_GAPPED=1"
    )
    parser.add_argument("--force", action="store_true", help="stage again where it is there already")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from deft_aoi.base.credentials import credential
    from deft_aoi.base.errors import InputError
    from deft_aoi.base.files import sha256_file
    from deft_aoi.base.paths import Workspace
    from deft_aoi.weights.backbone import source_of, stage_backbone

    if args.dest is None and args.workspace is None:
        raise InputError("expected --workspace W or --dest FOLDER")
    home = args.dest.expanduser().absolute() if args.dest else Workspace.at(args.workspace).root
    folder = home if args.dest else Workspace(home).backbone_dir
    repo_id, stage_name = source_of(args.backbone_type)
    staged = stage_backbone(
        folder, repo_id=args.repo_id or repo_id, filename=args.filename, stage_name=args.stage_name or stage_name,
        source=args.source, force=args.force, token=credential("HF_TOKEN", home), offline=args.network == "airgap",
    )  # fmt: skip
    print(f"sha256 {sha256_file(staged)}", file=sys.stderr)
    print(staged)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
