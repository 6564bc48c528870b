"""The gate: the threshold that a contract picks, what a result proves about it, and which of two models is better."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.errors import InputError
from deft_aoi.kpi.bounds import CONFIDENCE, samples_needed, upper_bound
from deft_aoi.kpi.sweep import OperatingPoint, Sweep, point_at
from deft_aoi.kpi.target import TOLERANCE, Bound, Contract, Measured

Status = Literal["PASS", "FAIL", "NOT PROVABLE"]
Role = Literal["goal", "condition"]
NO_LIMIT = "no limit stated"
_SMALLEST = 1e-9  # stands for a limit of zero where values are weighed against limits


@dataclass(frozen=True)
class Clause:
    """How one bound stands. `value` and `upper` (one-sided 95 %, on the bad side) are in the bound's own unit.

    `proven` is None where no number of samples can prove it. `further_pass` and `further_defects` are the samples
    without a further error that would.
    """

    text: str
    name: str
    metric: str
    role: Role
    value: float
    limit: float | None
    upper: float | None
    met: bool
    proven: bool | None
    further_pass: int | None = None
    further_defects: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What `false_calls` of `n_pass` and `misses` of `n_defect` say about a contract; rates are fractions.

    The one record that the stop rule (`met`), the champion rule (`loss`) and the report read. `met` is the point
    estimate; `status` is PASS only where every clause is proven (a recall of
    exactly 100 %, which nothing proves, holds). `loss` sorts models: lower is better.
    """

    status: Status
    met: bool
    far: float
    far_upper: float
    recall: float
    escape_upper: float
    further_pass_needed: int | None
    further_defects_needed: int | None
    clauses: tuple[Clause, ...]
    loss: tuple[float, ...]
    gap: str
    sentence: str

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**dataclasses.asdict(self), "loss": list(self.loss), "clauses": [vars(c) for c in self.clauses]}


@dataclass(frozen=True)
class Standing:
    """What the champion rule looks at: the contract's loss, then FAR at 99.5 % recall (fraction), then AUROC."""

    loss: tuple[float, ...]
    far_995: float
    auroc: float


def choose_point(contract: Contract, swept: Sweep) -> OperatingPoint:
    """The threshold that the contract picks from a sweep.

    Among the thresholds that keep its conditions, the one at which the goal that stands worst, as a share of its
    limit, stands best; ties go to the highest. So "FAR at recall 100 %" takes the highest threshold that keeps every
    defect, "recall at FAR <= 1 %" the one that catches most. A cost without limit decides among the thresholds that
    meet all else. Where no threshold keeps the conditions, they count as goals.
    """
    values = {bound: _values(bound, swept) for bound in contract.bounds if bound.metric != "command"}
    kept = _all_met(swept, {b: v for b, v in values.items() if b in contract.conditions})
    goals = {b: v for b, v in values.items() if b in contract.goals and b.limit is not None}
    if not kept.any():
        kept, goals = np.ones_like(kept), {b: v for b, v in values.items() if b.limit is not None}
    objective = contract.objective
    feasible = kept & _all_met(swept, goals)
    if objective is not None and feasible.any():
        kept, weighed = feasible, values[objective]
    elif goals:
        weighed = np.max([value / max(bound.limit or 0.0, _SMALLEST) for bound, value in goals.items()], axis=0)
    else:
        weighed = swept.far
    candidates = np.flatnonzero(kept)
    lowest = weighed[candidates].min()
    return point_at(swept, int(candidates[np.flatnonzero(weighed[candidates] == lowest)[-1]]))


def judge(
    contract: Contract, false_calls: int, n_pass: int, misses: int, n_defect: int, measured: Measured | None = None,
    uppers: Measured | None = None,
) -> Verdict:  # fmt: skip
    """Verdict on counts taken at one threshold; `measured` holds what the contract's commands returned.

    `uppers` are bounds by board (`far`, `escape`): where they are wider than the exact ones, they count.
    Raises InputError where a class is absent or a command's number is. Bounds are one-sided 95 % Clopper-Pearson. A
    recall of exactly 100 % cannot be proven: it counts as shown where no defect escapes, and `escape_upper` says what
    the number of defects proves instead.
    """
    if n_pass < 1 or n_defect < 1:
        raise InputError(f"{n_pass} PASS rows and {n_defect} defects: a verdict needs at least one of each")
    counts = _Counts(false_calls, n_pass, misses, n_defect, uppers or {})
    clauses = tuple(
        _clause(bound, "goal" if bound in contract.goals else "condition", counts, measured or {})
        for bound in contract.bounds
    )
    limited = any(bound.limit is not None for bound in contract.bounds)
    met = limited and all(clause.met for clause in clauses)
    unproven = [clause for clause in clauses if clause.proven is not True and not _is_full_recall(clause)]
    status: Status = "PASS" if met and not unproven else "NOT PROVABLE" if met or not limited else "FAIL"
    gap = _gap(contract, clauses)
    return Verdict(
        status, met, false_calls / n_pass, counts.far_upper, 1 - misses / n_defect,
        counts.escape_upper, *_further(unproven if met else None), clauses, _loss(contract, clauses), gap,
        _sentence(contract, status, counts, clauses, gap),
    )  # fmt: skip


