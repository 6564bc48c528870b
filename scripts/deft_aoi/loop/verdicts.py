"""Tables of decisions and of verdicts as people bring them, read and matched part by part."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.csv_text import line_of
from deft_aoi.base.errors import InputError
from deft_aoi.base.names import label_problem
from deft_aoi.base.rows import PASS, read_rows
from deft_aoi.base.safe_paths import shown
from deft_aoi.importers.reading import DEFECT as UNTYPED
from deft_aoi.importers.reading import label_of
from deft_aoi.importers.words import role_of
from deft_aoi.kpi.reuse import NO_PASS
from deft_aoi.record.feedback import DEFECT, ESCAPE, FALSE_CALL, GOOD

_DECIDED = ("part", "component", "board", "golden", "score", "decision", "problem", "taken")
_ESCAPES = ("escape", "escaped", "missed", "slip", "schlupf")
_WORDS = f"{DEFECT}, {FALSE_CALL}, {GOOD} or {ESCAPE}"
_LONGEST = 100  # characters of an operator's name


@dataclass(frozen=True)
class Said:
    """One row of the table of verdicts with the decision that it is about; `wrong`: why the two contradict."""

    part: str
    decided: Mapping[str, Any]
    verdict: str
    label: str
    operator: str
    date: str
    line: int
    wrong: str = ""

    @property
    def good(self) -> bool:
        return self.label == PASS


def read_decisions(csv: Path) -> dict[str, dict[str, Any]]:
    """Rows of decisions.csv by part. Raises InputError where it is no table of `deft score --images`."""
    rows = read_rows(csv, required=("part", "decision"))
    missing = [name for name in _DECIDED if name not in rows.columns]
    if missing:
        raise InputError(
            f"{csv}: column {', '.join(missing)} missing; expected decisions.csv as deft score --images writes it"
        )
    return {row["part"]: row for values in rows.to_numpy().tolist() for row in [dict(zip(rows.columns, values))]}


def read_verdicts(csv: Path, decisions: Mapping[str, dict[str, Any]], *, operator: str, today: str) -> list[Said]:
    """Rows with a verdict: columns part and verdict, and where wanted label, operator and date (else the given ones).

    Raises InputError for the first row that cannot be understood; one that contradicts its decision is marked.
    """
    rows = read_rows(csv, required=("part", "verdict"))
    texts = {name: rows[name].str.strip() if name in rows.columns else pd.Series("", rows.index) for name in _COLUMNS}
    found = []
    for at in range(len(rows)):
        part, verdict, label, who, date = (texts[name].iloc[at] for name in _COLUMNS)
        if verdict:
            where = f"{csv}, line {line_of(csv, at)}"
            said = _said(where, part, verdict, label, decisions)
            found.append(
                Said(
                    part, decisions[part], *said[:2], _name(where, who or operator), _day(where, date or today),
                    line_of(csv, at), said[2],
                )
            )  # fmt: skip
    if not found:
        raise InputError(f"{csv}: no row has a verdict; expected {_WORDS} in column verdict")
    return found


_COLUMNS = ("part", "verdict", "label", "operator", "date")


def _said(
    where: str, part: str, verdict: str, label: str, decisions: Mapping[str, dict[str, Any]]
) -> tuple[str, str, str]:
    """(verdict, label, how it contradicts the decision)."""
    if part not in decisions:
        raise InputError(f"{where}: part {shown(part)} is not in the decisions; expected a name of their column part")
    decision = decisions[part]["decision"]
    plain = verdict.casefold()
    escape = any(word in plain for word in _ESCAPES)
    role = "bad" if escape else role_of(verdict)
    if role not in ("good", "bad"):
        raise InputError(f"{where}: verdict {shown(verdict)}; expected {_WORDS}")
    if role == "good":
        called = decision == NO_PASS
        wrong = f"called {verdict}, and the part was decided {decision}" if _is_call(plain) and decision == PASS else ""
        wrong = wrong or (f"called {verdict}, and its label says {label}" if label and label_of(label) != PASS else "")
        return (FALSE_CALL if called else GOOD), PASS, wrong
    named = label_of(label) if label else UNTYPED
    if problem := label_problem(named):
        raise InputError(f"{where}: label {shown(label)}: {problem}")
    wrong = f"called {verdict}, and its label says {label}" if named == PASS else ""
    wrong = wrong or (
        f"called {verdict}, and the part was decided {decision}" if escape and decision == NO_PASS else ""
    )
    return (ESCAPE if escape or decision == PASS else DEFECT), named, wrong


def _is_call(plain: str) -> bool:
    return "false" in plain or "pseudo" in plain


def _day(where: str, text: str) -> str:
    try:
        return datetime.date.fromisoformat(text[:10]).isoformat()
    except ValueError:
        raise InputError(f"{where}: date {shown(text)}; expected it as 2026-03-31") from None


def _name(where: str, text: str) -> str:
    if len(text) > _LONGEST or not text.isprintable():
        raise InputError(f"{where}: operator {shown(text)}; expected a name of at most {_LONGEST} characters")
    return text
