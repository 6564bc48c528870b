"""The gate: the threshold that a contract picks, what a result proves about it, and which of two models is better."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.errors import InputError
from deft_aoi.kpi.bounds import CONFIDENCE, Tally, boards_needed, clean, smallest
from deft_aoi.kpi.sweep import OperatingPoint, Sweep, point_at
from deft_aoi.kpi.target import TOLERANCE, Bound, Contract, Measured

Status = Literal["PASS", "FAIL", "NOT PROVABLE"]
Role = Literal["goal", "condition", "proof"]
NO_LIMIT = "no limit stated"
_SMALLEST = 1e-9  # stands for a limit of zero where values are weighed against limits
_MOST_TIMES = 1 << 20
ByBoard = Mapping[str, Mapping[str, int]]
UNKNOWN_BOARDS = "boards unknown: independence assumed, not proven (fill in the column boardname)"


@dataclass(frozen=True)
class Clause:
    """Result for one bound. `value` and `upper` (one-sided 95 %, on the bad side) are in the bound's own unit.

    `proven` only by a sealed set with boards; None where no number of samples can prove it. `further_pass` and
    `further_defects` are the rows, on `further_boards` boards, none of them decided wrongly, that would: further ones
    of a sealed set, all those of a sealed set where these rows are not sealed. A clause of role `proof` is no part of
    the target; only PASS needs it.
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
    further_boards: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What `false_calls` of `n_pass` and `misses` of `n_defect` say about a contract; rates are fractions.

    The one record that the stop rule (`met`), the champion rule (`loss`) and the report read. `met` is the point
    estimate; `status` is PASS only where a sealed set proves every clause and the contract's `proof` (a recall of
    exactly 100 %, which nothing proves, must hold). `loss` sorts models: lower is better.
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
    sealed: bool = False

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

    Among the thresholds that keep its conditions, the one at which the goal that is worst, as a share of its
    limit, stands best; ties go to the highest. So "FAR at recall 100 %" takes the highest threshold that keeps every
    defect, "recall at FAR <= 1 %" the one that catches most. A cost without limit decides among the thresholds that
    meet all else. Where no threshold keeps the conditions, they count as goals.

    A target that bounds escapes by a rate above zero, and nothing but rates, goes by the bounds where some threshold
    keeps them all: the one that leaves most room for a sealed set to prove it. The empirical limit itself is missed by
    the next set of the same line nearly every second time.
    """
    if (index := _roomiest(contract, swept)) is not None:
        return point_at(swept, index)
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
    *, by_board: ByBoard | None = None, sealed: bool = False,
) -> Verdict:  # fmt: skip
    """Verdict on counts taken at one threshold; `measured` holds what the contract's commands returned.

    `by_board` are the same counts as sums by board (the fields of two Tally, `far` and `escape`); without it parts
    count as independent, and nothing is proven. `sealed`: these rows chose neither threshold nor model, and this is the
    first time that a verdict is taken on them. Raises InputError where a class is absent or a command's number is.
    """
    if n_pass < 1 or n_defect < 1:
        raise InputError(f"{n_pass} PASS rows and {n_defect} defects: a verdict needs at least one of each")
    counts = _counts(false_calls, n_pass, misses, n_defect, by_board, sealed=sealed)
    clauses = tuple(
        _clause(bound, "goal" if bound in contract.goals else "condition", counts, measured or {})
        for bound in contract.bounds
    )
    limited = any(bound.limit is not None for bound in contract.bounds)
    met = limited and all(clause.met for clause in clauses)
    asked = (*clauses, *([_clause(contract.proof, "proof", counts, {})] if contract.proof else []))
    unproven = [clause for clause in asked if clause.proven is not True and not _is_full_recall(clause)]
    proven = met and not unproven and counts.can_prove
    status: Status = "PASS" if proven else "NOT PROVABLE" if met or not limited else "FAIL"
    gap = _gap(contract, clauses)
    return Verdict(
        status, met, false_calls / n_pass, counts.calls.upper(), 1 - misses / n_defect,
        counts.escapes.upper(), *_needed(unproven if met else None), asked, _loss(contract, clauses), gap,
        _sentence(contract, status, counts, asked, gap), sealed,
    )  # fmt: skip


def better(challenger: Standing, champion: Standing) -> bool:
    """Whether the challenger takes the title: lower loss, at a tie lower FAR at 99.5 %, at a tie higher AUROC."""
    return rank(challenger) < rank(champion)


def rank(standing: Standing) -> tuple[tuple[float, ...], float, float]:
    """Sort key of a model: the lowest is the best."""
    return standing.loss, standing.far_995, -standing.auroc


@dataclass(frozen=True)
class _Counts:
    calls: Tally
    escapes: Tally
    boards_known: bool
    sealed: bool

    @property
    def can_prove(self) -> bool:
        return self.sealed and self.boards_known

    def cost(self, bound: Bound) -> float:
        total = bound.escape_weight * self.escapes.events + bound.false_call_weight * self.calls.events
        return total / (self.calls.rows + self.escapes.rows)

    def cost_upper(self, bound: Bound, calls: Tally, escapes: Tally) -> float:
        """Upper bound of the cost at these rows' share of defects; each rate at 97.5 %, so that both hold at 95 %."""
        half = (1 + CONFIDENCE) / 2
        total = bound.escape_weight * self.escapes.rows * escapes.upper(half)
        total += bound.false_call_weight * self.calls.rows * calls.upper(half)
        return total / (self.calls.rows + self.escapes.rows)