def better(challenger: Standing, champion: Standing) -> bool:
    """Whether the challenger takes the title: lower loss, at a tie lower FAR at 99.5 %, at a tie higher AUROC."""
    return rank(challenger) < rank(champion)


def rank(standing: Standing) -> tuple[tuple[float, ...], float, float]:
    """Sort key of a model: the lowest is the best."""
    return standing.loss, standing.far_995, -standing.auroc


@dataclass(frozen=True)
class _Counts:
    false_calls: int
    n_pass: int
    misses: int
    n_defect: int
    uppers: Measured

    @property
    def far_upper(self) -> float:
        return max(upper_bound(self.false_calls, self.n_pass), self.uppers.get("far", 0.0))

    @property
    def escape_upper(self) -> float:
        return max(upper_bound(self.misses, self.n_defect), self.uppers.get("escape", 0.0))

    def cost(self, bound: Bound) -> float:
        total = bound.escape_weight * self.misses + bound.false_call_weight * self.false_calls
        return total / (self.n_pass + self.n_defect)

    def cost_upper(self, bound: Bound, times: int = 1) -> float:
        """Upper bound of the cost with `times` the rows and the same errors; each rate at 97.5 %, both hold at 95 %."""
        half = (1 + CONFIDENCE) / 2
        escapes = self.n_defect * upper_bound(self.misses, times * self.n_defect, half)
        calls = self.n_pass * upper_bound(self.false_calls, times * self.n_pass, half)
        return (bound.escape_weight * escapes + bound.false_call_weight * calls) / (self.n_pass + self.n_defect)


def _clause(bound: Bound, role: Role, counts: _Counts, measured: Measured) -> Clause:
    more: dict[str, int | None] = {}
    upper: float | None
    if bound.metric == "far":
        value, upper = counts.false_calls / counts.n_pass, counts.far_upper
        more["further_pass"] = _further_rows(bound, counts.false_calls, counts.n_pass, upper)
    elif bound.metric == "escape":
        value, upper = counts.misses / counts.n_defect, counts.escape_upper
        more["further_defects"] = _further_rows(bound, counts.misses, counts.n_defect, upper)
    elif bound.metric == "cost":
        value, upper = counts.cost(bound), counts.cost_upper(bound)
        more = _further_cost(bound, counts)
    else:
        value, upper = _measured(bound, measured), measured.get(f"{bound.name}_bound")
    met = bound.met_by(value)
    proven: bool | None = upper is not None and bound.met_by(upper)
    if not proven and not any(more.values()):
        proven = None
    known = more if met and not proven else {}
    return Clause(bound.text, bound.name, bound.metric, role, value, bound.limit, upper, met, proven, **known)


def _further_rows(bound: Bound, events: int, rows: int, upper: float) -> int | None:
    """Further rows without an event that prove the bound; None where no number does.

    Where `upper` is wider than the exact bound (boards differ), it is taken to stay so by the same factor.
    """
    if not bound.limit or bound.limit < _SMALLEST:
        return None
    limit = bound.limit * min(1.0, upper_bound(events, rows) / upper)
    needed = samples_needed(limit, events)
    needed += 0 if bound.met_by(upper_bound(events, needed) * bound.limit / limit) else 1
    return max(needed, rows) - rows


def _further_cost(bound: Bound, counts: _Counts) -> dict[str, int | None]:
    """Further rows of both classes at their present ratio, none of them decided wrongly, that prove a cost bound."""
    if not bound.limit:
        return {}
    high = 1
    while not bound.met_by(counts.cost_upper(bound, high)) and high < 1 << 20:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bound.met_by(counts.cost_upper(bound, middle)) else (middle, high)
    if high >= 1 << 20:
        return {}
    return {"further_pass": (high - 1) * counts.n_pass, "further_defects": (high - 1) * counts.n_defect}


def _measured(bound: Bound, measured: Measured) -> float:
    if bound.name not in measured:
        raise InputError(f"{bound.file}: gave no number {bound.name}; expected it in the JSON object that it prints")
    return float(measured[bound.name])


def _is_full_recall(clause: Clause) -> bool:
    return clause.metric == "escape" and clause.met and clause.limit is not None and clause.limit < _SMALLEST


def _further(unproven: list[Clause] | None) -> tuple[int | None, int | None]:
    """Further PASS rows and defects that prove all; None where the target is missed or no number does."""
    if unproven is None or any(c.further_pass is None and c.further_defects is None for c in unproven):
        return None, None
    return (
        max((c.further_pass or 0 for c in unproven), default=0),
        max((c.further_defects or 0 for c in unproven), default=0),
    )


