"""How often a verdict is PASS although the target is missed, over simulated lines.

From the repository's folder:
  PYTHONPATH=scripts python benchmarks/verdicts.py [--lines 2000] [--seed 0]

Each line is the worst case: its true rate is exactly the limit that the target forbids, so that every PASS is false.
Parts of a board are alike by an intra-board correlation: the rate of a board is drawn from a beta distribution, or is
zero on most boards and high on a few ("few bad boards"). The verdict is the project's own, on a sealed set whose
threshold was frozen before. A second table lets a loop look at the KPI set several times with models that are all the
same, takes the best, and opens a sealed set for it: there the KPI set's own verdict is shown too.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from deft_aoi.kpi.boards import board_counts, halves, resample
from deft_aoi.kpi.bounds import Tally
from deft_aoi.kpi.gate import judge
from deft_aoi.kpi.scored import Groups
from deft_aoi.kpi.target import parse_target

Ints = NDArray[np.int64]
BOARDS = ((6, 500), (12, 250), (20, 150), (60, 50), (150, 20), (150, 200))
ALIKE = (0.0, 0.02, 0.1)
LOOKS = (1, 4, 12, 22)


@dataclass(frozen=True)
class Case:
    """A target, and of a line that just misses it the rate of false calls and of escapes."""

    target: str
    far: float
    escape: float


CASES = (
    Case("FAR < 0.1% at recall = 100%", 0.001, 0.0),
    Case("FAR < 2% at recall = 100%", 0.02, 0.0),
    Case("FAR < 5% at recall = 100%", 0.001, 0.05),
    Case("FAR <= 2% at recall >= 99.5%", 0.02, 0.0),
    Case("FAR <= 2% at recall >= 99.5%", 0.0, 0.005),
    Case("FAR < 30% at recall >= 90%", 0.3, 0.0),
)


def drawn(
    generator: np.random.Generator, lines: int, sizes: Ints, rate: float, alike: float, *, bad: bool = False
) -> Ints:
    """(lines, boards) events on boards of `sizes` rows whose parts have an intra-board correlation of `alike`."""
    shape = (lines, sizes.size)
    if rate == 0 or alike == 0:
        return np.asarray(generator.binomial(sizes, rate, shape))
    if bad:
        high = alike * (1 - rate) + rate
        rates = np.where(generator.random(shape) < rate / high, high, 0.0)
    else:
        spread = 1 / alike - 1
        rates = generator.beta(rate * spread, (1 - rate) * spread, shape)
    return np.asarray(generator.binomial(sizes, rates))


def passed(target: str, n_pass: Ints, calls: Ints, n_defect: Ints, misses: Ints, *, sealed: bool = True) -> bool:
    """Whether the verdict on counts by board, each (b,), is PASS."""
    sums = {"far": Tally.of(n_pass, calls), "escape": Tally.of(n_defect, misses)}
    by_board: dict[str, Any] = {name: asdict(tally) for name, tally in sums.items()}
    counts = (sums["far"].events, sums["far"].rows, sums["escape"].events, sums["escape"].rows)
    return judge(parse_target(target), *counts, by_board=by_board, sealed=sealed).status == "PASS"


def false_pass(case: Case, boards: int, rows: int, alike: float, kind: str, lines: int, seed: int) -> float:
    """Share of lines with the verdict PASS. A tenth as many defects as PASS rows; `unequal`: boards of any size."""
    generator = np.random.default_rng(seed)
    sizes = np.full(boards, rows)
    if kind == "unequal boards":
        sizes = 1 + generator.integers(0, 2 * rows, boards)
    defects = np.maximum(sizes // 10, 1)
    bad = kind == "few bad boards"
    calls = drawn(generator, lines, sizes, case.far, alike, bad=bad)
    misses = drawn(generator, lines, defects, case.escape, alike, bad=bad)
    return float(np.mean([passed(case.target, sizes, *both) for both in _pairs(calls, defects, misses)]))


def _pairs(calls: Ints, defects: Ints, misses: Ints) -> list[tuple[Ints, Ints, Ints]]:
    return [(calls[n], defects, misses[n]) for n in range(len(calls))]


@dataclass(frozen=True)
class Looked:
    """Shares of lines: verdict PASS on the KPI set, on the sealed set, and there although the line misses it."""

    kpi: float
    sealed: float
    false: float


def looked(looks: int, alike: float, apart: float, limit: float, lines: int, seed: int) -> Looked:
    """A loop of `looks` models that are all as good as each other: the one of lowest FAR at recall 100 % on the KPI set
    is opened for. Scores are normal with a common part of each board; defects lie `apart` deviations higher."""
    generator = np.random.default_rng(seed)
    boards, rows, defects = 60, 50, 3
    target = f"FAR < {100 * limit:g}% at recall = 100%"
    sizes, kinds = np.full(boards, rows), np.full(boards, defects)
    found = np.zeros((lines, 3), bool)
    for line in range(lines):
        kpi = _scores(generator, looks, boards, rows + defects, alike)
        kpi[:, :, rows:] += apart
        lowest = kpi[:, :, rows:].min((1, 2))
        calls = (kpi[:, :, :rows] >= lowest[:, None, None]).sum(2)
        best = int(calls.sum(1).argmin())
        threshold = float(np.nextafter(lowest[best], -np.inf))
        sealed = _scores(generator, 1, boards, rows + defects, alike)[0]
        sealed[:, rows:] += apart
        found[line, 0] = passed(target, sizes, calls[best], kinds, np.zeros(boards, np.int64), sealed=False)
        found[line, 1] = passed(
            target, sizes, (sealed[:, :rows] > threshold).sum(1), kinds, (sealed[:, rows:] <= threshold).sum(1)
        )
        truth = norm.sf(threshold) >= limit or norm.cdf(threshold - apart) > 0.05
        found[line, 2] = found[line, 1] and truth
    return Looked(*(float(share) for share in found.mean(0)))


def _scores(generator: np.random.Generator, looks: int, boards: int, rows: int, alike: float) -> NDArray[np.float64]:
    """(looks, boards, rows) of unit variance; boards and, by half, parts keep their luck from look to look."""
    common = generator.normal(size=(1, boards, 1)) * np.sqrt(alike)
    own = generator.normal(size=(1, boards, rows)) * np.sqrt((1 - alike) / 2)
    return np.asarray(common + own + generator.normal(size=(looks, boards, rows)) * np.sqrt((1 - alike) / 2))


def told_apart(boards: int, rows: int, defects: int, lines: int, seed: int) -> float:
    """Share of pairs of equal models whose 95 % span of the difference of FAR at recall 100 % leaves zero out."""
    generator = np.random.default_rng(seed)
    code = np.repeat(np.arange(boards), rows + defects)
    defect = np.tile(np.arange(rows + defects) >= rows, boards)
    groups, drawn = Groups("boardname", code, tuple(map(str, range(boards)))), halves(boards, seed)
    apart = 0
    for _ in range(lines):
        common = generator.normal(0, 0.9, code.size) + 4.5 * defect + generator.normal(0, 0.3, boards)[code]
        scores = [common + generator.normal(0, 0.45, code.size) for _ in range(2)]
        far = [resample(board_counts(groups, defect, score, 0.0), drawn).far_full for score in scores]
        low, high = np.nanpercentile(far[1] - far[0], [2.5, 97.5])
        apart += low > 0 or high < 0
    return apart / lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=2000, help="simulated lines for each figure")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    kinds = ("beta", "few bad boards", "unequal boards")
    print(f"PASS although false, % of {args.lines} lines (at most 5): worst of beta, few bad boards, unequal boards\n")
    heads = [f"{boards} x {rows}" for boards, rows in BOARDS]
    print(f"| target | true FAR | true escapes | correlation | {' | '.join(heads)} |")
    print("|---" * (4 + len(BOARDS)) + "|")
    for case in CASES:
        for alike in ALIKE:
            worst = [
                max(false_pass(case, *size, alike, kind, args.lines, args.seed) for kind in kinds) for size in BOARDS
            ]
            cells = " | ".join(f"{100 * share:.1f}" for share in worst)
            print(
                f"| {case.target} | {100 * case.far:g} % | {100 * case.escape:g} % | {alike:g} | {cells} |", flush=True
            )
    print(
        "\nOne loop, several looks at a KPI set of 60 boards x 50 PASS rows, then a sealed set of the same size, %:\n"
    )
    print("| limit of FAR | correlation | looks | PASS on the KPI set | PASS on the sealed set | of these false |")
    print("|---|---|---|---|---|---|")
    for limit, apart in ((0.05, 4.6), (0.02, 5.0)):
        for alike in ALIKE:
            for looks in LOOKS:
                one = looked(looks, alike, apart, limit, args.lines, args.seed)
                shares = f"{100 * one.kpi:.1f} | {100 * one.sealed:.1f} | {100 * one.false:.1f}"
                print(f"| {100 * limit:g} % | {alike:g} | {looks} | {shares} |", flush=True)
    pairs = args.lines // 4
    print(f"\nTwo equal models distinguished by the comparison with the best model, % of {pairs} pairs (5 are due):\n")
    print("| boards x PASS rows + defects | distinguished |\n|---|---|")
    for boards, rows, defects in ((20, 50, 3), (60, 50, 3), (150, 20, 1)):
        share = told_apart(boards, rows, defects, pairs, args.seed)
        print(f"| {boards} x {rows} + {defects} | {100 * share:.1f} |", flush=True)


if __name__ == "__main__":
    main()
