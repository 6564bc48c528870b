#!/usr/bin/env python3
"""List the platforms where heavy work may run, what each needs, and which of them this version can use."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from deft_aoi.base.console import run_script, whole
from deft_aoi.base.versions import Platform


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="list_tao_platforms.py", description=__doc__)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--platform", help="only this one, by name or alias (docker, cluster, k8s)")
    parser.add_argument("--skill-bank", help="accepted for callers of the skill bank; the list is this skill's own")
    return parser


def lines(entry: Platform, *, settings: bool) -> list[str]:
    """What a person chooses by: what it is, needs and was tried with; with `settings` all that can be set."""
    blank = " " * 14
    found = [
        f"{entry.name:<14}{'works' if entry.works else 'not yet':<9}{entry.summary}",
        f"{blank}needs: {', '.join(entry.needs) or 'nothing more'}",
        f"{blank}tried: {entry.tried} ({entry.when})",
    ]
    if settings:
        found.append(f"{blank}also called: {', '.join(entry.aliases) or '-'}")
        found.append(f"{blank}credentials: {', '.join(entry.credentials) or 'none'}")
        found += [f"{blank}--set {key}={setting.default}  {setting.help}" for key, setting in entry.settings.items()]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from deft_aoi.base import versions

    chosen = [versions.platform(args.platform)] if args.platform else versions.platforms()
    if args.format == "json":
        print(json.dumps([entry.to_json() for entry in chosen], indent=2))
        return 0
    whole("\n".join(line for entry in chosen for line in lines(entry, settings=bool(args.platform))))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
