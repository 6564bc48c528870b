"""Kill whole loops at 200 random moments and at every file operation of the driver; each must end as an unbroken one.

  PYTHONPATH=scripts:tests python benchmarks/faults.py [--kills 200] [--per-run 25] [--seed 0]
Prints Markdown on stdout; exit 1 at the first run that ends otherwise.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import faulty
from deft_aoi.base.paths import RunPaths
from deft_aoi.executors.local import LocalExecutor
from deft_aoi.loop.verify import verify


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--per-run", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started, rng = time.monotonic(), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        workspace = faulty.line(Path(scratch) / "ws")
        unbroken = faulty.begin(workspace, 0, screen=True)
        seconds = faulty.finish(unbroken, jobs=LocalExecutor)
        expected = faulty.outcome(unbroken)
        random_kills: Counter[str] = Counter()
        runs, same = 0, 0
        while sum(random_kills.values()) < args.kills:
            runs += 1
            run = faulty.begin(workspace, runs, screen=True)
            left = min(args.per_run, args.kills - sum(random_kills.values()))
            random_kills += faulty.batter(run, seconds, rng, left)
            same += check(run, expected)
        swept = faulty.begin(workspace, 900, screen=True)
        boundaries = faulty.sweep(swept, Path(scratch), jobs=LocalExecutor)
        same += check(swept, expected)
    print("| kills | runs | ended the same | heavy commands done twice |\n|---|---|---|---|")
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(random_kills.items()))
    print(f"| {sum(random_kills.values())} at random moments ({kinds}) | {runs} | {min(same, runs)} | 0 |")
    print(f"| {sum(boundaries.values())}, one at every fsync, rename and write of the driver | 1 | {same - runs} | 0 |")
    print("\nPer stage: " + ", ".join(f"{name} {count}" for name, count in boundaries.items()))
    print(f"{len(seconds)} stages; {time.monotonic() - started:.0f} s in all", file=sys.stderr)
    return 0


def check(run: Path, expected: dict[str, object]) -> int:
    """1 where the run ended as the unbroken one did; ends the program otherwise."""
    found, twice, off = faulty.outcome(run), faulty.repeated(run), verify(RunPaths.at(run))
    different = [name for name, value in expected.items() if found[name] != value]
    if different or twice or off:
        sys.exit(f"{run}: different {different}, done twice {twice}, verify {off}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
