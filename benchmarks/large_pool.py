"""Pre-Flight of a workspace with a very large pool, caches empty: wall and CPU seconds, peak memory, what it says.

  PYTHONPATH=scripts python benchmarks/large_pool.py --rows 100000 [--keep FOLDER] [--again]
The simulated pool's rows, copied under other boards until the pool has so many; every test image is a file of its own
with bytes of its own, goldens are shared by copies. `--keep` makes the workspace in FOLDER, or takes it from there.
`--again` times a second Pre-Flight on the caches of the first.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import read_rows, write_rows
from deft_aoi.simulate.workspace import simulate
from stages import ROOT, call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--again", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        if not (folder / "line").is_dir():
            simulate(folder / "line", seed=0)
            grow(Workspace.at(folder / "line"), args.rows)
        shutil.rmtree(folder / "cache", ignore_errors=True)
        for name in ("first", "second")[: 1 + args.again]:
            preflight(name, folder)


def grow(home: Workspace, rows: int) -> None:
    """Copies of every pool row, each with test images and a board of its own, until there are `rows`."""
    pool = read_rows(home.pool_csv)
    shown = [Path(path) for path in pool["input_path"]]
    images = [
        {path.name: path.read_bytes() for path in sorted((home.pool_dir / one.parent).glob(f"{row}_*"))}
        for one, row in zip(shown, pool["object_name"], strict=True)
    ]
    parts = [pool]
    for copy in range(1, -(-rows // len(pool))):
        some = pool.head(rows - copy * len(pool)).copy()
        some["boardname"] += f"-{copy:04d}"
        targets = [Path(*one.parts[:-3], f"{one.parts[-3]}-{copy:04d}", *one.parts[-2:]) for one in shown[: len(some)]]
        some["input_path"] = [target.as_posix() for target in targets]
        for target, lights in zip(targets, images, strict=False):
            (home.pool_dir / target).parent.mkdir(parents=True, exist_ok=True)
            for name, data in lights.items():
                (home.pool_dir / target.parent / name).write_bytes(data + f"{copy}".encode())
        parts.append(some)
    write_rows(home.pool_csv, pd.concat(parts, ignore_index=True))


def preflight(name: str, folder: Path) -> None:
    """One Pre-Flight as a process of its own, its words on the terminal."""
    caches = {"XDG_CACHE_HOME": str(folder / "cache")}
    words = ("preflight", "--workspace", str(folder / "line"), "--max-iterations", "2")
    code, cost, said = call(ROOT, caches, folder / "cost.json", *words)
    print(f"{said}{name}: exit {code}, {cost.wall:.1f} s, {cost.cpu:.1f} CPU s, peak {cost.peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
