"""What people decided about single rows: `results/review_decisions.jsonl` of a workspace, one line a decision.

The file is the truth: a decision counts once its line is on disk, and everything made from it (label_review.csv, the
labelling queue, spot_check.json) can be made again. Nothing is taken out of it; undoing is a line too. One row can be
decided once, whoever asks: the file's lock decides who was first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import locked, sha256_json, utc_now
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.data.label_review import CONFIRMED, MISLABELED

NAME = "review_decisions.jsonl"
UNSURE = "unsure"
MAX_NOTE = 300


class AlreadyDecided(InputError):
    """Somebody has decided this row since it was shown."""


@dataclass(frozen=True)
class Decision:
    """One line. `chosen` is PASS, a defect's name, `unsure`, or a verdict on a sheet or golden; `label` is the row's
    label at that time; `undoes` the number of the line that this one takes back."""

    seq: int
    item: str
    kind: str
    run: str
    set: str
    input_path: str
    golden_path: str
    object_name: str
    label: str
    chosen: str
    note: str
    who: str
    when: str
    undoes: int | None = None


class ReviewLog:
    """The decisions of a workspace; each call sees what every other process has written."""

    def __init__(self, results: Path) -> None:
        self.path = results / NAME
        self.lock = results / ".review.lock"

    def lines(self) -> list[Decision]:
        """Every whole line, in order. Raises InputError for a damaged one."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        return [self._parsed(text, n) for n, text in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1)]

    def standing(self) -> dict[str, Decision]:
        """The decision of each item that counts: the last one, unless it was taken back."""
        return standing(self.lines())

    def add(self, item: str, row: Mapping[str, str], chosen: str, note: str, who: str) -> Decision:
        """Write a decision; durable when this returns. `row` has kind, run, set, the row's identity and its label.

        Raises AlreadyDecided.
        """
        with locked(self.lock):
            lines = self.lines()
            if (before := standing(lines).get(item)) is not None:
                raise AlreadyDecided(f"{row['object_name']}: {before.who} decided {before.chosen!r} at {before.when}")
            more: dict[str, Any] = {"seq": len(lines) + 1, "item": item, "when": utc_now(), **row}
            return self._append(Decision(**more, chosen=chosen, note=note[:MAX_NOTE], who=who))

    def undo(self, who: str, run: str) -> Decision | None:
        """Take back the last decision of `who` in `run` that counts; None where there is none."""
        with locked(self.lock):
            lines = self.lines()
            mine = [one for one in standing(lines).values() if (one.who, one.run) == (who, run)]
            if not mine:
                return None
            last = max(mine, key=lambda one: one.seq)
            self._append(Decision(**{**asdict(last), "seq": len(lines) + 1, "when": utc_now(), "undoes": last.seq}))
            return last

    def _append(self, made: Decision) -> Decision:
        with open(self.path, "ab+") as stream:
            stream.seek(0)
            whole = (data := stream.read()).rfind(b"\n") + 1
            if whole < len(data):  # a line that a crash cut: it was never confirmed to anybody
                os.truncate(stream.fileno(), whole)
            stream.write(json.dumps(asdict(made), ensure_ascii=False).encode("utf-8") + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        return made

    def _parsed(self, text: bytes, number: int) -> Decision:
        try:
            record: Any = parse_json(text)
            return Decision(**{one.name: record[one.name] for one in fields(Decision)})
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.path}, line {number}: damaged ({type(error).__name__}); put it back as it was, or remove it"
            ) from error


def standing(lines: list[Decision]) -> dict[str, Decision]:
    found: dict[str, Decision] = {}
    for one in lines:
        if one.undoes is None:
            found[one.item] = one
        else:
            found.pop(one.item, None)
    return found


def item_key(kind: str, *parts: str) -> str:
    """What a question is known by; the same parts are the same question."""
    return sha256_json([kind, *parts])[:16]


def label_item(row: Mapping[Any, Any]) -> str:
    """Key of a suspected label: the row and its label, whichever run of the workspace asks."""
    return item_key("label", *label_parts(row))


def label_parts(row: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("set", "input_path", "object_name", "label"))


def verdict(one: Decision) -> tuple[str, str]:
    """Verdict and note of label_review.csv; empty for a decision that was taken back."""
    if one.undoes is not None:
        return "", ""
    by = f"{one.who}, {one.when}" + (f": {one.note}" if one.note else "")
    if one.chosen in (one.label, UNSURE):
        return CONFIRMED if one.chosen == one.label else UNSURE, by
    return MISLABELED, f"is {one.chosen}; {by}"


def with_decisions(table: pd.DataFrame, results: Path) -> pd.DataFrame:
    """A fresh label_review table with the verdicts that people gave on the same labels in earlier runs."""
    known = ReviewLog(results).standing()
    found = [known.get(label_item(row)) for row in table.to_dict("records")]
    told = [("", "") if one is None else verdict(one) for one in found]
    return table.assign(verdict=[one[0] for one in told], note=[one[1] for one in told])
