"""What the loop benchmarks share: run whole loops side by side on one workspace and tabulate them."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import COMPLETE
from deft_aoi.executors.local import LocalExecutor
from deft_aoi.loop import driver
from deft_aoi.preflight import preflight
from deft_aoi.record import journal

NEVER_MET = "FAR <= 0% at recall = 100%"
EVERYTHING = 1_000_000
HEADER = "| rows by | model | rows | FAR@100 % per seed | mean | FAR@99.5 % | AUROC % |"


@dataclass(frozen=True)
class Arm:
    """One way to choose rows: a policy, rows an iteration, iterations."""

    name: str
    policy: str
    mine_rows: int
    iterations: int
    engine: str = "features"
    synthetic: str = "off"
    num_sdg: int = 20


@dataclass(frozen=True)
class Point:
    """One evaluated model. Rates in percent."""

    arm: str
    seed: int
    label: str
    rows: int
    far_pct: float
    far_995_pct: float
    auroc: float


def run_arm(workspace: Path, arm: Arm, seed: int, cache: Path) -> list[Point]:
    """Run one whole loop; the classical baseline of the same KPI rows comes as label `classical`."""
    asked = {
        "workspace": str(workspace),
        "max_iterations": arm.iterations,
        "kpi_target": NEVER_MET,
        "policy": arm.policy,
        "mine_rows": arm.mine_rows,
        "synthetic": arm.synthetic,
        "num_sdg": arm.num_sdg,
        "seed": 1000 + seed,
        "engine": arm.engine,
    }
    os.environ["DEFT_CACHE_DIR"] = str(cache)
    paths = preflight.write(preflight.preflight(asked))
    preflight.start(paths)
    code = driver.drive(
        paths.root,
        lambda line: print(f"  {arm.name} {line}", file=sys.stderr),
        executor=LocalExecutor(arm.engine),
        report=False,
    )
    if code != COMPLETE:
        raise SystemExit(f"{arm.name}, seed {seed}: the loop ended with exit code {code}")
    return points(paths.log, arm, seed)


def points(log: Path, arm: Arm, seed: int) -> list[Point]:
    """Evaluated models of a journal in order."""
    found: list[Point] = []
    rows = 0
    for entry in journal.read(log):
        facts = entry["facts"]
        if entry["stage"] == "train":
            rows = facts["rows"]
        if entry["stage"] == "evaluate":
            if not found:
                found.append(Point(arm.name, seed, "classical", 0, **_rates(facts["classical"])))
            found.append(Point(arm.name, seed, entry["iter"], rows, **_rates(facts)))
    return found


def _rates(facts: dict[str, Any]) -> dict[str, float]:
    return {name: facts[name] for name in ("far_pct", "far_995_pct", "auroc")}


def table(found: Sequence[Point]) -> str:
    """Markdown: one line for each arm and model, FAR@100 % of every seed and the means."""
    lines = [
        "| rows by | model | rows | FAR@100 % per seed | mean | FAR@99.5 % | AUROC % |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, label in dict.fromkeys((p.arm, p.label) for p in found):
        mine = [p for p in found if (p.arm, p.label) == (arm, label)]
        each = " ".join(f"{p.far_pct:.2f}" for p in mine)
        far, near, area = (_mean(getattr(p, name) for p in mine) for name in ("far_pct", "far_995_pct", "auroc"))
        rows = round(_mean(p.rows for p in mine))
        lines.append(f"| {arm} | {label} | {rows} | {each} | {far:.2f} | {near:.2f} | {100 * area:.3f} |")
    return "\n".join(lines)


def paired(found: Sequence[Point], one: str, other: str, label: str) -> str:
    """How often and by how much `one` is below `other` at the same seed."""
    by_seed = {(p.arm, p.seed): p.far_pct for p in found if p.label == label}
    seeds = sorted({seed for _, seed in by_seed})
    gaps = [by_seed[(one, seed)] - by_seed[(other, seed)] for seed in seeds if (other, seed) in by_seed]
    wins = sum(gap < 0 for gap in gaps)
    return f"{one} below {other} at {label}: {wins} of {len(gaps)} seeds, mean difference {_mean(gaps):+.2f} points"


def save(path: Path, found: Sequence[Point]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(point) for point in found], indent=1) + "\n")


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
