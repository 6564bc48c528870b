"""Whole loops of the net engine on DeepPCB: knn+label and random of equal size, several seeds at once on one GPU.

  python benchmarks/net_deeppcb.py --deeppcb DIR [--split-by board] [--seeds 5] [--out benchmarks/results/net.json]
A seed is another split of the boards. Prints a Markdown table on stdout; progress on stderr.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from deft_aoi.importers.deeppcb import import_deeppcb
from loops import Arm, Point, paired, run_arm, save, table


def one(deeppcb: Path, split_by: str, arm: Arm, seed: int, home: Path, cache: Path) -> list[Point]:
    """One loop on a workspace of its own: the same seed gives the same bytes."""
    import_deeppcb(deeppcb, home, split_by=split_by, seed=seed)
    return run_arm(home, arm, seed, cache)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deeppcb", type=Path, required=True)
    parser.add_argument("--split-by", choices=("board", "group"), default="board")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--mine-rows", type=int, default=190)
    parser.add_argument("--policies", default="knn+label,random")
    parser.add_argument("--at-once", type=int, default=10, help="loops that share the GPU")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    arms = [Arm(policy, policy, args.mine_rows, 3, "net") for policy in args.policies.split(",")]
    found: list[Point] = []
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(args.at_once) as workers:
        cache = Path(os.environ.get("DEFT_CACHE_DIR", f"{scratch}/cache"))
        tasks = [(arm, seed, Path(scratch) / f"{arm.name}{seed}") for arm in arms for seed in range(args.seeds)]
        loops = [workers.submit(one, args.deeppcb, args.split_by, *task, cache) for task in tasks]
        for future in as_completed(loops):
            found += future.result()
            found.sort(key=lambda point: (point.arm, point.seed))
            if args.out:
                save(args.out, found)
            loops_done = len({(point.arm, point.seed) for point in found})
            print(f"\nDeepPCB by {args.split_by}, loops done: {loops_done}\n\n{table(found)}", flush=True)
    if len(arms) > 1:
        print(f"\n{paired(found, arms[0].name, arms[1].name, 'iter3')}")


if __name__ == "__main__":
    main()
