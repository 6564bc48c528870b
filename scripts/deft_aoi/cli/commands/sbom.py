"""`deft sbom`: what the environment is made of (for releases)."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from deft_aoi.base.errors import OK

HELP = "List the packages of the environment with their licences, or write a CycloneDX bill of materials."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, metavar="FILE", help="write CycloneDX 1.6 JSON here")
    parser.add_argument("--json", action="store_true", help="for programs: the list")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import print_json
    from deft_aoi.base.files import atomic_write_json
    from deft_aoi.base.versions import VERSION
    from deft_aoi.cli import sbom

    found = sbom.packages()
    if args.output is not None:
        atomic_write_json(args.output, sbom.bill_of_materials(VERSION, found))
        print(f"wrote {args.output}: {len(found)} packages")
        return OK
    if args.json:
        print_json([asdict(package) for package in found])
        return OK
    for package in found:
        part = "base" if package.base else "extra"
        print(f"{package.name:<28}{package.version:<14}{part:<7}{package.licence}")
    return OK
