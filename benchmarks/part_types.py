"""Other heads for the features engine (other_heads.py), in pairs with the shipped one.

  PYTHONPATH=scripts python benchmarks/part_types.py DATA [--by line|exchanged|product|type|design] [--seeds 5:15]
      [--arms intercept,...] [--wrong 0] [--screen] [--out points.jsonl] [--each]
DATA is a folder of selection_data.py with features: `simulated`, or `deeppcb` for `--by design` (the splits of
unseen_features.py). A seed gives the seed rows, two iterations of 200 rows by `weakness` (designs: three of 60), each
arm in its own loop, and all rows. `exchanged`: KPI and pool rows change places; `product` leaves one product out of
everything but the KPI rows, `type` one part type out of all rows but those. `--screen` needs `selection_data.py doubt`.
Prints FAR at full recall (mean, median, largest), PASS rows above the five lowest defects (mean share), 100 - AUROC,
and the pairs in which an arm is below and above the shipped head.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft_aoi.simulate.board import PRODUCTS
from other_heads import ARMS, Heads
from selection import PASS, Cell, Data, Engine, Features, Point, Rows, Scores, iterations, rates
from unseen import described
from unseen_features import split

SHIPPED = "shipped"
OTHER = {"train": "train", "kpi": "pool", "pool": "kpi"}
Found = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--by", choices=("line", "exchanged", "product", "type", "design"), default="line")
    parser.add_argument("--seeds", default="5:15", help="FIRST:LAST")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--wrong", type=int, default=0, help="percent of wrong pool labels")
    parser.add_argument("--screen", action="store_true", help="keep suspect labels out")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--each", action="store_true", help="print every split and seed")
    args = parser.parse_args()
    data, rows = Data(args.data), np.load(args.data / "rows.npz")
    kinds, groups = rows["part_type"], rows["group"]
    seeds = range(*map(int, args.seeds.split(":")))
    parts = {"product": [name.replace("-", "") for name in PRODUCTS], "design": np.unique(groups).tolist()}
    names = parts.get(args.by, ["exchanged" if args.by == "exchanged" else "line"])
    for seed, part in product(seeds, OTHER) if args.by == "exchanged" else ():
        data.parts[f"exchanged-{seed}-{part}"] = data.part("line", seed, OTHER[part])
    if args.by == "design":
        for name, seed in product(names, seeds):
            split(data, groups == name, name, seed)
    policy = "weakness" + "+screen" * args.screen
    budget, count = (60, 3) if args.by == "design" else (200, 2)
    points: list[Found] = []
    for arm in (SHIPPED, *(name for name in args.arms.split(",") if name)):
        judge: Engine = Features(data, "") if arm == SHIPPED else Heads(data, kinds, ARMS[arm])
        for name, seed in product(names, seeds):
            cell = Cell(name, policy, budget, args.wrong)
            some = without_type(data, judge, kinds, seed) if args.by == "type" else loop(data, judge, cell, seed, count)
            points += [{**point, "variant": arm} for point in some]
        print("\n".join(table(points, arm, args.each)), flush=True)
    args.out.write_text("".join(json.dumps(point) + "\n" for point in points))


def loop(data: Data, judge: Engine, cell: Cell, seed: int, count: int) -> Iterator[Found]:
    """Baseline, the arm's own loop and all rows of one split."""
    train, kpi, pool = (data.part(cell.by, seed, name) for name in ("train", "kpi", "pool"))
    bad, labels = data.label != PASS, data.pool_labels(cell.by, seed, cell.wrong) != PASS
    model = judge.fit(train, bad[train], 1000 + seed, None)
    yield judged(data, kpi, cell, seed, "baseline", len(train), judge.logits(model, kpi))
    for point, logits in iterations(data, judge, cell, seed, model, count):
        yield judged(data, kpi, cell, seed, f"iter{point.iteration}", point.rows, logits)
    every = np.concatenate([train, pool])
    model = judge.fit(every, np.concatenate([bad[train], labels]), 1000 + seed, None)
    yield judged(data, kpi, cell, seed, "all rows", len(every), judge.logits(model, kpi))


def without_type(data: Data, judge: Engine, kinds: Any, seed: int) -> Iterator[Found]:
    """All rows but those of one part type, each in turn."""
    train, kpi, pool = (data.part("line", seed, name) for name in ("train", "kpi", "pool"))
    every = np.concatenate([train, pool])
    for kind in np.unique(kinds[kpi]).tolist():
        rows = every[kinds[every] != kind]
        logits = judge.logits(judge.fit(rows, data.label[rows] != PASS, 1000 + seed, None), kpi)
        yield judged(data, kpi, Cell(kind, "all", 0, 0), seed, "all other rows", len(rows), logits)


def judged(data: Data, kpi: Rows, cell: Cell, seed: int, model: str, rows: int, logits: Scores) -> Found:
    point = Point(cell.by, seed, cell.policy, cell.budget, cell.wrong, 0, rows, *rates(data, kpi, logits))
    bad = data.label[kpi] != PASS
    five = float(np.mean([(logits[~bad] >= score).mean() for score in np.sort(logits[bad])[:5]]))
    return {**described(data, kpi, "", point, logits, 0.0), "model": model, "five_pct": 100 * five}


def table(points: list[Found], arm: str, each: bool) -> Iterator[str]:
    """One line for each model of the arm."""
    groups: dict[str, dict[str, list[Found]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        groups[point["model"]][point["variant"]].append(point)
    for model, arms in groups.items():
        mine, theirs = arms[arm], arms[SHIPPED]
        far, before = (np.array([point["far_pct"] for point in some]) for some in (mine, theirs))
        five, area = (np.mean([point[name] for point in mine]) for name in ("five_pct", "auroc"))
        yield (
            f"| {arm} | {model} | {len(mine)} | {far.mean():.2f}, {np.median(far):.2f}, {far.max():.2f} | {five:.2f} | "
            f"{100 - area:.3f} | {(far < before).sum()}, {(far > before).sum()} |"
        )
        for point in mine if each else ():
            found = point["setter"]
            yield f"    {point['by']} {point['seed']}: {point['far_pct']:.2f} {found['label']} row {found['row']}"


if __name__ == "__main__":
    main()
