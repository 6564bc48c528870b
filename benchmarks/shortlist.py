"""What is lost when a model scores a shortlist of the pool instead of all of it.

  PYTHONPATH=scripts python benchmarks/shortlist.py DATA --split board|line [--seeds 4] [--rows 60]
DATA is a folder of selection_data.py. For shortlists of 5, 10, 20 and 40 % of the pool: which share of the rows that
`weakness` wants most (30 PASS rows, 30 defects) is on it, chosen by how far the coarse pictures of test and golden
differ (what mining does), by the likeness of embeddings to weak samples, or by chance; and FAR at recall 100 % after
three iterations of `weakness` from the shortlist, next to the whole pool, paired by seed. Engine `features`.
"""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import selection
from deft_aoi.base.rows import PASS
from deft_aoi.data.fingerprints import edges
from deft_aoi.mining import select
from deft_aoi.mining.index import scale_of
from deft_aoi.mining.select import Limits, Pick, Stock
from deft_aoi.mining.shortlist import SKIPPED, shortlist
from selection import Cell, Data, Engine, Model, iterations, opened, weak_rows

SHARES = (0.05, 0.1, 0.2, 0.4)
WANTED = 30
SIDE = 24
Reals = NDArray[np.float32]


def unlike(data: Data) -> Reals:
    """(n,) distance of the coarse pictures of test and golden, the light that differs most."""
    pixels = np.memmap(data.folder / "pixels.bin", np.uint8, "r", shape=tuple(data.stored))
    found = np.zeros(len(pixels), np.float32)
    for place, pair in enumerate(pixels):
        small = [_coarse(picture) for picture in pair]
        found[place] = np.linalg.norm(small[0] - small[1])
    return np.asarray(found.reshape(len(data.label), data.lights).max(1))


def _coarse(picture: NDArray[np.uint8]) -> Reals:
    grey = picture.mean(0).astype(np.float32)
    small = edges(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return np.asarray(np.rint(small * (127 / max(float(np.abs(small).max()), 1e-6))))


def kept(data: Data, judge: Engine, model: Model, by: str, seed: int, far: Reals) -> dict[tuple[str, str], list[float]]:
    """By (class, how it was chosen) the share of the wanted rows on a shortlist of each size."""
    kpi, pool = data.part(by, seed, "kpi"), data.part(by, seed, "pool")
    scores, labels = judge.logits(model, pool), data.label[pool]
    weak = kpi[weak_rows(data.label[kpi], judge.logits(model, kpi))]
    scale = scale_of(data.embedding[pool])
    likeness = scale(data.embedding[pool]) @ scale(data.embedding[weak]).T
    chance = np.random.default_rng(seed).random(len(pool))
    found: dict[tuple[str, str], list[float]] = {}
    for kind, sign in (("PASS", 1), ("defects", -1)):
        mine = np.flatnonzero((labels == PASS) == (sign > 0))
        wanted = mine[np.argsort(-sign * scores[mine], kind="stable")][:WANTED]
        asking = (data.label[weak] == PASS) == (sign > 0)
        order = {
            "coarse pictures": sign * far[pool[mine]],
            "embeddings": np.sort(likeness[mine][:, asking], axis=1)[:, -5:].mean(1),
            "chance": chance[mine],
        }
        for name, value in order.items():
            ranked = mine[np.argsort(-value, kind="stable")]
            tops = [ranked[: math.ceil(share * mine.size)] for share in SHARES]
            found[kind, name] = [float(np.isin(wanted, top).mean()) for top in tops]
    return found


def listed(far: Reals, share: float, seed: int, scores: selection.Scores, stock: Stock, limits: Limits) -> list[Pick]:
    """`weakness` of the rows on a shortlist of `share` of the free pool; `far` of the pool's rows."""
    asked = shortlist(stock.labels, stock.free, far, round(share * int(stock.free.sum())), seed)
    return _WEAKNESS(np.where(asked == SKIPPED, np.nan, scores), stock, limits)


_WEAKNESS = select.weakness


def reached(data: Data, judge: Engine, model: Model, cell: Cell, seed: int, share: float, far: Reals) -> float:
    """FAR at recall 100 % after three iterations from shortlists; `share` 1: of the whole pool."""
    pool = data.part(cell.by, seed, "pool")
    selection.select.weakness = partial(listed, far[pool], share, seed) if share < 1 else _WEAKNESS
    try:
        return [point.far_pct for point, _ in iterations(data, judge, cell, seed, model)][-1]
    finally:
        selection.select.weakness = _WEAKNESS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", required=True)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rows", type=int, default=60)
    args = parser.parse_args()
    data, judge = opened(args.data, "features", "gpu")
    far = unlike(data)
    shares: list[dict[tuple[str, str], list[float]]] = []
    fars: list[list[float]] = []
    for seed in range(args.seeds):
        train = data.part(args.split, seed, "train")
        model = judge.fit(train, data.label[train] != PASS, 1000 + seed, None)
        shares.append(kept(data, judge, model, args.split, seed, far))
        cell = Cell(args.split, "weakness", args.rows, 0)
        fars.append([reached(data, judge, model, cell, seed, share, far) for share in (*SHARES, 1.0)])
    heads = " | ".join(f"{100 * share:g} % of the pool" for share in SHARES)
    print(f"| wanted rows that are on it, {args.split} | {heads} |\n|---" + "|---" * len(SHARES) + "|")
    for key in shares[0]:
        mean = np.mean([one[key] for one in shares], axis=0)
        print(f"| {key[0]}, by {key[1]} | " + " | ".join(f"{100 * value:.0f} %" for value in mean) + " |")
    table = np.array(fars)
    print(f"\n| FAR@100 % after three iterations | {heads} | whole pool |\n|---" + "|---" * (len(SHARES) + 1) + "|")
    print("| mean | " + " | ".join(f"{value:.2f}" for value in table.mean(0)) + " |")
    above = [(table[:, n] > table[:, -1]).sum() for n in range(len(SHARES))]
    print("| seeds above the whole pool | " + " | ".join(f"{count} of {args.seeds}" for count in above) + " | |")


if __name__ == "__main__":
    main()