def _counts(
    false_calls: int, n_pass: int, misses: int, n_defect: int, by_board: ByBoard | None, *, sealed: bool
) -> _Counts:
    if by_board is None:
        calls, escapes = Tally.independent(n_pass, false_calls), Tally.independent(n_defect, misses)
        return _Counts(calls, escapes, False, sealed)
    calls, escapes = Tally(**by_board["far"]), Tally(**by_board["escape"])
    told = (calls.events, calls.rows, escapes.events, escapes.rows)
    if told != (false_calls, n_pass, misses, n_defect):
        raise InputError(f"counts by board {told} are not those of the rows {(false_calls, n_pass, misses, n_defect)}")
    return _Counts(calls, escapes, True, sealed)


def _clause(bound: Bound, role: Role, counts: _Counts, measured: Measured) -> Clause:
    upper: float | None
    if bound.metric == "far":
        value, upper = counts.calls.rate, counts.calls.upper()
    elif bound.metric == "escape":
        value, upper = counts.escapes.rate, counts.escapes.upper()
    elif bound.metric == "cost":
        value, upper = counts.cost(bound), counts.cost_upper(bound, counts.calls, counts.escapes)
    else:
        value, upper = _measured(bound, measured), measured.get(f"{bound.name}_bound")
    met = bound.met_by(value)
    holds = upper is not None and bound.met_by(upper)
    proven: bool | None = holds and counts.can_prove
    more = _further(bound, counts) if met and not proven and counts.boards_known else {}
    if met and not holds and counts.boards_known and not more:
        proven = None
    return Clause(bound.text, bound.name, bound.metric, role, value, bound.limit, upper, met, proven, **more)


def _further(bound: Bound, counts: _Counts) -> dict[str, int]:
    """The `further_*` of a clause; empty where no number of rows does. Each number was tried."""
    if bound.metric == "cost":
        return _further_cost(bound, counts)
    if bound.metric == "command" or not bound.limit or bound.limit < _SMALLEST:
        return {}
    far = bound.metric == "far"
    tally = counts.calls if far else counts.escapes
    size, before = tally.per_board, tally if counts.sealed else None

    def proven(boards: int) -> bool:
        return bound.met_by((before.with_clean(boards, size) if before else clean(boards, size)).upper())

    boards = smallest(proven, 0 if before else 1)
    if boards is None:
        return {}
    return {"further_pass" if far else "further_defects": boards * size, "further_boards": boards}


