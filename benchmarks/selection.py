"""Selection policies side by side: three iterations of each from one baseline, on the same splits, paired by seed.

  PYTHONPATH=scripts python benchmarks/selection.py DATA --engine net|features --out points.jsonl [--seeds 10]
      [--cells FIRST:LAST] [--only POLICY,...] [--recipe gpu|plain|small|cpu] [--at-once 8] [--minutes M] [--models DIR]
DATA is a folder of selection_data.py. A seed is another split (another simulated line) and another training seed. The
policies are the library's; targets of knn are KPI rows, as the loop does by default. Wrong labels are planted in the
pool alone. Only the last checkpoint of a training is judged. Points are appended as they come; a call goes on where an
earlier one with the same output ended. selection_table.py prints the tables.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft_aoi.engine.net.recipe import ON_CPU, ON_GPU
from deft_aoi.kpi.sweep import auroc, operating_point, sweep
from deft_aoi.mining import select
from deft_aoi.mining.index import scale_of, unit
from deft_aoi.mining.neighbours import neighbours
from deft_aoi.mining.select import Limits, Pick, Stock

PASS = "PASS"
ITERATIONS = 3
WEAK_OF_A_LABEL = 50
DEPTH = 200
FLOOR = 0.9
Rows = npt.NDArray[np.int64]
Labels = npt.NDArray[np.str_]
Scores = npt.NDArray[np.float64]
Model = Any

RECIPES = {
    "gpu": ON_GPU,
    "plain": replace(ON_GPU, pasted_share=0.0),
    "small": replace(ON_GPU, net_width=24, steps=80, later_steps=60, images=6),
    "cpu": ON_CPU,
}
ALL = ("weakness", "random", "knn+label", "random-balanced", "weakness+diverse", "knn", "uncertain", "weakness+screen",
       "weakness+rca")  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One comparison: how the data is split, who chooses, rows an iteration, percent of wrong labels in the pool."""

    by: str
    policy: str
    budget: int
    wrong: int


@dataclass(frozen=True)
class Point:
    """One evaluated model. Rates in percent; `wrong_rows` trained on so far, `reviewed` kept out so far."""

    by: str
    seed: int
    policy: str
    budget: int
    wrong: int
    iteration: int
    rows: int
    far_pct: float
    far_995_pct: float
    auroc: float
    wrong_rows: int = 0
    reviewed: int = 0


def grid(splits: Sequence[str]) -> list[Cell]:
    """Every cell, the ones that answer most first."""
    main = splits[0]
    first = (("weakness", 60, 0), ("random", 60, 0), ("weakness+screen", 60, 1), ("weakness", 60, 1), ("all", 0, 0),
             ("knn+label", 60, 0), ("weakness+diverse", 60, 0), ("random-balanced", 60, 0), ("knn", 60, 0),
             ("weakness+screen", 60, 0), ("weakness+screen", 60, 5), ("weakness", 60, 5))  # fmt: skip
    likely = ("weakness", "random", "knn+label", "all")
    cells = [Cell(main, *cell) for cell in first]
    cells += [Cell(by, name, 0 if name == "all" else 60, 0) for by in splits[1:] for name in likely]
    cells += [Cell(main, name, budget, 0) for budget in (20, 190) for name in likely[:3]]
    every = [Cell(by, p, b, w) for w in (0, 1, 5) for b in (60, 20, 190) for by in splits for p in ALL]
    return list(dict.fromkeys(cells + every))


class Data:
    """The folder that selection_data.py wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rows = np.load(folder / "rows.npz")
        self.label, self.board = rows["label"], rows["board"]
        self.stored, self.lights = tuple(rows["stored"].tolist()), int(rows["lights"])
        self.parts = {name: rows[name] for name in rows.files if name.count("-") == 2}
        self.embedding = unit(np.load(folder / "embedding.npy").astype(np.float32))

    @property
    def splits(self) -> list[str]:
        return list(dict.fromkeys(name.split("-")[0] for name in self.parts))

    @property
    def features(self) -> npt.NDArray[np.float32]:
        return np.load(self.folder / "features.npy", mmap_mode="r")

    def part(self, by: str, seed: int, name: str) -> Rows:
        return np.asarray(self.parts[f"{by}-{seed}-{name}"], np.int64)

    def doubts(self, by: str, seed: int, wrong: int) -> Path:
        """Doubt of the pool's labels: `selection_data.py doubt` writes it."""
        return self.folder / f"doubt-{by}-{seed}-{wrong}.npz"

    def pool_labels(self, by: str, seed: int, wrong: int) -> Labels:
        """The pool's labels, `wrong` percent of them false: PASS becomes some defect, a defect PASS."""
        true = self.label[self.part(by, seed, "pool")]
        rng = np.random.default_rng([77, seed])
        kinds = sorted(set(true.tolist()) - {PASS})
        spoiled = rng.permutation(len(true))[: round(len(true) * wrong / 100)]
        labels = true.copy()
        for row in spoiled:
            labels[row] = rng.choice(kinds) if true[row] == PASS else PASS
        return np.asarray(labels)


