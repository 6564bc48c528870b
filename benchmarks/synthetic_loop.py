"""Does it help? Whole loops with and without synthetic rows, side by side, on the simulated line or on DeepPCB.

From the repository's folder:
  PYTHONPATH=scripts python benchmarks/synthetic_loop.py [--deeppcb DIR] [--seeds 5] [--num-sdg 60] [--out FILE]
A seed is another line, or another split of DeepPCB's boards. Pairs come from the reference generator (inference_only);
`poor` arms mine 20 random rows, as where the pool has little. Prints a Markdown table on stdout.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from deft_aoi.data.import_deeppcb import import_deeppcb
from deft_aoi.data.simulate import simulate
from loops import Arm, Point, paired, run_arm, save, table

INLINE = "inference_only"


def arms(num_sdg: int, mine_rows: int, iterations: int) -> list[Arm]:
    return [
        Arm("mined", "weakness", mine_rows, iterations),
        Arm("mined + synthetic", "weakness", mine_rows, iterations, synthetic=INLINE, num_sdg=num_sdg),
        Arm("poor", "random", 20, iterations),
        Arm("poor + synthetic", "random", 20, iterations, synthetic=INLINE, num_sdg=num_sdg),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deeppcb", type=Path, help="folder of DeepPCB; left out: the simulated line")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--boards", type=int, default=24, help="of the simulated line")
    parser.add_argument("--num-sdg", type=int, default=60)
    parser.add_argument("--mine-rows", type=int, default=100)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="feature cache to share between calls")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found: list[Point] = []
    with tempfile.TemporaryDirectory() as scratch:
        cache = args.cache or Path(scratch) / "cache"
        for seed in range(args.seeds):
            workspace = Path(scratch) / f"seed{seed}"
            if args.deeppcb:
                import_deeppcb(args.deeppcb, workspace, split_by="board", seed=seed)
            else:
                simulate(workspace, seed=seed, boards=args.boards)
            for arm in arms(args.num_sdg, args.mine_rows, args.iterations):
                found += run_arm(workspace, arm, seed, cache)
            if args.out:
                save(args.out, found)
    last = f"iter{args.iterations}"
    versus = [paired(found, f"{name} + synthetic", name, last) for name in ("mined", "poor")]
    data = "DeepPCB by board" if args.deeppcb else "Simulated line"
    print(f"{data}, {args.seeds} seeds\n\n{table(found)}\n\n" + "\n".join(versus))


if __name__ == "__main__":
    main()
