"""How good is the realism screen? False flags on held-out real defects, and how many crude pastes it finds.

From the repository's folder:
  PYTHONPATH=scripts python benchmarks/realism.py [--deeppcb DIR] [--seeds 5]
A seed is another simulated line, or another split of DeepPCB's boards. The screen learns from the training rows alone
(`seed rows`), or from them and half of the mining pool by board (`with pool`); the defects of the other half are held
out, and crude pastes are made onto good parts of that half. Prints a Markdown table; nothing here decides whether a
change may land.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import PASS, pad_columns, read_pool, read_rows
from deft_aoi.importers.deeppcb import import_deeppcb
from deft_aoi.simulate.workspace import simulate
from deft_aoi.spec.tree import load_spec, optics
from deft_aoi.stages.realism_task import pictures_of, thinned
from deft_aoi.synthetic.realism import pastes, read_parts, screen
from deft_aoi.synthetic.realism_crude import KINDS

PASTES = 60  # of each kind


def crude(good: pd.DataFrame, seed: int, folder: Path, lights: tuple[str, ...]) -> pd.DataFrame:
    """Crude pastes onto good parts, written as pictures."""
    rng, parts, lines = np.random.default_rng([seed, 99]), read_parts(good), []
    for kind in KINDS:
        for part in pastes(kind, parts, PASTES, rng):
            for light, pair in zip(lights, part.pairs):
                files = [folder / f"{part.name}_{light}_{which}.png" for which in ("test", "golden")]
                for path, picture in zip(files, (pair.test, pair.golden)):
                    cv2.imwrite(str(path), np.rint(picture[:, :, ::-1]).astype(np.uint8))
                test, golden = map(str, files)
                lines.append({"name": part.name, "label": kind, "light": light, "test": test, "golden": golden})
    return pd.DataFrame(lines)


def measured(workspace: Workspace, seed: int, folder: Path) -> list[dict[str, object]]:
    seen = optics(load_spec(workspace.spec), workspace.spec)
    images = workspace.images.relative_to(workspace.root)
    seeds = pad_columns(read_rows(workspace.training_csv))
    for column in ("input_path", "golden_path"):
        seeds[column] = [f"{images}/{path}" for path in seeds[column]]
    pool = read_pool(workspace.pool_csv, workspace.root, seen.lights, seen.ext)
    boards = sorted(set(pool["boardname"]))
    learned = set(np.random.default_rng(seed).permutation(boards)[::2])
    half, rest = pool[pool["boardname"].isin(learned)], pool[~pool["boardname"].isin(learned)]
    folder.mkdir()
    held = thinned(rest[rest["label"] != PASS]) if (rest["label"] != PASS).any() else rest
    defects = pictures_of(held[held["label"] != PASS], workspace.root, seen)
    good = rest[rest["label"] == PASS]
    made = crude(pictures_of(good.iloc[:: max(1, len(good) // 150)], workspace.root, seen), seed, folder, seen.lights)
    found = []
    for name, rows in (("seed rows", seeds), ("with pool", pd.concat([seeds, half], ignore_index=True))):
        table, limits = screen(
            pd.concat([defects, made], ignore_index=True), pictures_of(thinned(rows), workspace.root, seen)
        )
        flagged = (table["flags"] != "").groupby(table["label"]).agg(["sum", "size"])
        real = flagged[~flagged.index.isin(KINDS)].sum()
        print(f"seed {seed}, {name}: {limits}; {flagged.to_dict('index')}", flush=True)
        found.append({"learned": name, "defects": limits["real_defects"], "false": real["sum"], "held": real["size"]}
                     | {kind: flagged.loc[kind, "sum"] for kind in KINDS})  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deeppcb", type=Path, help="folder of DeepPCB; left out: simulated lines")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--boards", type=int, default=24, help="of a simulated line")
    args = parser.parse_args()
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(args.seeds):
            root = Path(scratch) / f"seed{seed}"
            if args.deeppcb:
                import_deeppcb(args.deeppcb, root, split_by="board", seed=seed)
            else:
                simulate(root, seed=seed, boards=args.boards)
            found += measured(Workspace.at(root), seed, Path(scratch) / f"crude{seed}")
    table = pd.DataFrame(found).groupby("learned", sort=False)
    print("\n| learned from | real defects | false flags on held-out defects |", " | ".join(KINDS), "|")
    print("|---" * (3 + len(KINDS)) + "|")
    for name, part in table:
        shares = [f"{part[kind].sum() / (PASTES * len(part)):.0%}" for kind in KINDS]
        rate = f"{part['false'].sum() / part['held'].sum():.1%} ({part['false'].sum()} of {part['held'].sum()})"
        print(f"| {name} | {part['defects'].min()} to {part['defects'].max()} | {rate} |", " | ".join(shares), "|")


if __name__ == "__main__":
    main()
