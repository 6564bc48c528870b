"""Labels screened in large pools: wrong labels taken and how weak the taken rows are, compared with earlier screenings.

From the repository's folder (one CPU thread is enough; minutes for the small sizes):
  PYTHONPATH=scripts python benchmarks/screening.py [--rows 1000 5700 100000 1000000] [--seeds 2] [--picks 200]
      [--arms jury knows] [--data FOLDER]

Simulated vectors: 24 numbers a part, a defect raises one of six of them; a model taught by 800 rows scores the pool,
some labels of the pool are wrong, and the rows that the model gets most wrong are asked for. "Whole" is the screening
up to 0.1: 6,000 rows by chance and the offers judge each other. "By class" draws judges by class and drops those that
others contradict. "Jury" is what mining does now. "Knows" takes the same number with every wrong label known.
`--data` takes pool rows of real images instead: the features engine's head, taught by the training rows of a folder of
selection_data.py, scores them. Each case runs in a process of its own, whose peak memory is its own.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from deft_aoi.base.rows import PASS
from deft_aoi.data import jury
from deft_aoi.data.label_noise import cross_probabilities, fitted, label_doubt, logits
from deft_aoi.engine.features.head import columns
from deft_aoi.mining.screen import Offers, ask
from deft_aoi.mining.select import Limits, Stock, weakness
from selection import Data, Features, too_doubtful

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


def real_world(folder: Path, share: float, wrong: float, seed: int) -> World:
    """Pool rows of selection_data.py, split by board: all PASS rows, and as many defects as `share` wants."""
    data = Data(folder)
    generator = np.random.default_rng(seed)
    train, pool = data.part("board", seed, "train"), generator.permutation(data.part("board", seed, "pool"))
    defect = data.label[pool] != PASS
    most = round(share / (1 - share) * int((~defect).sum()))
    pool = np.concatenate([pool[~defect], pool[defect][:most]])
    defect, known_defect = data.label[pool] != PASS, data.label[train] != PASS
    engine = Features(data, "")
    model = engine.fit(train, known_defect, 1000 + seed, None)
    flip = generator.random(pool.size) < wrong
    known, seen = (columns(np.asarray(data.features[rows])).astype(np.float32) for rows in (train, pool))
    return World(known, known_defect, seen, defect ^ flip, flip, engine.logits(model, pool))


def by_whole(w: World, picks: int, seed: int) -> list[int]:
    policy, stock = partial(weakness, w.score), w.stock
    wanted = [pick.row for pick in policy(stock, Limits(4 * picks))]
    places = np.union1d(np.random.default_rng(seed).permutation(len(w.label))[:6000], np.array(wanted))
    features, labels = np.vstack([w.known, w.pool[places]]), np.concatenate([w.known_defect, w.label[places]])
    found = label_doubt(features, labels, None, seed=seed)
    doubt, likely = np.full(len(w.label), np.nan), np.zeros(len(w.label), bool)
    doubt[places], likely[places] = found.doubt[len(w.known) :], found.likely[len(w.known) :]
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

    known = jury.Rows(w.known, w.known_defect, [f"known {n}" for n in range(len(w.known))])
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


@dataclass(frozen=True)
class Case:
    """One line of the table; `data`: a folder of real images, None for simulated vectors."""

    rows: int
    share: float
    wrong: float
    seeds: int
    picks: int
    arms: tuple[str, ...]
    data: Path | None


def cells(case: Case) -> list[str]:
    """What the table says of a case."""
    found: dict[str, list[tuple[int, int, float, float]]] = {name: [] for name in case.arms}
    size, defects = case.rows, 0
    for seed in range(case.seeds):
        drawn = case.share, case.wrong, seed
        w = real_world(case.data, *drawn) if case.data else world(case.rows, *drawn)
        size, defects = len(w.label), defects + int((w.label ^ w.flip).sum())
        for name in case.arms:
            found[name].append(line(w, name, case.picks, seed))
    taken = [f"{sum(one[1] for one in all_):,} of {sum(one[0] for one in all_):,}" for all_ in found.values()]
    weak = [[one[2] for one in all_ if not np.isnan(one[2])] for all_ in found.values()]
    medians = [f"{np.mean(some):.2f}" if some else "none taken" for some in weak]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    share = defects / case.seeds / size if case.data else case.share
    seconds = f"{np.mean([one[3] for one in found['jury']]):.1f}"
    return [f"{size:,}", f"{100 * share:.2g} %", f"{100 * case.wrong:g} %", *taken, *medians, seconds, f"{memory:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 5700, 100_000, 1_000_000])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.005, 0.02, 0.1], help="of defects")
    parser.add_argument("--wrong", type=float, nargs="+", default=[0.0, 0.01, 0.02, 0.05])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--picks", type=int, default=200)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="jury is always among them")
    parser.add_argument("--data", type=Path, help="folder of selection_data.py: real images, its rows")
    args = parser.parse_args()
    arms = tuple(name for name in ARMS if name in (*args.arms, "jury"))
    print("| pool | defects | wrong labels | " + " | ".join(f"{name}: wrong of picks" for name in arms) + " | ", end="")
    print(" | ".join(f"{name}: median score of right defects" for name in arms) + " | jury: CPU s | peak GB |")
    print("|---" * (5 + 2 * len(arms)) + "|")
    for rows in [0] if args.data else args.rows:
        for share in args.shares:
            for wrong in args.wrong:
                case = Case(rows, share, wrong, args.seeds, args.picks, arms, args.data)
                with ProcessPoolExecutor(1, get_context("spawn")) as own:
                    print(f"| {' | '.join(own.submit(cells, case).result())} |", flush=True)


if __name__ == "__main__":
    main()
