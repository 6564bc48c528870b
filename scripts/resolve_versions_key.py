#!/usr/bin/env python3
"""Print one pinned value of specs/versions.yaml, as images.tao_toolkit.pyt."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from deft_aoi.base.console import run_script


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="resolve_versions_key.py", description=__doc__)
    parser.add_argument("key", metavar="DOTTED.KEY", help="for example images.tao_toolkit.pyt")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from deft_aoi.base.versions import pinned_value

    print(pinned_value(args.key))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
