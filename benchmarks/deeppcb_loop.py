"""Whole loops on DeepPCB: mined, random and all rows side by side, against the classical baseline.

From the repository's folder:
  PYTHONPATH=scripts python benchmarks/deeppcb_loop.py --deeppcb DIR [--split-by board] [--seeds 5] [--out FILE]
A seed is another split of the boards. Prints a Markdown table on stdout.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from deft_aoi.importers.deeppcb import import_deeppcb
from loops import EVERYTHING, Arm, Point, paired, run_arm, save, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deeppcb", type=Path, required=True)
    parser.add_argument("--split-by", choices=("board", "group"), default="board")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--mine-rows", type=int, default=190)
    parser.add_argument("--cache", type=Path, help="feature cache to share between calls")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    arms = (
        Arm("knn+label", "knn+label", args.mine_rows, 3),
        Arm("weakness", "weakness", args.mine_rows, 3),
        Arm("random", "random", args.mine_rows, 3),
        Arm("everything", "random", EVERYTHING, 1),
    )
    found: list[Point] = []
    with tempfile.TemporaryDirectory() as scratch:
        cache = args.cache or Path(scratch) / "cache"
        for seed in range(args.seeds):
            workspace = Path(scratch) / f"{args.split_by}{seed}"
            import_deeppcb(args.deeppcb, workspace, split_by=args.split_by, seed=seed)
            for arm in arms:
                found += run_arm(workspace, arm, seed, cache)
            if args.out:
                save(args.out, found)
    versus = paired(found, "knn+label", "random", "iter3")
    print(f"DeepPCB by {args.split_by}, {args.seeds} seeds\n\n{table(found)}\n\n{versus}")


if __name__ == "__main__":
    main()
