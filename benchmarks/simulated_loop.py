"""Whole loops on the simulated line: mined, random and all rows side by side, against the classical baseline.

From the repository's folder:
  PYTHONPATH=scripts python benchmarks/simulated_loop.py [--seeds 10] [--boards 24] [--out FILE]
A seed is another line. Prints a Markdown table on stdout.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from deft_aoi.simulate.workspace import simulate
from loops import EVERYTHING, Arm, Point, paired, run_arm, save, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--boards", type=int, default=24)
    parser.add_argument("--mine-rows", type=int, default=200)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--engine", default="features", help="features (default) or net")
    parser.add_argument("--arms", default="knn+label,weakness,random,everything", help="some of these, default: all")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    wanted = args.arms.split(",")
    arms = [Arm(name, name, args.mine_rows, args.iterations, args.engine) for name in wanted if name != "everything"]
    arms += [Arm(name, "random", EVERYTHING, 1, args.engine) for name in wanted if name == "everything"]
    found: list[Point] = []
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            workspace = Path(scratch) / "line"
            simulate(workspace, seed=seed, boards=args.boards)
            for arm in arms:
                found += run_arm(workspace, arm, seed, workspace / "results/.cache")
        if args.out:
            save(args.out, found)
    last = f"iter{args.iterations}"
    compared = [name for name in ("knn+label", "weakness") if {name, "random"} <= set(wanted)]
    versus = "\n".join(paired(found, name, "random", last) for name in compared)
    print(f"Simulated line, engine {args.engine}, {args.seeds} seeds\n\n{table(found)}\n\n{versus}")


if __name__ == "__main__":
    main()