class Engine(Protocol):
    """Trains on rows of the data with given defect flags and scores rows."""

    def fit(self, rows: Rows, defect: npt.NDArray[np.bool_], seed: int, start: Model | None) -> Model: ...

    def logits(self, model: Model, rows: Rows) -> Scores: ...


class Features:
    """The `features` engine's head on stored feature tables."""

    def __init__(self, data: Data, recipe: str) -> None:
        self.values = data.features

    def fit(self, rows: Rows, defect: npt.NDArray[np.bool_], seed: int, start: Model | None) -> Model:
        from deft_aoi.engine.features import head

        values = self.values[rows]
        begun = head.start_head([f"l{n}" for n in range(values.shape[1])], values, defect)
        if start is not None:
            begun = head.carry_over(start, begun)
        return head.fit(begun, values, defect, epochs=10, cls_weight=(1.0, 10.0))[-1]

    def logits(self, model: Model, rows: Rows) -> Scores:
        return np.asarray(model.logits(self.values[rows]))


class Net:
    """The `net` engine's training loop on stored pixels, without checkpoints and validation."""

    def __init__(self, data: Data, recipe: str) -> None:
        self.data, self.recipe = data, RECIPES[recipe]

    def _table(self, rows: Rows) -> Any:
        from deft_aoi.engine.net.pixels import PixelTable

        index = rows[:, None] * self.data.lights + np.arange(self.data.lights)
        return PixelTable(self.data.folder / "pixels.bin", self.data.stored, index, 0, "")

    def fit(self, rows: Rows, defect: npt.NDArray[np.bool_], seed: int, start: Model | None) -> Model:
        from deft_aoi.engine.net import training
        from deft_aoi.engine.net.facts import NetFacts

        channels, height, width = self.data.stored[2:]
        lights = tuple(f"l{number}" for number in range(self.data.lights))
        facts = NetFacts(lights, width, height, channels, self.recipe.net_width)
        job = training.Job(
            Path(tempfile.gettempdir()), self._table(rows), defect, facts, self.recipe, 10, 16 * self.recipe.images,
            0.2, (1.0, 10.0), seed, start, "benchmark",
        )  # fmt: skip
        trainer = training.Trainer(job)
        for epoch in range(job.epochs):
            trainer.run_epoch(epoch)
        return training.net_weights(trainer.net)

    def logits(self, model: Model, rows: Rows) -> Scores:
        import torch

        from deft_aoi.engine.net import training
        from deft_aoi.engine.net.model import PairNet

        net = PairNet(self.data.stored[2] * self.data.lights, self.recipe.net_width)
        net.load_state_dict({name: torch.from_numpy(value) for name, value in model.items()})
        device = training.device_for(0)
        return training.scored(net.to(device, memory_format=torch.channels_last), self._table(rows), device)


@cache
def opened(folder: Path, engine: str, recipe: str) -> tuple[Data, Engine]:
    data = Data(folder)
    return data, {"features": Features, "net": Net}[engine](data, recipe)


def rates(data: Data, rows: Rows, logits: Scores) -> tuple[float, float, float]:
    swept = sweep(data.label[rows] != PASS, logits)
    return 100 * operating_point(swept, 1.0).far, 100 * operating_point(swept, 0.995).far, 100 * auroc(swept)


def baseline(folder: Path, engine: str, recipe: str, by: str, seed: int, home: Path) -> Point:
    """Train on the seed rows and keep the model in `home`."""
    data, judge = opened(folder, engine, recipe)
    train, kpi = data.part(by, seed, "train"), data.part(by, seed, "kpi")
    model = judge.fit(train, data.label[train] != PASS, 1000 + seed, None)
    np.save(home / f"{by}-{seed}.npy", np.array([model], object), allow_pickle=True)
    return Point(by, seed, "baseline", 0, 0, 0, len(train), *rates(data, kpi, judge.logits(model, kpi)))


