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

import pandas as pd

from deft_aoi.base.files import sha256_file
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import image_path, read_pool, read_rows, write_rows
from deft_aoi.importers.deeppcb import LIGHT, import_deeppcb
from deft_aoi.simulate.workspace import simulate
from loops import Arm, Point, paired, run_arm, save, table

INLINE = "inference_only"


def arms(num_sdg: int, mine_rows: int, iterations: int) -> list[Arm]:
    return [
        Arm("mined", "weakness", mine_rows, iterations),
        Arm("mined + synthetic", "weakness", mine_rows, iterations, synthetic=INLINE, num_sdg=num_sdg),
        Arm("poor", "random", 20, iterations),
        Arm("poor + synthetic", "random", 20, iterations, synthetic=INLINE, num_sdg=num_sdg),
    ]


def drop_twins(workspace: Workspace) -> None:
    """Leave pool windows out that are byte for byte in a set that judges: Pre-Flight refuses them (empty copper)."""
    light, ext = LIGHT, ".jpg"

    def digests(rows: pd.DataFrame, images: Path) -> list[str]:
        names = zip(rows["input_path"], rows["object_name"])
        return [sha256_file(image_path(images, folder, name, light, ext)) for folder, name in names]

    held: set[str] = set()
    for csv in (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv):
        held |= set(digests(read_rows(csv), workspace.images))
    pool = read_rows(workspace.pool_csv, required=("input_path", "golden_path", "label"))
    placed = read_pool(workspace.pool_csv, workspace.root, (light,), ext)
    twin = [digest in held for digest in digests(placed, workspace.root)]
    if any(twin):
        write_rows(workspace.pool_csv, pool[[not one for one in twin]])


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
                drop_twins(Workspace(workspace))
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
