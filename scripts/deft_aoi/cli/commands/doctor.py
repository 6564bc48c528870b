"""`deft doctor`: what blocks a run, by cause, with what fixes it."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.console import next_line, print_json
from deft_aoi.base.errors import OK, REFUSED
from deft_aoi.base.finding import BLOCK

HELP = """Say everything that Pre-Flight would say about a workspace's files and this machine, grouped by cause, with
the command that fixes each. With --platform and no --workspace, try that platform alone: connection, images, GPU,
disk, clock and write access. Reads only: no run directory is made, no plan is written, nothing is sent. Exit 2 where
something would block a run, else 0."""


WORKSPACE = "~/workspace"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", help="workspace folder (default: ~/workspace)")
    parser.add_argument("--platform", help="where heavy work would run (default: local); see list_tao_platforms")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="a setting of the platform")
    parser.add_argument("--engine", help="engine of platform local, as in deft preflight")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.preflight.doctor import examine

    if args.platform and not args.workspace:
        return _platform(args)
    args.workspace = args.workspace or WORKSPACE
    asked = {"workspace": args.workspace, "platform": args.platform, "set": args.set, "engine": args.engine}
    groups = examine({name: value for name, value in asked.items() if value is not None})
    blocking = sum(group.blocks for group in groups)
    if args.json:
        print_json({"blocks": blocking, "causes": [group.to_json() for group in groups]})
        return REFUSED if blocking else OK
    for group in groups:
        count = f"{group.blocks} block" if group.blocks else "notes only"
        print(f"{group.title} ({counted(len(group.findings), 'finding')}, {count}); fix: {group.fix}")
        for finding in group.findings:
            print(f"  {finding.level}: {finding.text}")
    notes = sum(len(group.findings) for group in groups) - blocking
    print(f"{args.workspace}: {_blocked(blocking)}; {counted(notes, 'note')}")
    if not blocking:
        print(next_line("preflight", "--workspace", args.workspace, "--max-iterations", "N"))
    return REFUSED if blocking else OK


def _blocked(blocking: int) -> str:
    return f"{counted(blocking, 'finding')} would block a run" if blocking else "nothing blocks a run"


def counted(count: int, what: str) -> str:
    """A number and its noun."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _platform(args: argparse.Namespace) -> int:
    """Every answer of the platform, the good ones too: a person wants to see what was tried."""
    from deft_aoi.preflight.doctor import platform_probes

    asked = {"platform": args.platform, "set": args.set}
    probes = platform_probes(asked, Path(WORKSPACE).expanduser().absolute())
    blocking = sum(probe.level == BLOCK for probe in probes)
    if args.json:
        print_json({"platform": args.platform, "blocks": blocking, "probes": [probe.record() for probe in probes]})
        return REFUSED if blocking else OK
    for probe in sorted(probes, key=lambda one: one.level != BLOCK):
        print(f"{probe.level}: {probe.text}")
    print(f"platform {args.platform}: {_blocked(blocking)}")
    return REFUSED if blocking else OK
