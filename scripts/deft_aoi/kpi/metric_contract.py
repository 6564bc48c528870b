"""The metric contract of NVIDIA's bank: one metric of the user's with named constraints, judged by an evaluator.

`builtin` is a target that this skill computes itself; `command` and `artifact` bring a result, which is checked here
against the contract: a `passed` in it is never looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.kpi.target import Bound, Contract, Evaluator, Measured, parse_target

BUILTIN = "far_at_recall"
FAR, RECALL = "far_pct", "recall_pct"
OPERATORS = ("<", "<=", ">", ">=")
_KEYS = {"name", "display_name", "operator", "target", "unit"}


@dataclass(frozen=True)
class Result:
    """What an evaluator says of one scored CSV: the numbers by name, its threshold, and the result as it came."""

    measured: Measured
    threshold: float | None
    record: Mapping[str, Any]


def target_of(text: str, metric_contract: str = "") -> Contract:
    """The contract of a plan: its metric contract (JSON text) where it has one, else its target's words."""
    return parse_contract(metric_contract, "metric contract") if metric_contract else parse_target(text)


def parse_contract(text: str | bytes, where: str) -> Contract:
    """Read a contract's JSON. Raises InputError naming the key, what was found and what is expected."""
    try:
        record = parse_json(text if isinstance(text, bytes) else text.encode())
    except ValueError as error:
        raise InputError(f"{where}: no JSON ({error})") from error
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected a JSON object with {', '.join(sorted(_KEYS))}, evaluator, constraints")
    constraints = record.get("constraints", [])
    if not isinstance(constraints, list):
        raise InputError(f"{where}: constraints is {constraints!r}; expected a list")
    told = record.get("evaluator")
    told = told if isinstance(told, dict) else {}
    kind = told.get("type")
    goal = _bound(record, where)
    conditions = tuple(_bound(one, f"{where}: constraints[{n}]") for n, one in enumerate(constraints))
    if len({goal.name, *(one.name for one in conditions)}) <= len(conditions):
        raise InputError(f"{where}: two of its metrics have the same name")
    if kind == "builtin":
        return _builtin(told, goal, conditions, where)
    evaluator = _evaluator(kind, told, goal, where)
    shown = " and ".join(one.text for one in (goal, *conditions))
    return Contract((goal,), conditions, shown, evaluator=evaluator)


def _bound(record: Any, where: str) -> Bound:
    if not isinstance(record, dict) or (missing := _KEYS - {"display_name", "unit"} - record.keys()):
        raise InputError(f"{where}: expected an object with name, operator, target" + (
            f"; {sorted(missing)[0]} is missing" if isinstance(record, dict) else ""))  # fmt: skip
    name, sign, limit, unit = (record.get(key, "") for key in ("name", "operator", "target", "unit"))
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(f"{where}: name is {name!r}; expected a word as far_pct")
    if sign not in OPERATORS:
        raise InputError(f"{where}: operator is {sign!r}; expected one of {', '.join(OPERATORS)}")
    if not is_number(limit):
        raise InputError(f"{where}: target is {limit!r}; expected a finite number")
    if not isinstance(unit, str):
        raise InputError(f"{where}: unit is {unit!r}; expected text, empty for none")
    shown = f"{record.get('display_name') or name} {sign} {float(limit):.10g}{'' if unit in ('', '%') else ' '}{unit}"
    return Bound("command", float(limit), "=" in sign, shown, name, higher=">" in sign, unit=unit)


def _builtin(told: Mapping[str, Any], goal: Bound, conditions: tuple[Bound, ...], where: str) -> Contract:
    """FAR at a recall, as our own target says it; its threshold, proof and champion rule are ours."""
    named = told.get("id") or told.get("name") or BUILTIN
    recall = next((one for one in conditions if one.name == RECALL), None)
    if named != BUILTIN or goal.name != FAR or goal.unit != "%" or goal.higher:
        raise InputError(
            f"{where}: builtin evaluator {named!r} of {goal.name} ({goal.unit or 'no unit'}); this skill has {BUILTIN} "
            f"of {FAR} in %, lower is better; for another metric bring a command or an artifact"
        )
    if [one.name for one in conditions] not in ([], [RECALL]) or (recall and (recall.unit != "%" or not recall.higher)):
        raise InputError(f"{where}: {BUILTIN} takes one constraint, {RECALL} in %, with >= or >")
    asked = f" at recall {'>=' if recall.inclusive else '>'} {recall.limit:.10g}%" if recall else ""
    return parse_target(f"FAR {'<=' if goal.inclusive else '<'} {goal.limit:.10g}%{asked}")


