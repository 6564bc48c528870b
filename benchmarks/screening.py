"""Labels screened in large pools: wrong labels taken and how weak the taken rows are, beside earlier screenings.

From the repository's folder (one CPU thread is enough; minutes for the small sizes):
  PYTHONPATH=scripts python benchmarks/screening.py [--rows 1000 5700 100000 1000000] [--seeds 2] [--picks 200]

Simulated vectors: 24 numbers a part, a defect raises one of six of them; a model taught by 800 rows scores the pool,
some labels of the pool are wrong, and the rows that the model gets most wrong are asked for. "Whole" is the screening
up to 0.1: 6,000 rows by chance and the offers judge each other. "By class" draws judges by class and drops those that
others contradict. "Jury" is what mining does now. "Knows" takes the same number with every wrong label known.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from deft_aoi.base.rows import PASS
from deft_aoi.data import jury
from deft_aoi.data.label_noise import cross_probabilities, fitted, label_doubt, logits
from deft_aoi.mining.screen import Offers, ask
from deft_aoi.mining.select import Limits, Stock, weakness
from selection import too_doubtful

Reals = NDArray[np.float64]
Ints = NDArray[np.int64]
WIDTH, TAUGHT, TYPES = 24, 800, 6


@dataclass(frozen=True)
class World:
    """Taught rows, and a pool with labels of which `flip` are wrong and the scores of a model."""

    known: NDArray[np.float32]
    known_defect: NDArray[np.bool_]
    pool: NDArray[np.float32]
    label: NDArray[np.bool_]
    flip: NDArray[np.bool_]
    score: Reals

    @property
    def stock(self) -> Stock:
        return Stock(np.where(self.label, "d", PASS), np.ones(len(self.label), bool))


def parts(generator: np.random.Generator, rows: int, share: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    defect = generator.random(rows) < share
    value = generator.standard_normal((rows, WIDTH), dtype=np.float32)
    kind = generator.integers(0, TYPES, rows)
    strength = np.exp(generator.normal(1.9, 0.25, rows)).astype(np.float32)
    value[np.flatnonzero(defect), kind[defect]] += strength[defect]
    return np.maximum(value, 0), defect


def world(rows: int, share: float, wrong: float, seed: int) -> World:
    generator = np.random.default_rng(seed)
    known, known_defect = parts(generator, TAUGHT, 0.2)
    pool, defect = parts(generator, rows, share)
    flip = generator.random(rows) < wrong
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500).fit(known, known_defect)
    return World(known, known_defect, pool, defect ^ flip, flip, np.asarray(model.decision_function(pool), float))


def by_whole(w: World, picks: int, seed: int) -> list[int]:
    policy, stock = partial(weakness, w.score), w.stock
    wanted = [pick.row for pick in policy(stock, Limits(4 * picks))]
    places = np.union1d(np.random.default_rng(seed).permutation(len(w.label))[:6000], np.array(wanted))
    features, labels = np.vstack([w.known, w.pool[places]]), np.concatenate([w.known_defect, w.label[places]])
    found = label_doubt(features, labels, None, seed=seed)
    doubt, likely = np.full(len(w.label), np.nan), np.zeros(len(w.label), bool)
    doubt[places], likely[places] = found.doubt[TAUGHT:], found.likely[TAUGHT:]
    free = ~np.isnan(doubt) & ~too_doubtful(doubt, likely)
    return [pick.row for pick in policy(Stock(stock.labels, free), Limits(picks))]


def by_class(w: World, picks: int, seed: int) -> list[int]:
    generator = np.random.default_rng(seed)
    drawn = np.concatenate([generator.permutation(np.flatnonzero(w.label == kind))[:3000] for kind in (True, False)])
    features, labels = np.vstack([w.known, w.pool[drawn]]), np.concatenate([w.known_defect, w.label[drawn]])
    chance = cross_probabilities(features, labels, seed=seed)
    kept = np.where(labels, 1 - chance, chance) < 0.5
    models, found = fitted(features[kept], labels[kept], seed), []
    for kind in (True, False):
        rows = np.flatnonzero(w.label == kind)
        order = rows[np.argsort(w.score[rows] if kind else -w.score[rows], kind="stable")]
        mine: list[int] = []
        for start in range(0, order.size, 2 * picks):
            asked = order[start : start + 2 * picks]
            seen = logits(models, w.pool[asked])
            mine += asked[(seen > 0) == kind].tolist()
            if len(mine) >= picks // 2:
                break
        found += mine[: picks // 2]
    return found


def by_jury(w: World, picks: int, seed: int) -> list[int]:
    stock = w.stock
    drawn = jury.draw(stock.labels, PASS, np.arange(len(stock)), seed)

    def rows(places: Ints) -> jury.Rows:
        return jury.Rows(w.pool[places], w.label[places], [str(place) for place in places], w.score[places])

    known = jury.Rows(w.known, w.known_defect, [f"known {n}" for n in range(TAUGHT)])
    formed = jury.form(known, rows(drawn), (w.score, w.label), seed=seed)
    doubt = np.full(len(stock), np.nan)
    doubt[drawn] = formed.doubt
    glance = formed.doubt_by_score(w.score, w.label)
    offers = Offers(partial(weakness, w.score), stock, Limits(picks), doubt, glance)
    while (block := ask(offers)).size:
        doubt[block] = formed.doubt_of(rows(block))
    return [pick.row for pick in offers.result().picks]


def by_truth(w: World, picks: int, seed: int) -> list[int]:
    return [pick.row for pick in weakness(w.score, Stock(w.stock.labels, ~w.flip), Limits(picks))]


ARMS: dict[str, Callable[[World, int, int], list[int]]] = {
    "whole": by_whole, "by class": by_class, "jury": by_jury, "knows": by_truth
}  # fmt: skip


def line(w: World, name: str, picks: int, seed: int) -> tuple[int, int, float, float]:
    """(picks, wrong labels among them, median score of the picked right defects, CPU seconds)."""
    start = time.process_time()
    taken = np.array(ARMS[name](w, picks, seed), np.int64)
    seconds = time.process_time() - start
    right = taken[w.label[taken] & ~w.flip[taken]]
    return taken.size, int(w.flip[taken].sum()), float(np.median(w.score[right])) if right.size else np.nan, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 5700, 100_000, 1_000_000])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.005, 0.02, 0.1], help="of defects")
    parser.add_argument("--wrong", type=float, nargs="+", default=[0.0, 0.01, 0.05])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--picks", type=int, default=200)
    args = parser.parse_args()
    print("| pool | defects | wrong labels | " + " | ".join(f"{name}: wrong of picks" for name in ARMS) + " | ", end="")
    print(" | ".join(f"{name}: median score of right defects" for name in ARMS) + " | jury: CPU s |")
    print("|---" * (4 + 2 * len(ARMS)) + "|")
    for rows in args.rows:
        for share in args.shares:
            for wrong in args.wrong:
                found = {name: [] for name in ARMS}
                for seed in range(args.seeds):
                    w = world(rows, share, wrong, seed)
                    for name in ARMS:
                        found[name].append(line(w, name, args.picks, seed))
                taken = [
                    f"{sum(one[1] for one in all_):,} of {sum(one[0] for one in all_):,}" for all_ in found.values()
                ]
                weak = [f"{np.nanmean([one[2] for one in all_]):.2f}" for all_ in found.values()]
                seconds = f"{np.mean([one[3] for one in found['jury']]):.1f}"
                cells = [f"{rows:,}", f"{100 * share:g} %", f"{100 * wrong:g} %", *taken, *weak, seconds]
                print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\nMost memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
