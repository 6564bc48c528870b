"""`deft cache`: what the cache holds, and clearing it."""

from __future__ import annotations

import argparse
from typing import Any

from deft_aoi.base.errors import OK

HELP = (
    "Show what the cache holds, or clear it. Everything in it can be computed again. It is trimmed by itself to "
    "DEFT_CACHE_GB gigabytes (default 5), the least recently used first."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from deft_aoi.base.cache_folder import KINDS

    parser.add_argument(
        "--clear", nargs="*", metavar="KIND", choices=KINDS,
        help=f"drop everything, or these kinds: {', '.join(KINDS)}; better while no loop runs",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    import time

    from deft_aoi.base.cache_folder import KINDS, cache_root, clear, items, limit_bytes
    from deft_aoi.base.console import command_line, print_json

    limit = limit_bytes()
    dropped = [] if args.clear is None else clear(args.clear or list(KINDS))
    held = items()
    kinds: list[dict[str, Any]] = [
        {"kind": kind, "what": what, "files": len(some), "bytes": sum(item.size for item in some),
         "last_used": max((item.used for item in some), default=None)}
        for kind, what in KINDS.items() for some in [[item for item in held if item.kind == kind]]
    ]  # fmt: skip
    total, freed = sum(item.size for item in held), sum(item.size for item in dropped)
    if args.json:
        record = {"folder": str(cache_root()), "bytes": total, "limit_bytes": limit, "dropped_bytes": freed}
        print_json({**record, "kinds": kinds})
        return OK
    if args.clear is not None:
        print(f"dropped {freed / 1e6:.0f} MB")
    for line in kinds:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(line["last_used"])) if line["files"] else "never"
        print(f"{line['kind']:<13}{line['bytes'] / 1e6:>8.0f} MB  last used {used:<16}  {line['what']}")
    print(f"{cache_root()}: {total / 1e9:.2f} of {limit / 1e9:g} GB")
    if held:
        print(f"next: {command_line('cache', '--clear')}   (drops all of it)")
    return OK
