"""How many iterations fit into a number of hours, by platform and size of the data: an estimate, and named as one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.data.sets import KPI, POOL, TRAINING
from deft_aoi.engine.engine_choice import FEATURES, NET, TAO, gpu_name
from deft_aoi.executors.platform_choice import ELSEWHERE
from deft_aoi.preflight.inputs import Inputs
from deft_aoi.preflight.plan_values import make_plan
from deft_aoi.record.run import Plan
from deft_aoi.stages.routing import INLINE

MOST = 10  # iterations: beyond them a loop that still improves is started again with what it has learned
# NVIDIA's figures for TAO on an RTX 6000 Ada: minutes of a training of 200 rows and 10 epochs, of AnomalyGen, of
# mining and gap analysis together, and of an evaluation for each row of a KPI set of 600.
_TAO_ROW, _ANOMALYGEN, _TAO_REST, _TAO_KPI = 11 / (200 * 10), 15.0, 6.0, 2 / 600
# Ours: seconds for a picture of KPI set and pool (benchmarks/results/stages.md), of a training of the net engine on one
# GPU and on one CPU thread (benchmarks/results/net.md), and of starting the stages of an iteration.
_PICTURE, _NET_GPU, _NET_CPU, _STAGES = 0.005, 20.0, 110.0, 10.0


@dataclass(frozen=True)
class Size:
    """Rows of the sets that cost time, and lights."""

    training: int
    kpi: int
    pool: int
    lights: int


@dataclass(frozen=True)
class Estimate:
    """Minutes of the baseline, and of one iteration in the mean of those that fit."""

    baseline: float
    iteration: float
    iterations: int
    basis: str

    def sentence(self, hours: float) -> str:
        capped = ", the most that is proposed," if self.iterations == MOST else ""
        each = f"{self.iteration:.0f}" if self.iteration >= 1 else "under 1"
        return f"estimated from {hours:g} h: {self.iterations}{capped} at {each} min each, {self.basis}"


def fit(hours: float, plan: Plan, size: Size, *, gpu: bool) -> Estimate:
    """The iterations that fit into `hours`, at least one. Raises InputError where no estimate can be made."""
    if not hours > 0 or not math.isfinite(hours):
        raise InputError(f"--hours {hours:g}: expected a number of hours above 0")
    if plan.platform == ELSEWHERE:
        raise InputError("--hours: the time of a training elsewhere is not known here; pass --max-iterations N")
    baseline, basis = _minutes(plan, size, 0, gpu=gpu)
    spent, each = baseline, list[float]()
    while len(each) < MOST:
        minutes, _ = _minutes(plan, size, len(each) + 1, gpu=gpu)
        if each and spent + minutes > 60 * hours:
            break
        spent += minutes
        each.append(minutes)
    return Estimate(baseline, sum(each) / len(each), len(each), basis)


def _minutes(plan: Plan, size: Size, number: int, *, gpu: bool) -> tuple[float, str]:
    """Minutes of iteration `number` (0: the baseline), and what the estimate rests on."""
    if plan.engine == TAO:
        rows = size.training + number * plan.mine_rows
        train = _TAO_ROW * rows * plan.num_epochs / max(plan.num_gpus, 1)
        generate = _ANOMALYGEN if number and plan.synthetic == INLINE else 0.0
        rest = _TAO_REST if number else 0.0
        return train + generate + _TAO_KPI * size.kpi + rest, "from NVIDIA's times on an RTX 6000 Ada"
    pictures = 2 * size.lights * (size.kpi + size.pool)
    train = 0.0 if plan.engine == FEATURES else (_NET_GPU if gpu else _NET_CPU)
    return (_STAGES + _PICTURE * pictures + train) / 60, "from times measured on two cores"


def size_of(inputs: Inputs) -> Size:
    counts = {name: len(inputs.tables[name].rows) if name in inputs.tables else 0 for name in (TRAINING, KPI, POOL)}
    return Size(counts[TRAINING], counts[KPI], counts[POOL], len(inputs.optics.lights))


def hours_of(plan: Plan, size: Size) -> tuple[float, str]:
    """Hours of the whole plan with TAO, and what the estimate rests on."""
    parts = [_minutes(plan, size, number, gpu=True) for number in range(plan.max_iterations + 1)]
    return sum(minutes for minutes, _ in parts) / 60, parts[0][1]


def in_hours(asked: Mapping[str, Any], inputs: Inputs) -> tuple[Mapping[str, Any], str]:
    """(what was asked for, with iterations in place of hours; where the number comes from, empty where none was
    computed). Raises InputError where both are given, or no estimate can be made."""
    if asked.get("hours") is None:
        return asked, ""
    if asked.get("max_iterations"):
        raise InputError("--hours and --max-iterations: pass one of them")
    plan, _ = make_plan({**asked, "max_iterations": 1}, inputs)
    found = fit(asked["hours"], plan, size_of(inputs), gpu=plan.engine == NET and gpu_name() is not None)
    return {**asked, "max_iterations": found.iterations}, found.sentence(asked["hours"])