def one_cell(folder: Path, engine: str, recipe: str, cell: Cell, seed: int, home: Path) -> list[Point]:
    """Three iterations; each starts from the best model so far, as the loop does."""
    data, judge = opened(folder, engine, recipe)
    train, kpi, pool = (data.part(cell.by, seed, name) for name in ("train", "kpi", "pool"))
    if cell.policy == "all":
        rows = np.concatenate([train, pool])
        trained = judge.fit(rows, data.label[rows] != PASS, 1000 + seed, None)
        reached = rates(data, kpi, judge.logits(trained, kpi))
        return [Point(cell.by, seed, "all", 0, 0, ITERATIONS, len(rows), *reached)]
    model = np.load(home / f"{cell.by}-{seed}.npy", allow_pickle=True)[0]
    return [point for point, _ in iterations(data, judge, cell, seed, model)]


def iterations(
    data: Data, judge: Engine, cell: Cell, seed: int, model: Model, count: int = ITERATIONS
) -> Iterator[tuple[Point, Scores]]:
    """Each iteration's point and its logits of the KPI rows, from the baseline `model`."""
    train, kpi, pool = (data.part(cell.by, seed, name) for name in ("train", "kpi", "pool"))
    labels, true = data.pool_labels(cell.by, seed, cell.wrong), data.label[pool]
    scores = judge.logits(model, kpi)
    best = rates(data, kpi, scores)
    looks = scale_of(data.embedding[pool])(data.embedding[pool])
    stock = Stock(labels, np.ones(len(pool), bool), data.board[pool], looks)
    used: list[int] = []
    reviewed = 0
    for number in range(1, count + 1):
        picks, review = choose(data, judge, model, scores, cell, seed, number, stock, used)
        reviewed += len(review)
        used += [pick.row for pick in picks]
        stock.free[[pick.row for pick in (*picks, *review)]] = False
        rows = np.concatenate([train, pool[used]])
        defect = np.concatenate([data.label[train] != PASS, labels[used] != PASS])
        trained = judge.fit(rows, defect, 1000 + seed, model)
        logits = judge.logits(trained, kpi)
        reached = rates(data, kpi, logits)
        wrong = int(((labels[used] == PASS) != (true[used] == PASS)).sum())
        yield (
            Point(cell.by, seed, cell.policy, cell.budget, cell.wrong, number, len(rows), *reached, wrong, reviewed),
            logits,
        )
        if reached[:2] < best[:2]:
            model, scores, best = trained, logits, reached


def choose(
    data: Data, judge: Engine, model: Model, kpi_scores: Scores, cell: Cell, seed: int, number: int, stock: Stock,
    used: list[int],
) -> tuple[list[Pick], list[Pick]]:  # fmt: skip
    """(picks, picks kept out for their suspect label) of the cell's policy."""
    limits = Limits(cell.budget, 5, FLOOR)
    kpi, pool = data.part(cell.by, seed, "kpi"), data.part(cell.by, seed, "pool")
    name, screen, _ = cell.policy.partition("+screen")
    policy: Callable[[Stock, Limits], list[Pick]]
    if name.startswith("random"):
        chosen = select.random_balanced if name == "random-balanced" else select.random_rows
        policy = partial(chosen, seed=1000 * seed + number)
    elif name.startswith("knn"):
        weak = weak_rows(data.label[kpi], kpi_scores)
        asked = list(data.label[kpi[weak]])
        near = neighbours(
            data.embedding[kpi[weak]], asked, data.embedding[pool], stock.labels, stock.free, DEPTH,
            same_label=name == "knn+label",
        )  # fmt: skip
        chosen_knn = select.knn_label if name == "knn+label" else select.knn
        policy = partial(chosen_knn, asked, near)
    else:
        scores = np.full(len(pool), np.nan)
        free = np.flatnonzero(stock.free)
        scores[free] = judge.logits(model, pool[free])
        if name == "uncertain":
            threshold = float(kpi_scores[data.label[kpi] != PASS].min())
            policy = partial(select.uncertain, scores, threshold)
        elif name == "weakness+rca":
            policy = partial(steered, scores, forced(data, judge, model, cell, seed))
        else:
            ways = {"weakness": select.weakness, "weakness+diverse": select.weakness_diverse}
            policy = partial(ways[name], scores)
    if not screen:
        return policy(stock, limits), []
    doubt = np.load(data.doubts(cell.by, seed, cell.wrong))
    doubtful = too_doubtful(doubt["doubt"], doubt["likely"])
    review = [pick for pick in policy(stock, limits) if doubtful[pick.row]]
    return policy(replace(stock, free=stock.free & ~doubtful), limits), review


def forced(data: Data, judge: Engine, model: Model, cell: Cell, seed: int) -> dict[str, float]:
    """For each defect label of the validation rows the false alarm rate that keeping all of its rows would cost."""
    rows = data.part(cell.by, seed, "validation")
    labels, scores = data.label[rows], judge.logits(model, rows)
    passes = scores[labels == PASS]
    return {
        str(name): float((passes >= scores[labels == name].min()).mean()) for name in np.unique(labels[labels != PASS])
    }