def _loss(contract: Contract, clauses: tuple[Clause, ...]) -> tuple[float, ...]:
    """The worst goal as a share of its limit. Conditions, and all bounds beside a cost to make small, count only where
    they are missed."""
    objective = contract.objective
    shares = []
    for clause, bound in zip(clauses, contract.bounds, strict=True):
        if bound.limit is None:
            continue
        share = clause.value / max(abs(bound.limit), _SMALLEST) * (-1 if bound.higher else 1)
        shares.append(float("-inf") if clause.met and (objective or clause.role == "condition") else share)
    worst = max(shares, default=float("-inf"))
    parts = [max(worst, -1e300)]
    if objective is not None:
        parts.append(next(c.value for c, b in zip(clauses, contract.bounds, strict=True) if b is objective))
    return tuple(parts)


def _gap(contract: Contract, clauses: tuple[Clause, ...]) -> str:
    """ "met", or how far each missed bound is: "2.3pp from target"."""
    missed = [(c, b) for c, b in zip(clauses, contract.bounds, strict=True) if not c.met]
    if not missed:
        return "met" if any(bound.limit is not None for bound in contract.bounds) else NO_LIMIT
    return ", ".join(_distance(bound, clause.value, alone=len(clauses) < 3) for clause, bound in missed)


def _distance(bound: Bound, value: float, *, alone: bool) -> str:
    beyond = bound.excess(value)
    if bound.metric in ("cost", "command"):
        return f"{bound.name} {beyond:.3g} from target"
    words = f"{1e6 * beyond:,.0f} ppm" if bound.ppm else f"{100 * beyond:.3g}pp"
    return f"{words} from target" if alone and bound.metric == "far" else f"{bound.name} {words} from target"


def _sentence(contract: Contract, status: Status, counts: _Counts, clauses: tuple[Clause, ...], gap: str) -> str:
    parts = [_seen(clause, counts) for clause in clauses]
    if gap == NO_LIMIT:
        return f"{'; '.join(parts)}; {contract.text} states no limit: the lowest is kept"
    if status == "FAIL":
        reason = "recall below the target, " if any(not c.met and c.name == "recall" for c in clauses) else ""
        return f"{'; '.join(parts)}; {reason}{gap} ({contract.text})"
    if status == "PASS":
        return f"{'; '.join(parts)}; {_proven(contract, clauses)}"
    needs = [_need(clause) for clause in clauses if clause.proven is not True and not _is_full_recall(clause)]
    return f"{'; '.join(parts)}; {contract.text} is reached but not proven: {', '.join(dict.fromkeys(needs))}"


def _proven(contract: Contract, clauses: tuple[Clause, ...]) -> str:
    """What a PASS proves: a recall of exactly 100 % is only seen."""
    seen = [clause.text for clause in clauses if clause.proven is not True]
    if not seen:
        return f"{contract.text} is proven"
    proven = " and ".join(clause.text for clause in clauses if clause.proven is True)
    rest = f"{' and '.join(seen)} holds on these rows, which no number of rows can prove"
    return f"{proven} is proven; {rest}" if proven else rest


def _seen(clause: Clause, counts: _Counts) -> str:
    sure = f"with {CONFIDENCE:.0%} confidence"
    if clause.metric == "far" and clause.upper is not None:
        rate = f"FAR {100 * clause.value:.4g}%, at most {100 * clause.upper:.4g}% {sure}"
        calls = "false call" if counts.false_calls == 1 else "false calls"
        return f"{counts.false_calls:,} {calls} on {counts.n_pass:,} PASS rows: {rate}"
    if clause.metric == "escape" and clause.upper is not None:
        rate = f"recall {100 * (1 - clause.value):.4g}%, escapes at most {100 * clause.upper:.3g}% {sure}"
        return f"{counts.misses:,} of {counts.n_defect:,} defects missed: {rate}"
    if clause.metric == "cost" and clause.upper is not None:
        return f"cost {clause.value:.4g} per part, at most {clause.upper:.4g} {sure}"
    return f"{clause.name} is {clause.value:.6g}" + (
        f", bound {clause.upper:.6g}" if clause.upper is not None else ", without a bound"
    )


def _need(clause: Clause) -> str:
    if clause.further_pass and clause.further_defects:
        return (
            f"{clause.further_pass:,} further PASS rows and {clause.further_defects:,} further defects, all decided "
            "rightly, would prove it"
        )
    if clause.further_pass:
        return f"{clause.further_pass:,} further PASS rows without a false call would prove it"
    if clause.further_defects:
        return f"{clause.further_defects:,} further defects without an escape would prove it"
    if clause.metric == "command":
        return f"the command gives no {clause.name}_bound that meets it"
    return "no number of rows can"


def _values(bound: Bound, swept: Sweep) -> NDArray[np.float64]:
    if bound.metric == "far":
        return swept.far
    if bound.metric == "escape":
        return swept.fn / swept.n_defect
    return (bound.escape_weight * swept.fn + bound.false_call_weight * swept.fp) / (swept.n_pass + swept.n_defect)


def _all_met(swept: Sweep, values: dict[Bound, NDArray[np.float64]]) -> NDArray[np.bool_]:
    kept = np.ones(swept.threshold.size, dtype=bool)
    for bound, value in values.items():
        limit = bound.limit or 0.0
        slack = TOLERANCE * max(1.0, limit)
        kept &= value <= limit + slack if bound.inclusive else value < limit - slack
    return kept