def _further_cost(bound: Bound, counts: _Counts) -> dict[str, int]:
    """Rows of both classes at their present ratio, none of them decided wrongly, that prove a cost bound."""
    if not bound.limit:
        return {}
    tallies = (counts.calls, counts.escapes)

    def proven(times: int) -> bool:
        grown = [
            one.with_clean(times * one.boards, one.per_board)
            if counts.sealed
            else clean(times * one.boards, one.per_board)
            for one in tallies
        ]
        return bound.met_by(counts.cost_upper(bound, *grown))

    times = smallest(proven, 1, _MOST_TIMES)
    if times is None:
        return {}
    rows = [times * one.boards * one.per_board for one in tallies]
    boards = times * max(one.boards for one in tallies)
    return {"further_pass": rows[0], "further_defects": rows[1], "further_boards": boards}


def _measured(bound: Bound, measured: Measured) -> float:
    if bound.name not in measured:
        raise InputError(f"{bound.file}: gave no number {bound.name}; expected it in the JSON object that it prints")
    return float(measured[bound.name])


def _is_full_recall(clause: Clause) -> bool:
    return clause.metric == "escape" and clause.met and clause.limit is not None and clause.limit < _SMALLEST


def _needed(unproven: list[Clause] | None) -> tuple[int | None, int | None]:
    """Further PASS rows and defects that prove all; None where the target is missed or no number does."""
    if unproven is None or any(c.further_pass is None and c.further_defects is None for c in unproven):
        return None, None
    return (
        max((c.further_pass or 0 for c in unproven), default=0),
        max((c.further_defects or 0 for c in unproven), default=0),
    )


def _loss(contract: Contract, clauses: tuple[Clause, ...]) -> tuple[float, ...]:
    """The worst goal as a share of its limit. Conditions, and all bounds where a cost is made small, count only
    where they are missed."""
    if contract.evaluator is not None:  # who keeps all constraints comes first, then the better value
        (goal,) = contract.goals
        kept = all(clause.met for clause in clauses if clause.role == "condition")
        return (0.0 if kept else 1.0, clauses[0].value * (-1 if goal.higher else 1))
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
    parts = [_seen(clause, counts) for clause in clauses if clause.role != "proof"]
    parts += [] if counts.boards_known else [UNKNOWN_BOARDS]
    if gap == NO_LIMIT:
        return f"{'; '.join(parts)}; {contract.text} states no limit: the lowest is kept"
    if status == "FAIL":
        reason = "recall below the target, " if any(not c.met and c.name == "recall" for c in clauses) else ""
        return f"{'; '.join(parts)}; {reason}{gap} ({contract.text})"
    if status == "PASS":
        return f"{'; '.join(parts)}; {_proven(clauses)}"
    return f"{'; '.join(parts)}; {contract.text} is reached but not proven{_why_not(counts, clauses)}"


def _proven(clauses: tuple[Clause, ...]) -> str:
    """What a PASS proves: a recall of exactly 100 % is only seen."""
    proven = " and ".join(clause.text for clause in clauses if clause.proven is True)
    seen = " and ".join(clause.text for clause in clauses if clause.proven is not True)
    holds = f"{seen} holds on these rows, which no number of rows can prove"
    return f"{proven} is proven" + (f"; {holds}" if seen else "")


def _why_not(counts: _Counts, clauses: tuple[Clause, ...]) -> str:
    """What is missing for a proof: a sealed set, boards, rows."""
    open_ = [clause for clause in clauses if clause.proven is not True and not _is_full_recall(clause)]
    needs = list(dict.fromkeys(_need(clause, sealed=counts.sealed) for clause in open_))
    if counts.sealed:
        return f": {', '.join(needs)}" if counts.boards_known else ""
    why = ": these rows also chose the threshold or the model, which only a sealed set can judge"
    return why + (f", of at least {' and '.join(needs)}" if counts.boards_known and needs else "")


