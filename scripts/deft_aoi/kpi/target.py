"""The metric contract: what a KPI target says, as bounds that the stop rule, the champion rule and the report read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from deft_aoi.base.errors import InputError

EXAMPLE = '"FAR < 0.1% at recall = 100%"'
FORMS = (
    EXAMPLE, '"FAR <= 2% at recall >= 99.5%"', '"escape_ppm < 500 and false_call_ppm < 2000"',
    '"recall >= 99% at FAR <= 1%"', '"cost: escape=100, false_call=1 <= 0.5 per part"',
    '"command: kpi/evaluate.py line_cost < 2.5"',
)  # fmt: skip
TOLERANCE = 1e-12
PROVEN_ESCAPES = 0.05  # what a PASS must prove of escapes where the target bounds them by no other rate than zero
Metric = Literal["far", "escape", "cost", "command"]
Measured = Mapping[str, float]

_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_UNIT = r"(?:\s*(%|percent\b|ppm\b))?"
_LESS = r"<=|=<|≤|<|at\s+most|no\s+more\s+than|below|under|less\s+than"
_MORE = r">=|=>|≥|>|at\s+least|no\s+less\s+than|above|over|more\s+than"
_EQUAL = r"==?|of|is"
_INCLUSIVE = re.compile(r"<=|=<|≤|>=|=>|≥|at\s+(?:most|least)|no\s+(?:more|less)\s+than|==?|of|is", re.IGNORECASE)
_NAMES = {
    "false_call_ppm": r"false[\s_-]calls?[\s_-]ppm",
    "escape_ppm": r"escapes?[\s_-]ppm",
    "FAR": r"far|false[\s-](?:alarms?|accepts?|calls?)(?:[\s-]rate)?|overkill",
    "escape": r"escapes?(?:[\s-]rate)?",
    "recall": r"recall",
}
_METRIC = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _NAMES.items())
_NAMED = re.compile(rf"(?:{_METRIC})\s*(?:is\s+)?(?P<op>{_LESS}|{_MORE}|{_EQUAL})?\s*{_NUMBER}{_UNIT}", re.IGNORECASE)
_BARE = re.compile(rf"{_NUMBER}{_UNIT}\s*(?:{_METRIC})", re.IGNORECASE)
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)
_AT = re.compile(r"\s*,?\s*(?:@|\bat\b(?!\s+(?:least|most))|\bwith\b)\s*(?:an?\s+)?", re.IGNORECASE)
_COST = re.compile(
    rf"cost\s*:\s*escape\s*=\s*{_NUMBER}\s*,\s*false[\s_-]call\s*=\s*{_NUMBER}(?:\s*(<=|<)\s*{_NUMBER}(\s+per\s+part)?)?",
    re.IGNORECASE,
)
_COMMAND = re.compile(r"command\s*:\s*(\S+)\s+([A-Za-z_]\w*)\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Bound:
    """One bound of a contract. `limit` is a fraction (FAR, escape rate), a cost per part, or a command's own number.

    A bound on recall is kept as one on the escape rate (1 - recall). A cost without limit is only made small. `ppm`
    says how it was written; `higher` that more is better (commands only).
    """

    metric: Metric
    limit: float | None
    inclusive: bool
    text: str
    name: str
    recall: float | None = None  # as written, of a bound on recall
    ppm: bool = False
    escape_weight: float = 0.0
    false_call_weight: float = 0.0
    file: str = ""
    higher: bool = False
    unit: str = ""  # of a metric contract's number

    def met_by(self, value: float) -> bool:
        """Whether a value satisfies the bound; always true where there is no limit."""
        if self.limit is None:
            return True
        slack = TOLERANCE * max(1.0, abs(self.limit))
        sign = -1.0 if self.higher else 1.0
        gap = sign * (self.limit - value)
        return gap >= -slack if self.inclusive else gap > slack

    def excess(self, value: float) -> float:
        """How far a value is beyond the limit, 0 where it does not."""
        if self.limit is None:
            return 0.0
        return max(self.limit - value if self.higher else value - self.limit, 0.0)


@dataclass(frozen=True)
class Evaluator:
    """Who gives the numbers of a metric contract: a `command` of the user's, or an `artifact` that a producer writes.

    `name` and `unit` are those of its primary metric; `template` names the artifact, with `{iter_label}`.
    """

    kind: Literal["command", "artifact"]
    name: str
    unit: str
    path: str = ""
    args: tuple[str, ...] = ()
    template: str = ""
    producer: str = ""


@dataclass(frozen=True)
class Contract:
    """A parsed target: `goals` must be reached at a threshold that keeps the `conditions`; `text` in one spelling.

    `proof` is what a PASS must prove besides, though the loop does not stop for it: a recall of exactly 100 % is proven
    by no number of defects, so an escape rate that can be proven takes its place. None where the target states one.
    """

    goals: tuple[Bound, ...]
    conditions: tuple[Bound, ...]
    text: str
    recall_stated: bool = True
    proof: Bound | None = None
    evaluator: Evaluator | None = None  # of NVIDIA's metric contract: all bounds are its numbers

    @property
    def bounds(self) -> tuple[Bound, ...]:
        return (*self.goals, *self.conditions)

    @property
    def objective(self) -> Bound | None:
        """The cost that is made small without a limit."""
        return next((bound for bound in self.goals if bound.limit is None), None)

    @property
    def recall(self) -> float:
        """The strictest recall that the contract asks for (fraction); 1.0 where it asks for none."""
        asked = [
            b.recall if b.recall is not None else 1 - (b.limit or 0.0) for b in self.bounds if b.metric == "escape"
        ]
        return max(asked, default=1.0)

    @property
    def far(self) -> Bound | None:
        """The strictest bound on FAR."""
        return min((b for b in self.bounds if b.metric == "far"), key=lambda b: b.limit or 0.0, default=None)

    @property
    def commands(self) -> tuple[Bound, ...]:
        """Bounds whose number a file of ours gives; those of a metric contract have an evaluator."""
        return tuple(bound for bound in self.goals if bound.file)

    @property
    def one_sided(self) -> bool:
        """True where calling every part NO_PASS would meet it: nothing bounds false calls."""
        return all(bound.metric == "escape" for bound in self.bounds)


def parse_target(text: str) -> Contract:
    """Read a target such as "FAR < 0.1% at recall=100%"; "false accept rate" and "false alarm rate" mean FAR here.

    Clauses are joined by "and". Units and directions are never guessed. Where nothing is said of recall or escapes,
    recall 100 % is meant and `recall_stated` is false. Raises InputError for anything else, naming what to type.
    """
    goals: list[Bound] = []
    conditions: list[Bound] = []
    shown: list[str] = []
    for clause in _AND.split(text.strip().rstrip(".").strip()):
        goal, condition = _clause(clause.strip(), text)
        goals.append(goal)
        conditions += [condition] if condition else []
        shown.append(f"{goal.text} at {condition.text}" if condition else goal.text)
    _check(goals, text)
    asks = [bound for bound in (*goals, *conditions) if bound.metric in ("escape", "cost")]
    if not asks:
        every = _rate("recall", None, "100", "%", text)
        conditions.append(every)
        shown[-1] += f" at {every.text}"
    proof = _proof([bound for bound in (*goals, *conditions) if bound.metric == "escape"])
    return Contract(
        tuple(goals), tuple(dict.fromkeys(conditions)), " and ".join(shown), recall_stated=bool(asks), proof=proof
    )


def _proof(escapes: list[Bound]) -> Bound | None:
    """The default bound on escapes where the target asks for a recall of 100 % and nothing that can be proven."""
    if not escapes or any(bound.limit for bound in escapes):
        return None
    return Bound("escape", PROVEN_ESCAPES, True, f"escape <= {_percent(PROVEN_ESCAPES)}", "escape")


def _clause(clause: str, text: str) -> tuple[Bound, Bound | None]:
    goal, *rest = _AT.split(clause, maxsplit=1)
    condition = _condition(rest[0].strip(), text) if rest else None
    if goal.lower().startswith("cost"):
        return _cost(goal.strip(), text), condition
    if goal.lower().startswith("command"):
        return _command(goal.strip(), text), condition
    found = _named(goal.strip(), text)
    if found is None or found[1] is None:
        raise _refused(text, f"{clause!r} is not understood")
    return _rate(*found, text), condition


def _condition(part: str, text: str) -> Bound:
    found = _named(part, text)
    if found is None:
        raise _refused(text, f"{part!r} is not understood")
    return _rate(*found, text)


def _named(part: str, text: str) -> tuple[str, str | None, str, str | None] | None:
    """(metric, operator, number, unit) of `FAR < 1%` or `99 % recall`."""
    if match := _NAMED.fullmatch(part):
        number, unit = match.groups()[-2:]
        name = next(key for key in _NAMES if match[key])
        return name, match["op"], number, unit
    if match := _BARE.fullmatch(part):
        name = next(key for key in _NAMES if match[key])
        return name, None, match[1], match[2]
    return None


def _rate(name: str, op: str | None, number: str, unit: str | None, text: str) -> Bound:
    """A bound on a rate; `op` None or "=" reads as at least (recall) or at most (the others)."""
    less, more = (op is not None and re.fullmatch(pattern, op, re.IGNORECASE) for pattern in (_LESS, _MORE))
    if (name == "recall" and less) or (name != "recall" and more):
        better = "higher: write >=" if name == "recall" else "lower: write < or <="
        raise _refused(text, f"{name} {op} {number}: {name} is better {better}")
    inclusive = op is None or _INCLUSIVE.fullmatch(op) is not None
    ppm = name.endswith("_ppm") or (unit or "").lower() == "ppm"
    if name.endswith("_ppm") and unit:
        raise _refused(
            text, f"{name} {number} {unit}: two units; write {name} < {number} or a percent sign without _ppm"
        )
    if not ppm and not unit:
        raise InputError(
            f"kpi target {text!r}: {number} has no unit and percent differs from fraction; "
            f"write it with a percent sign, as in {EXAMPLE}"
        )
    value = float(f"{number}e{-6 if ppm else -2}")  # one correctly rounded conversion: 0.1 % is 0.001 as a literal is
    kind = {"false_call_ppm": "FAR", "escape_ppm": "escape"}.get(name, name)
    if kind == "recall":
        if not 0 < value <= 1:
            raise _refused(text, "recall must be above 0% and at most 100%")
        if value == 1 and not inclusive:
            raise _refused(text, "recall cannot exceed 100%: write recall = 100%")
        sign = "=" if value == 1 else (">=" if inclusive else ">")
        return Bound("escape", 1 - value, inclusive, f"recall {sign} {_percent(value)}", "recall", recall=value)
    if value >= 1 or (value == 0 and not inclusive):
        raise _refused(text, f"a {kind} must be able to meet it and to miss it")
    words = f"{'escape' if kind == 'escape' else 'false_call'}_ppm" if ppm else kind
    shown = f"{1e6 * value:.10g}" if ppm else _percent(value)
    bound_text = f"{words} {'<=' if inclusive else '<'} {shown}"
    return Bound("far" if kind == "FAR" else "escape", value, inclusive, bound_text, words, ppm=ppm)


def _cost(clause: str, text: str) -> Bound:
    match = _COST.fullmatch(clause)
    if match is None:
        raise _refused(text, f"{clause!r} is not understood")
    escape, false_call, op, limit, per_part = match.groups()
    if op and not per_part:
        raise _refused(text, f"cost {op} {limit} has no unit: write {op} {limit} per part (the mean over the KPI rows)")
    if float(escape) == 0 and float(false_call) == 0:
        raise _refused(text, "a cost needs at least one weight above 0")
    if op and float(limit) == 0 and op == "<":
        raise _refused(text, "a cost below 0 cannot be met")
    shown = f"cost: escape={float(escape):.10g}, false_call={float(false_call):.10g}"
    shown += f" {op} {float(limit):.10g} per part" if op else ""
    weights = {"escape_weight": float(escape), "false_call_weight": float(false_call)}
    return Bound("cost", float(limit) if op else None, op != "<", shown, "cost", **weights)  # type: ignore[arg-type]


def _command(clause: str, text: str) -> Bound:
    match = _COMMAND.fullmatch(clause)
    if match is None:
        raise _refused(text, f"{clause!r} is not understood")
    file, name, op, limit = match.groups()
    if not math.isfinite(float(limit)):
        raise _refused(text, f"{limit} is no finite number")
    shown = f"command: {file} {name} {op} {float(limit):.10g}"
    return Bound("command", float(limit), "=" in op, shown, name, file=file, higher=">" in op)


def _check(goals: list[Bound], text: str) -> None:
    names = [bound.name for bound in goals]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise _refused(text, f"two bounds on {repeated[0]}")


def _refused(text: str, why: str) -> InputError:
    return InputError(f"kpi target {text!r}: {why}; type for example {', '.join(FORMS)}")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.10g}%"
