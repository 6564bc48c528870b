"""Variants of the net engine's patches side by side, on designs that no training row shows and on those that it does.

  PYTHONPATH=scripts python benchmarks/unseen.py DATA --out points.jsonl --variants one,two [--splits group50600,...]
      [--seeds 0:3] [--iterations 3] [--budget 60] [--wrong 0,1] [--at-once 4] [--minutes M]
DATA is a folder of selection_data.py (`designs`: one design left out at a time). Each task trains a baseline and goes
on with rows by `weakness`, screened where labels are wrong. Variants: none | one (a twelfth of a batch is patched, the
test alone: what shipped before) | two, two6, two4, two38 (half of the patches in the golden; a twelfth, a sixth, a
quarter (ships), three eighths of a batch) | shift1 (two4, golden moved by 1 pixel at most) | small (two4, half as wide,
a twelfth of the pairs). A point holds the defect that decides FAR@100 % and its number of false
calls. `table` instead of DATA prints means, medians and the largest of the points in --out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft_aoi.engine.net.recipe import ON_GPU, Recipe
from selection import PASS, RECIPES, Cell, Data, Net, Point, Rows, Scores, iterations, rates

VARIANTS: dict[str, Recipe] = {
    "none": RECIPES["plain"],
    "one": replace(ON_GPU, pasted_share=1 / 12, golden_share=0.0),
    "two": replace(ON_GPU, pasted_share=1 / 12),
    "two6": replace(ON_GPU, pasted_share=1 / 6),
    "two4": ON_GPU,
    "two38": replace(ON_GPU, pasted_share=3 / 8),
    "shift1": replace(ON_GPU, shift=1),
    "small": RECIPES["small"],
}


@dataclass(frozen=True)
class Task:
    """One seed of one variant: a baseline and, for each cell, what comes after it."""

    variant: str
    by: str
    seed: int
    cells: tuple[Cell, ...]
    iterations: int


@cache
def opened(folder: Path) -> Data:
    return Data(folder)


def run(folder: Path, task: Task, deadline: float) -> list[dict[str, Any]]:
    """Points of a task, as far as the time allows."""
    if time.monotonic() > deadline:
        return []
    began = time.monotonic()
    data = opened(folder)
    judge = Net(data, "gpu")
    judge.recipe = VARIANTS[task.variant]
    train, kpi = data.part(task.by, task.seed, "train"), data.part(task.by, task.seed, "kpi")
    model = judge.fit(train, data.label[train] != PASS, 1000 + task.seed, None)
    logits = judge.logits(model, kpi)
    first = Point(task.by, task.seed, "baseline", 0, 0, 0, len(train), *rates(data, kpi, logits))
    found = [(first, logits)]
    for cell in task.cells:
        found += iterations(data, judge, cell, task.seed, model, task.iterations)
    seconds = time.monotonic() - began
    return [described(data, kpi, task.variant, *each, seconds) for each in found]


def described(data: Data, kpi: Rows, variant: str, point: Point, logits: Scores, seconds: float) -> dict[str, Any]:
    """A point with the defect that decides it."""
    defect = data.label[kpi] != PASS
    lowest = int(np.flatnonzero(defect)[np.argmin(logits[defect])])
    false = np.flatnonzero(~defect & (logits >= logits[lowest]))
    top = false[np.argsort(-logits[false])][:4]
    setter = {"row": int(kpi[lowest]), "label": str(data.label[kpi[lowest]]), "board": str(data.board[kpi[lowest]])}
    lows = np.sort(logits[defect])[:3].round(3).tolist()
    more = {"setter": setter, "false_calls": len(false), "top": kpi[top].tolist(), "lowest": lows,
            "defects": int(defect.sum()), "passes": int((~defect).sum()), "seconds": round(seconds, 1)}  # fmt: skip
    return {"variant": variant, **asdict(point), **more}


def take_gpu(numbers: Any) -> None:
    """Each worker has one GPU to itself or shares it with others."""
    os.environ["CUDA_VISIBLE_DEVICES"] = str(numbers.get())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variants", default="two")
    parser.add_argument("--splits", help="default: all")
    parser.add_argument("--seeds", default="0:3", help="FIRST:LAST")
    parser.add_argument("--iterations", type=int, default=3, help="0: the baseline alone")
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--wrong", default="0", help="percents of wrong pool labels, screened where not 0")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=4, help="trainings that share a GPU")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no training after so many")
    args = parser.parse_args()
    if args.data == "table":
        print("\n".join(table([json.loads(line) for line in args.out.read_text().splitlines()])))
        return
    folder, variants = Path(args.data), args.variants.split(",")
    splits = args.splits.split(",") if args.splits else Data(folder).splits
    first, last = map(int, args.seeds.split(":"))
    tasks = []
    for variant in variants:
        for by in splits:
            for seed in range(first, last):
                policies = [(f"weakness{'+screen' * (wrong > 0)}", wrong) for wrong in map(int, args.wrong.split(","))]
                cells = tuple(Cell(by, name, args.budget, wrong) for name, wrong in policies) if args.iterations else ()
                tasks.append(Task(variant, by, seed, cells, args.iterations))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    deadline, context = time.monotonic() + 60 * args.minutes, get_context("spawn")
    numbers = context.Queue()
    workers = args.gpus * args.at_once
    for number in range(workers):
        numbers.put(number % args.gpus)
    with ProcessPoolExecutor(workers, context, take_gpu, (numbers,)) as pool, open(args.out, "a") as stream:
        for done in as_completed([pool.submit(run, folder, task, deadline) for task in tasks]):
            for line in done.result():
                stream.write(json.dumps(line) + "\n")
            stream.flush()


def table(points: list[dict[str, Any]]) -> Iterator[str]:
    """Mean, median and largest FAR@100 % over splits and seeds, of the baseline and after the last iteration."""
    heads = ("variant", "rows by", "wrong", "iteration", "n", "FAR@100 % mean, median, largest", "by split",
             "FAR@99.5 %", "AUROC")  # fmt: skip
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    groups: dict[tuple[str, str, int, int], list[dict[str, Any]]] = defaultdict(list)
    for point in points:
        groups[point["variant"], point["policy"], point["wrong"], point["iteration"]].append(point)
    for key, some in groups.items():
        far = [point["far_pct"] for point in some]
        splits: dict[str, list[float]] = defaultdict(list)
        for point in some:
            splits[point["by"]].append(point["far_pct"])
        by = " ".join(f"{name} {statistics.mean(values):.2f}" for name, values in sorted(splits.items()))
        far_995, area = (statistics.mean(point[name] for point in some) for name in ("far_995_pct", "auroc"))
        middle = f"{statistics.mean(far):.2f}, {statistics.median(far):.2f}, {max(far):.2f}"
        yield f"| {' | '.join(map(str, key))} | {len(far)} | {middle} | {by} | {far_995:.2f} | {area:.3f} |"


if __name__ == "__main__":
    sys.exit(main())