def _seen(clause: Clause, counts: _Counts) -> str:
    sure = f"with {CONFIDENCE:.0%} confidence"
    if clause.metric == "far" and clause.upper is not None:
        rate = f"FAR {100 * clause.value:.4g}%, at most {100 * clause.upper:.4g}% {sure}"
        calls = "false call" if counts.calls.events == 1 else "false calls"
        return f"{counts.calls.events:,} {calls} on {counts.calls.rows:,} PASS rows{_effect(counts.calls)}: {rate}"
    if clause.metric == "escape" and clause.upper is not None:
        rate = f"recall {100 * (1 - clause.value):.4g}%, escapes at most {100 * clause.upper:.3g}% {sure}"
        missed = f"{counts.escapes.events:,} of {counts.escapes.rows:,} defects missed"
        return f"{missed}{_effect(counts.escapes)}: {rate}"
    if clause.metric == "cost" and clause.upper is not None:
        return f"cost {clause.value:.4g} per part, at most {clause.upper:.4g} {sure}"
    return f"{clause.name} is {clause.value:.6g}" + (
        f", bound {clause.upper:.6g}" if clause.upper is not None else ", without a bound"
    )


def _effect(tally: Tally) -> str:
    """The design effect in words; nothing where rows count in full."""
    effect = tally.design_effect
    return f" of {tally.boards:,} boards, design effect {effect:.3g}" if effect > 1 else ""


def _need(clause: Clause, *, sealed: bool) -> str:
    """Rows that would prove a clause; those of a whole set where these rows are not sealed."""
    rows = [
        f"{count:,} {'further ' if sealed else ''}{what}"
        for count, what in ((clause.further_pass, "PASS rows"), (clause.further_defects, "defects"))
        if count
    ]
    if rows:
        wrong = "decided wrongly" if len(rows) > 1 else "called falsely" if clause.further_pass else "missed"
        text = f"{' and '.join(rows)} on {clause.further_boards:,} {'further ' if sealed else ''}boards, none {wrong}"
        return f"{text}, would prove {clause.text}" if sealed else text
    if clause.metric == "command":
        return f"the command gives no {clause.name}_bound that meets it"
    if clause.limit and clause.upper is not None and 0 < clause.limit < 1 and clause.metric != "cost":
        return f"at least {boards_needed(clause.limit):,} boards"
    return "no number of rows can"


def _roomiest(contract: Contract, swept: Sweep) -> int | None:
    """Of the thresholds at which every bound holds (rows taken as independent: this chooses and proves nothing), the
    index of the one whose worst bound is the smallest share of its limit; None where none does."""
    rates = [bound for bound in contract.bounds if bound.metric in ("far", "escape")]
    escapes = [bound for bound in rates if bound.metric == "escape"]
    if len(rates) < len(contract.bounds) or not escapes or any((b.limit or 0.0) < _SMALLEST for b in rates):
        return None
    from scipy.special import betaincinv  # a fifth of a second to import

    places = np.flatnonzero(_all_met(swept, {bound: _values(bound, swept) for bound in rates}))
    worst = np.zeros(places.size)
    kept = np.ones(places.size, bool)
    for bound in rates:
        events, rows = (swept.fp, swept.n_pass) if bound.metric == "far" else (swept.fn, swept.n_defect)
        count = events[places]
        upper = np.where(count == rows, 1.0, betaincinv(count + 1, np.maximum(rows - count, 1), CONFIDENCE))
        kept &= np.array([bound.met_by(float(value)) for value in upper], bool)
        worst = np.maximum(worst, upper / (bound.limit or 1.0))
    if not kept.any():
        return None
    worst[~kept] = np.inf
    return int(places[np.flatnonzero(worst == worst.min())[-1]])


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
