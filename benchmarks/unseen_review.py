"""REVIEW on designs that training never saw: escapes and review share by score band and by distance from training.

  PYTHONPATH=scripts python benchmarks/unseen_review.py DATA [--splits group12100,...] [--seeds 0:3]
DATA is a folder of `selection_data.py designs`, with features. The engine is `features`, trained on the 250 seed rows.
Its threshold has full recall on the validation rows: boards of designs that training knows. The KPI rows show the
design that was left out. A row is in the score band of `deft score`, or far from training where its distance to the
nearest training row exceeds a quantile of the distances of validation PASS rows. Two distances: 1 - cosine of
embeddings, and Euclidean between standardised inputs of the head.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft_aoi.engine.features.head import columns
from deft_aoi.kpi.reuse import NO_PASS, REVIEW, REVIEW_SHARE, decide, reference_of, review_band
from selection import PASS, Data, Features, Rows

Reals = npt.NDArray[np.floating[Any]]
QUANTILES = (0.98, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--splits", help="default: all")
    parser.add_argument("--seeds", default="0:3", help="FIRST:LAST")
    args = parser.parse_args()
    data = Data(args.data)
    splits = args.splits.split(",") if args.splits else data.splits
    pairs = list(itertools.product(splits, range(*map(int, args.seeds.split(":")))))
    sums: dict[tuple[str, float], list[int]] = {}
    for split, seed in pairs:
        for name, counts in one(data, split, seed):
            sums[name] = [sum(pair) for pair in zip(sums.get(name, [0] * 5), counts, strict=True)]
    print("| far from training by | score band | escapes | PASS rows to REVIEW % | false calls % |")
    print("|---|---|---|---|---|")
    for (way, share), (escapes, defects, reviewed, false, passes) in sums.items():
        rates = f"{100 * reviewed / passes:.2f} | {100 * false / passes:.2f}"
        print(f"| {way} | {f'{100 * share:.0f} %' if share else 'off'} | {escapes} of {defects} | {rates} |")


def one(data: Data, split: str, seed: int) -> Iterator[tuple[tuple[str, float], list[int]]]:
    """Escapes, defects, reviewed PASS rows, false calls and PASS rows of each way on one design."""
    train, known, new = (data.part(split, seed, name) for name in ("train", "validation", "kpi"))
    bad = data.label != PASS
    judge = Features(data, "")
    model = judge.fit(train, bad[train], 1000 + seed, None)
    before, after = judge.logits(model, known), judge.logits(model, new)
    threshold = float(np.nextafter(before[bad[known]].min(), -np.inf))
    scored: Any = SimpleNamespace(score=before, defect=bad[known], components=None)
    reference = reference_of(scored, threshold)
    for share, (way, far) in itertools.product((0.0, REVIEW_SHARE), distant(data, train, known, new).items()):
        decision = np.where(far, REVIEW, decide(after, threshold, review_band(reference, share)))
        passes = ~bad[new]
        counts = [((decision == PASS) & ~passes).sum(), (~passes).sum(), ((decision == REVIEW) & passes).sum(),
                  ((decision == NO_PASS) & passes).sum(), passes.sum()]  # fmt: skip
        yield (way, share), [int(count) for count in counts]


def distant(data: Data, train: Rows, known: Rows, new: Rows) -> dict[str, npt.NDArray[np.bool_]]:
    """Which of the new rows each measure calls far from training."""
    found = {"nothing": np.zeros(len(new), bool)}
    inputs = columns(np.asarray(data.features[np.concatenate([train, known, new])])).astype(np.float64)
    own = inputs[: len(train)]
    inputs = (inputs - own.mean(0)) / (own.std(0) + 1e-9)
    tables = {
        "embedding": [data.embedding[rows] for rows in (train, known, new)],
        "inputs of the head": np.split(inputs, [len(train), len(train) + len(known)]),
    }
    good = data.label[known] == PASS
    for name, (own, before, after) in tables.items():
        usual, now = nearest(before[good], own), nearest(after, own)
        for quantile in QUANTILES:
            found[f"{name}, beyond {100 * quantile:.0f} % of PASS rows"] = now > np.quantile(usual, quantile)
    return found


def nearest(rows: Reals, others: Reals) -> Reals:
    """(n,) squared Euclidean distance to the nearest of the others; of unit vectors, twice 1 - cosine."""
    squares = (rows**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2 * rows @ others.T
    return np.asarray(squares.min(1))


if __name__ == "__main__":
    main()
