"""Where more rows of each defect type can come from, and how many the next mining may bring, before any embedding."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deft_aoi.base.rows import PASS

MINING, ANOMALYGEN = "mining", "anomalygen"


@dataclass(frozen=True)
class Coverage:
    """One label: its weak samples, rows it has in training, unused rows in the pool (real and synthetic), whether
    AnomalyGen makes it, where it is sent, and its share of the rows that mining can bring in one iteration."""

    label: str
    weak: int
    training: int
    pool: int
    synthetic: int
    generated: bool
    goes_to: tuple[str, ...]
    forecast: int
    reason: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"goes_to": list(self.goes_to)}


@dataclass(frozen=True)
class Budget:
    """What bounds one mining: the policy, rows in all, rows for each weak sample."""

    policy: str
    rows: int
    per_target: int


def coverage(
    weak: Mapping[str, int], training: Mapping[str, int], pool: Mapping[str, int], synthetic: Mapping[str, int],
    generated: Collection[str], routes: Mapping[str, Collection[str]], budget: Budget,
) -> list[Coverage]:  # fmt: skip
    """One entry for each label of `weak`, PASS first. Counts are compared without case; `pool` and `synthetic` count
    rows that no earlier iteration took; `routes` maps `mining` and `anomalygen` to the labels sent there."""
    stock = {name: _folded(counts) for name, counts in (("pool", pool), ("synthetic", synthetic), ("train", training))}
    made = {name.casefold() for name in generated}
    labels = sorted(weak, key=lambda name: (name != PASS, name))
    free = {name: sum(stock[kind].get(name.casefold(), 0) for kind in ("pool", "synthetic")) for name in labels}
    mined = {name: free[name] for name in routes[MINING] if name in free}
    forecasts = forecast(mined, weak, budget, sum(pool.values()) + sum(synthetic.values()))
    found = []
    for name in labels:
        key, goes = name.casefold(), tuple(where for where in (MINING, ANOMALYGEN) if name in routes[where])
        pool_rows, synthetic_rows = stock["pool"].get(key, 0), stock["synthetic"].get(key, 0)
        rows = (weak[name], stock["train"].get(key, 0), pool_rows, synthetic_rows)
        expected = forecasts.get(name, 0)
        found.append(Coverage(name, *rows, key in made, goes, expected, _why(name, goes, free[name], expected, budget)))
    return found


def forecast(free: Mapping[str, int], weak: Mapping[str, int], budget: Budget, pool_rows: int) -> dict[str, int]:
    """Share of each label in what one mining can bring: the budget is shared as the policies share it (half PASS,
    half defects, these equally), and what a label cannot fill goes to the others. The sum is an upper bound; a label
    may get more where a similarity floor leaves rows of another out.

    k-NN takes at most `per_target` rows for each weak sample; `random` takes labels as the pool has them. No image is
    looked at, so a similarity floor or a score can only lower it.
    """
    if budget.policy == "random":
        rows = min(budget.rows, pool_rows)
        return {name: min(count, round(rows * count / max(pool_rows, 1))) for name, count in free.items()}
    reach = dict(free)
    if budget.policy.startswith("knn"):
        reach = {name: min(count, budget.per_target * weak.get(name, 0)) for name, count in free.items()}
    given = dict.fromkeys(reach, 0)
    left = budget.rows
    while left > 0 and (open_ := [name for name in reach if given[name] < reach[name]]):
        defects = [name for name in open_ if name != PASS]
        halves = {PASS: left - left // 2, **dict.fromkeys(defects, left // 2 // max(len(defects), 1))}
        if PASS not in open_ or not defects or left < budget.rows:  # what is left over is shared equally
            halves = dict.fromkeys(open_, left // len(open_))
        before = left
        for name in open_:
            more = min(halves[name], reach[name] - given[name])
            given[name] += more
            left -= more
        if left == before:  # fewer rows left than labels: one each, in order
            for name in open_[:left]:
                given[name] += 1
            left = 0
    return given


def _why(name: str, goes: tuple[str, ...], free: int, expected: int, budget: Budget) -> str:
    if not goes:
        return "dropped: not in the pool, and AnomalyGen does not make it: collect such samples"
    if MINING not in goes:
        return "generated only: not in the pool"
    if free == 0:
        return "no unused pool row is left"
    return "the pool is the limit" if expected == free else "the budget is the limit"


def table(entries: Collection[Coverage]) -> list[str]:
    """Lines with a header, as `routing_summary.txt` has them."""
    names = "label, weak samples, training rows, unused pool rows, synthetic, AnomalyGen, goes to, forecast, why"
    lines = [names.replace(", ", " | ")]
    for one in entries:
        made = "makes it" if one.generated else "-"
        lines.append(
            f"{one.label} | {one.weak} | {one.training} | {one.pool} | {one.synthetic} | {made} | "
            f"{' + '.join(one.goes_to) or 'dropped'} | {one.forecast} | {one.reason}"
        )
    return lines


def _folded(counts: Mapping[str, int]) -> dict[str, int]:
    folded: dict[str, int] = {}
    for name, count in counts.items():
        folded[name.casefold()] = folded.get(name.casefold(), 0) + int(count)
    return folded
