"""`deft stage-encoder`: put SigLIP, or another image encoder, where k-NN mining looks for it."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import OK

HELP = """Stage the image encoder of k-NN mining as augmentation/encoder/siglip.onnx: from an ONNX file, from a local
folder of the transformers library (exported; needs the extras net,backbones), or from the hub. Without one, mining uses
the trunk that the skill brings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", default="~/workspace", help="workspace folder (default: ~/workspace)")
    parser.add_argument(
        "--source", type=Path, help=".onnx file or folder on this machine (default: hub cache, then hub)"
    )
    parser.add_argument("--repo-id", default="google/siglip-base-patch16-224", help="default: %(default)s")
    parser.add_argument("--force", action="store_true", help="stage again where it is there already")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.credentials import credential
    from deft_aoi.base.paths import Workspace
    from deft_aoi.stages.mining import ENCODER_FOLDER
    from deft_aoi.weights.encoder import stage_encoder

    home = Workspace.at(args.workspace).root
    token = credential("HF_TOKEN", home)
    staged = stage_encoder(
        home / ENCODER_FOLDER, source=args.source, repo_id=args.repo_id, force=args.force, token=token
    )
    print_json({"encoder": str(staged)}) if args.json else print(staged)
    return OK
