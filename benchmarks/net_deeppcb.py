"""Whole loops of the net engine on DeepPCB: knn beside random of equal size, several seeds at once on one GPU.

  python benchmarks/net_deeppcb.py --deeppcb DIR [--split-by board] [--seeds 5] [--out benchmarks/results/net.json]
A seed is another split of the boards. Prints a Markdown table on stdout; progress on stderr.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from deft_aoi.data.import_deeppcb import import_deeppcb
from loops import Arm, Point, paired, run_arm, save, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deeppcb", type=Path, required=True)
    parser.add_argument("--split-by", choices=("board", "group"), default="board")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--mine-rows", type=int, default=190)
    parser.add_argument("--policies", default="knn,random")
    parser.add_argument("--at-once", type=int, default=10, help="loops that share the GPU")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    arms = [Arm(policy, policy, args.mine_rows, 3, "net") for policy in args.policies.split(",")]
    found: list[Point] = []
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(args.at_once) as workers:
        cache = Path(os.environ.get("DEFT_CACHE_DIR", f"{scratch}/cache"))
        homes = [Path(scratch) / f"{args.split_by}{seed}" for seed in range(args.seeds)]
        made = [
            workers.submit(import_deeppcb, args.deeppcb, home, split_by=args.split_by, seed=seed)
            for seed, home in enumerate(homes)
        ]
        for future in made:
            future.result()
        loops = [workers.submit(run_arm, home, arm, seed, cache) for arm in arms for seed, home in enumerate(homes)]
        for future in as_completed(loops):
            found += future.result()
            found.sort(key=lambda point: (point.arm, point.seed))
            if args.out:
                save(args.out, found)
            print(f"\nDeepPCB by {args.split_by}, loops done: {len({(p.arm, p.seed) for p in found})}\n\n{table(found)}", flush=True)
    if len(arms) > 1:
        print(f"\n{paired(found, arms[0].name, arms[1].name, 'iter3')}")


if __name__ == "__main__":
    main()