def steered(scores: Scores, forces: dict[str, float], stock: Stock, limits: Limits) -> list[Pick]:
    """`weakness`, the defects' half shared by what each label costs on the validation rows."""
    whole, half = sum(forces.values()), limits.rows - limits.rows // 2
    free, picks = stock.free.copy(), list[Pick]()

    def take(rows: npt.NDArray[np.bool_], count: int) -> None:
        picks.extend(select.weakness(scores, replace(stock, free=free & rows), replace(limits, rows=count)))
        free[[pick.row for pick in picks]] = False

    for name, force in sorted(forces.items(), key=lambda one: -one[1]):
        if share := min(round(half * force / whole) if whole else 0, half - len(picks)):
            take(stock.labels == name, share)
    take(stock.labels != PASS, half - len(picks))  # what labels could not fill goes to the weakest of all
    take(stock.labels == PASS, limits.rows - len(picks))
    return picks


def too_doubtful(doubt: npt.NDArray[np.floating[Any]], likely: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Rows that the screening of version 0.1 withheld: the 1.5 n most suspicious for n errors of confident learning.
    `doubt` (n,) is the probability that a label is wrong, NaN where nobody judged it."""
    doubt = np.where(np.isnan(doubt), 0.0, doubt)
    count = min(math.ceil(1.5 * int(likely.sum())), int((doubt > 0.5).sum()))
    out = np.zeros(len(doubt), bool)
    out[np.argsort(-doubt, kind="stable")[:count]] = True
    return out


def weak_rows(labels: Labels, scores: Scores) -> Rows:
    """Of each label the rows that gap analysis calls weakest, weakest first."""
    wrong = np.where(labels == PASS, scores, -scores)
    order = np.argsort(-wrong, kind="stable")
    return np.concatenate([order[labels[order] == name][:WEAK_OF_A_LABEL] for name in np.unique(labels)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--engine", choices=("net", "features"), required=True)
    parser.add_argument("--recipe", choices=RECIPES, default="gpu", help="of the net engine")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cells", default=":", help="FIRST:LAST of the grid (default: all)")
    parser.add_argument("--only", help="these policies alone")
    parser.add_argument("--models", type=Path, help="where baselines are kept (default: next to the output)")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no cell after so many")
    args = parser.parse_args()
    first, _, last = args.cells.partition(":")
    data = Data(args.data)
    cells = grid(data.splits)[int(first or 0) : int(last) if last else None]
    cells = [cell for cell in cells if not args.only or cell.policy in args.only.split(",")]
    deadline = time.monotonic() + 60 * args.minutes
    before = [Point(**json.loads(line)) for line in args.out.read_text().splitlines()] if args.out.is_file() else []
    done = {(Cell(p.by, p.policy, p.budget, p.wrong), p.seed) for p in before if p.iteration == ITERATIONS}
    models = args.models or args.out.with_suffix(f".{args.engine}-{args.recipe}")
    models.mkdir(parents=True, exist_ok=True)
    what = (args.data, args.engine, args.recipe)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(args.at_once, get_context("spawn")) as workers:
        for by in dict.fromkeys(cell.by for cell in cells):
            missing = [seed for seed in range(args.seeds) if not (models / f"{by}-{seed}.npy").is_file()]
            write(args.out, [workers.submit(baseline, *what, by, seed, models) for seed in missing])
        todo = [(cell, seed) for cell in cells for seed in range(args.seeds) if (cell, seed) not in done]
        blind = [t for t in todo if "+screen" in t[0].policy and not data.doubts(t[0].by, t[1], t[0].wrong).is_file()]
        if blind:
            print(f"{len(blind)} cells left out: no doubt-*.npz; type selection_data.py doubt", file=sys.stderr)
            todo = [task for task in todo if task not in blind]
        waiting = [workers.submit(in_time, deadline, *what, cell, seed, models) for cell, seed in todo]
        write(args.out, waiting)


def in_time(deadline: float, *task: Any) -> list[Point]:
    return one_cell(*task) if time.monotonic() < deadline else []


def write(path: Path, waiting: Sequence[Future[Any]]) -> None:
    """Append every point as it comes."""
    for future in as_completed(waiting):
        result = future.result()
        with open(path, "a", encoding="utf-8") as stream:
            for point in result if isinstance(result, list) else [result]:
                stream.write(json.dumps(asdict(point)) + "\n")


if __name__ == "__main__":
    main()
