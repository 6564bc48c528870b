"""Rows chosen by knn beside random ones of equal number, judged by the net engine; the loop's analysis.

  python benchmarks/net_selection.py --deeppcb DIR [--split-by board] [--seeds 5] [--at-once 5] [--out FILE]
A seed is another split of the boards and another training seed. Gap analysis, neighbours and picks are the loop's
functions with its defaults, an iteration starts from the best model so far; only the last checkpoint of a training is
judged, where the loop also tries the best validated one. Prints a Markdown table as seeds finish.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from deft_aoi.contracts import SCORE, read_pool, read_rows
from deft_aoi.data.import_deeppcb import import_deeppcb
from deft_aoi.engine.embedding import embed
from deft_aoi.engine.features import classical_scores
from deft_aoi.engine.head import probabilities
from deft_aoi.experiment import Optics
from deft_aoi.mining.embed import light_files, unit
from deft_aoi.mining.index import same_label_neighbours
from deft_aoi.mining.select import Limits, knn, random_rows
from deft_aoi.paths import Workspace
from deft_aoi.stages.rca import weak_samples
from loops import Point, paired, save, table

ITERATIONS = 3
LIMITS = Limits(190, 5, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deeppcb", type=Path, required=True)
    parser.add_argument("--split-by", choices=("board", "group"), default="board")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=5, help="seeds that share the GPU")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found: list[Point] = []
    # A process that holds a GPU must be started afresh, not forked.
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(args.at_once, get_context("spawn")) as workers:
        os.environ.setdefault("DEFT_CACHE_DIR", f"{scratch}/cache")
        waiting = [
            workers.submit(one_seed, args.deeppcb, args.split_by, seed, Path(scratch) / f"{args.split_by}{seed}")
            for seed in range(args.seeds)
        ]
        for future in as_completed(waiting):
            found = sorted([*found, *future.result()], key=lambda point: (point.arm, point.seed, point.label))
            if args.out:
                save(args.out, found)
            seeds = len({point.seed for point in found})
            print(f"\nDeepPCB by {args.split_by}, {seeds} seeds\n\n{table(found)}", flush=True)
    print(f"\n{paired(found, 'knn', 'random', f'iter{ITERATIONS}')}")


def one_seed(deeppcb: Path, split_by: str, seed: int, root: Path) -> list[Point]:
    """Baseline, three iterations of each arm, and the classical baseline on one split."""
    from net_common import fit, judge, net_train, rates, read_parts

    import_deeppcb(deeppcb, root, split_by=split_by, seed=seed)
    parts, view = read_parts(root)
    home = Workspace.at(root)
    kpi = read_rows(home.kpi_csv)
    classical = rates(parts["kpi"].defect, classical_scores(kpi, home.images, view))
    found = [Point("any", seed, "classical", 0, classical.far, classical.far_995, classical.auroc / 100)]
    base = fit(parts["train"], view, seed=1000 + seed)
    base_rates = judge(base.net, parts["kpi"])
    pool = read_pool(home.pool_csv, home.root, view.lights, view.ext)
    vectors = {"pool": vectors_of(pool, home.root, view), "kpi": vectors_of(kpi, home.images, view)}
    for arm in ("knn", "random"):
        used: list[int] = []
        net, best = base.net, base_rates
        found.append(Point(arm, seed, "baseline", 250, best.far, best.far_995, best.auroc / 100))
        for number in range(1, ITERATIONS + 1):
            if arm == "knn":
                logits = net_train.scored(net, parts["kpi"].table, next(net.parameters()).device)
                used += choose(kpi, logits, pool, vectors, used)
            else:
                used += [pick.row for pick in random_rows(len(pool), used, LIMITS, 1000 + seed + number)]
            rows = parts["train"].plus(parts["pool"].only(np.array(used)))
            done = fit(rows, view, seed=1000 + seed, initial=net_train.net_weights(net))
            reached = judge(done.net, parts["kpi"])
            count = len(rows.defect)
            found.append(Point(arm, seed, f"iter{number}", count, reached.far, reached.far_995, reached.auroc / 100))
            if (reached.far, reached.far_995) < (best.far, best.far_995):
                net, best = done.net, reached
    return found


def vectors_of(rows: pd.DataFrame, root: Path, view: Optics) -> np.ndarray:
    """Unit image embeddings of one light."""
    found = embed(light_files(rows, root, view)[0])
    return unit(np.stack([vector for vector in found if vector is not None]))


def choose(
    kpi: pd.DataFrame, logits: np.ndarray, pool: pd.DataFrame, vectors: dict[str, np.ndarray], used: list[int]
) -> list[int]:
    """Pool rows like the weak samples, by the loop's own functions."""
    scored = kpi.assign(**{SCORE: probabilities(logits).astype(np.float32).astype(float)})
    _, weak = weak_samples(scored, 1.0, 50)
    weak = weak.sort_values("weakness", ascending=False, kind="stable")
    labels, stock = list(weak["label"]), list(pool["label"])
    asked = vectors["kpi"][weak.index.to_numpy()]
    near = same_label_neighbours(asked, labels, vectors["pool"], stock, used, 200)
    return [pick.row for pick in knn(labels, stock, near, used, LIMITS)]


if __name__ == "__main__":
    main()
