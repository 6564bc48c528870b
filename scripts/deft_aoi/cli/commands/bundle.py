"""`deft bundle`: everything for a machine without a network, in one file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from deft_aoi.base.errors import OK

if TYPE_CHECKING:
    from deft_aoi.cli.bundle import Bundle

HELP = """Pack what a machine without a network needs into one file: the packages of the environment, the workspace's
backbone and encoder, the list of container images. There, --unpack makes the environment from it (also under
AIR_GAPPED=1), puts the weights into the workspace, compares every file with its hash and names the images that are not
there yet. Both machines need the same skill, the same Python (3.11 and 3.11) and the same kind of processor."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--output", type=Path, metavar="FILE", help="pack into this file (.tar)")
    what.add_argument("--unpack", type=Path, metavar="FILE", help="take everything out of this file")
    what.add_argument("--check", type=Path, metavar="FILE", help="compare every file with its hash, write nothing")
    parser.add_argument("--workspace", help="workspace whose weights are packed, or that gets them")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.paths import Workspace
    from deft_aoi.cli import bundle

    workspace = Workspace.at(args.workspace) if args.workspace else None
    if args.output is not None:
        optional = sorted(set(os.environ.get("DEFT_EXTRAS", "").replace(",", " ").split()))
        record = bundle.pack(args.output, workspace, optional)
        size = args.output.stat().st_size / 1e6
        lines = [f"wrote {args.output}: {size:.0f} MB", *contents(record)]
        lines += [f"image to bring: {one['image']}" for one in record.images.values()]
        lines.append(f"next, on the other machine: deft bundle --unpack {args.output.name} --workspace W")
    else:
        path = args.unpack or args.check
        record = bundle.read(path)
        bundle.check(path, record)
        lines = [f"{path}: {len(record.files)} files, each as it was packed", *contents(record)]
        if args.unpack is not None and workspace is not None:
            lines += [f"in {workspace.root}: {name}" for name in bundle.unpack(path, record, workspace)]
        lines += [f"image not here: {image} (docker load -i FILE)" for image in bundle.missing_images(record)]
    print_json(record.to_json()) if args.json else print("\n".join(lines))
    return OK


def contents(record: Bundle) -> list[str]:
    weights = ", ".join(Path(name).name for name in record.weights) or "none"
    return [f"{record.environment}: {len(record.packages)} packages for {record.python}", f"weights: {weights}"]
