"""The features engine on designs that training never saw: one DeepPCB design left out at a time, seconds of CPU time.

  PYTHONPATH=scripts python benchmarks/unseen_features.py DATA --out points.jsonl [--seeds 3] [--policies weakness]
      [--wrong 0]
DATA is a folder of `selection_data.py deeppcb`, with features. Of its rows a seed draws for each design: 300 defects
and up to 2,700 PASS of that design (KPI), 250 rows of 6 % of the other boards (opens and shorts), 5,700 pool rows.
A pool with `--wrong` percent of wrong labels is screened. Prints means, medians and the largest; `unseen.py table --out
points.jsonl` prints them again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft_aoi.importers.deeppcb import QUOTAS
from selection import PASS, Cell, Data, Features, Point, Rows, iterations, rates
from selection_data import doubt
from unseen import described, table

Flags = npt.NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--policies", default="weakness")
    parser.add_argument("--wrong", type=int, default=0, help="percent of wrong pool labels")
    args = parser.parse_args()
    data = Data(args.data)
    group = np.load(args.data / "rows.npz")["group"]
    points = [
        point
        for design in np.unique(group).tolist()
        for seed in range(args.seeds)
        for point in one(data, group == design, design, seed, args.policies.split(","), args.wrong)
    ]
    args.out.write_text("".join(json.dumps(point) + "\n" for point in points))
    print("\n".join(table(points)))


def one(data: Data, held: Flags, design: str, seed: int, policies: list[str], wrong: int) -> Iterator[dict[str, Any]]:
    """Baseline, three iterations of 60 rows by each policy, and all rows."""
    split(data, held, design, seed)
    if wrong:
        doubt(data, design, seed, wrong)
    judge, bad = Features(data, ""), data.label != PASS
    train, kpi, pool = (data.part(design, seed, name) for name in ("train", "kpi", "pool"))
    for policy, rows, iteration in (("baseline", train, 0), ("all", np.concatenate([train, pool]), 3)):
        model = judge.fit(rows, bad[rows], 1000 + seed, None)
        logits = judge.logits(model, kpi)
        point = Point(design, seed, policy, 0, 0, iteration, len(rows), *rates(data, kpi, logits))
        yield described(data, kpi, "features", point, logits, 0.0)
        if policy == "baseline":
            for name in policies:
                cell = Cell(design, f"{name}{'+screen' * bool(wrong)}", 60, wrong)
                for after, scores in iterations(data, judge, cell, seed, model):
                    yield described(data, kpi, "features", after, scores, 0.0)


def split(data: Data, held: Flags, design: str, seed: int) -> None:
    """Add the parts of one design and seed to the data."""
    rng, bad = np.random.default_rng([seed, 5]), data.label != PASS

    def some(rows: Flags, count: int) -> Rows:
        return rng.permutation(np.flatnonzero(rows))[:count]

    def both(name: str, rows: Flags) -> Rows:
        quota = QUOTAS[name]
        wanted = bad if quota.labels is None else np.isin(data.label, quota.labels)
        return np.concatenate([some(rows & wanted, quota.defects), some(rows & ~bad, quota.passes)])

    kpi = both("kpi", held)
    boards = rng.permutation(np.unique(data.board[~held]))
    seen = np.isin(data.board, boards[: round(QUOTAS["train"].boards * len(boards))]) & ~held
    parts = {"kpi": kpi, "train": both("train", seen), "pool": both("pool", ~held & ~seen)}
    data.parts |= {f"{design}-{seed}-{name}": rows for name, rows in parts.items()}


if __name__ == "__main__":
    main()