def _evaluator(kind: Any, told: Mapping[str, Any], goal: Bound, where: str) -> Evaluator:
    if kind == "command":
        path, args = told.get("path"), told.get("args", [])
        if not isinstance(path, str) or not Path(path).is_absolute():
            raise InputError(f"{where}: evaluator.path is {path!r}; expected an absolute path")
        if not isinstance(args, list) or not all(isinstance(one, str) for one in args):
            raise InputError(f"{where}: evaluator.args is {args!r}; expected a list of texts")
        return Evaluator("command", goal.name, goal.unit, path=path, args=tuple(args))
    if kind == "artifact":
        template, producer = told.get("path_template"), told.get("producer")
        if not isinstance(template, str) or not Path(template).is_absolute() or "{iter_label}" not in template:
            raise InputError(
                f"{where}: evaluator.path_template is {template!r}; expected an absolute path with {{iter_label}}"
            )
        if not isinstance(producer, str) or not producer:
            raise InputError(f"{where}: evaluator.producer is {producer!r}; expected who writes the file")
        return Evaluator("artifact", goal.name, goal.unit, template=template, producer=producer)
    raise InputError(f"{where}: evaluator.type is {kind!r}; expected builtin, command or artifact")


def checked_result(content: bytes, contract: Contract, where: str) -> Result:
    """What an evaluator wrote, where it is a result of this contract. Raises InputError naming what is not."""
    try:
        record = parse_json(content)
    except ValueError as error:
        raise InputError(f"{where}: no JSON ({error}); expected one object with name, value, unit") from error
    evaluator = contract.evaluator
    if not isinstance(record, dict) or evaluator is None:
        raise InputError(f"{where}: expected a JSON object with name, value, unit")
    for key, expected in (("name", evaluator.name), ("unit", evaluator.unit)):
        if record.get(key) != expected:
            raise InputError(f"{where}: {key} is {record.get(key)!r}; the contract says {expected!r}")
    told = record.get("constraints", {})
    values = {evaluator.name: record.get("value")}
    values |= {one.name: told.get(one.name) if isinstance(told, dict) else None for one in contract.conditions}
    for name, value in values.items():
        if not is_number(value):
            place = "value" if name == evaluator.name else f"constraints.{name}"
            raise InputError(f"{where}: {place} is {value!r}; expected a finite number")
    threshold = record.get("threshold")
    if threshold is not None and not is_number(threshold):
        raise InputError(f"{where}: threshold is {threshold!r}; expected a finite number, or leave it out")
    numbers = {name: float(value) for name, value in values.items() if value is not None}
    return Result(numbers, None if threshold is None else float(threshold), record)


def contract_record(contract: Contract) -> dict[str, Any] | None:
    """The contract as the state holds it; None for a target that the bank's form cannot say."""
    if (evaluator := contract.evaluator) is not None:
        (goal,) = contract.goals
        told = {"type": evaluator.kind}
        more: dict[str, Any] = (
            {"path": evaluator.path, "args": list(evaluator.args)}
            if evaluator.kind == "command"
            else {"producer": evaluator.producer, "path_template": evaluator.template}
        )
        return {**_said(goal), "evaluator": told | more, "constraints": [_said(one) for one in contract.conditions]}
    far = contract.far
    if far is None or len(contract.goals) != 1 or far not in contract.goals:
        return None
    limit = 100 * (far.limit or 0.0)
    goal_record = {"name": FAR, "display_name": "FAR", "operator": "<=" if far.inclusive else "<", "target": limit}
    recall = {"name": RECALL, "display_name": "Recall", "operator": ">=", "target": 100 * contract.recall, "unit": "%"}
    return {**goal_record, "unit": "%", "evaluator": {"type": "builtin", "id": BUILTIN}, "constraints": [recall]}


def _said(bound: Bound) -> dict[str, Any]:
    shown = bound.text.partition(f" {_sign(bound)} ")[0]
    return {
        "name": bound.name, "display_name": shown, "operator": _sign(bound), "target": bound.limit, "unit": bound.unit,
    }  # fmt: skip


def _sign(bound: Bound) -> str:
    return (">" if bound.higher else "<") + ("=" if bound.inclusive else "")


def canonical(contract: Contract) -> str:
    """The contract as one line of JSON, the same for the same contract."""
    return json.dumps(contract_record(contract), sort_keys=True, ensure_ascii=False)


def is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False
