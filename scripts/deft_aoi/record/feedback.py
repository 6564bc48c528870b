"""What operators decided about scored parts: `W/feedback/feedback.jsonl`, append-only, and what follows from it.

Two kinds of lines: a batch (one folder of decisions, counted by day, as of the last verdicts for it) and a verdict.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from deft_aoi.base.errors import InputError

FOLDER, LOG = "feedback", "feedback.jsonl"
DEFECT, FALSE_CALL, GOOD, ESCAPE = "real defect", "false call", "good", "escape"  # good: a part that was not called
ADDED, CONTRADICTION = "added", "contradiction"  # any other outcome says why the part is not in the pool
R = TypeVar("R", "Batch", "Verdict")


@dataclass(frozen=True)
class Day:
    """Parts whose pictures were taken on one day: all, called NO_PASS, for a person."""

    parts: int
    called: int
    review: int


@dataclass(frozen=True)
class Batch:
    """Decisions of one folder by one model: `key` names both, `days` counts parts by day (ISO date), `components` are
    the component types in it that the model's KPI set never had, `drift` what scoring reported of it, or nothing."""

    at: str
    key: str
    images: str
    model: str
    days: Mapping[str, Day]
    components: tuple[str, ...]
    drift: str


@dataclass(frozen=True)
class Verdict:
    """What a person decided of one part. `day`: of its pictures; `content`: their SHA-256; `outcome`: ADDED or why it
    is not in the pool; `object_name` of its pool row, empty without one."""

    at: str
    batch: str
    part: str
    component: str
    board: str
    day: str
    decision: str
    score: float | None
    verdict: str
    label: str
    operator: str
    date: str
    content: str
    outcome: str
    object_name: str


@dataclass(frozen=True)
class Feedback:
    """All lines, in order; of a batch that was read again the last line counts."""

    batches: tuple[Batch, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.batches)

    def since(self, at: str) -> Feedback:
        """What was recorded after that time (ISO-8601 UTC)."""
        return Feedback(
            tuple(batch for batch in self.batches if batch.at > at),
            tuple(verdict for verdict in self.verdicts if verdict.at > at),
        )

    def counted(self) -> tuple[Verdict, ...]:
        """The verdicts that say something of their part: without contradictions."""
        return tuple(one for one in self.verdicts if not one.outcome.startswith(CONTRADICTION))


@dataclass(frozen=True)
class DayCount:
    """One day of the line. `unjudged`: called or for a person, and nobody has decided. The rate of false calls is that
    of the parts that are not known to be defects, in percent; None where there is none."""

    day: str
    parts: int
    called: int
    false_calls: int
    defects: int
    escapes: int
    unjudged: int

    @property
    def false_call_pct(self) -> float | None:
        good = self.parts - self.defects - self.escapes
        return 100 * self.false_calls / good if good > 0 else None


def by_day(found: Feedback) -> list[DayCount]:
    """The days of all batches, oldest first, with what was reported of their parts."""
    latest = {batch.key: batch for batch in found.batches}
    says = found.counted()
    counts = []
    for day in sorted({day for batch in latest.values() for day in batch.days}):
        mine = [batch.days[day] for batch in latest.values() if day in batch.days]
        said = [one for one in says if one.day == day and one.batch in latest]
        asked = sum(entry.called + entry.review for entry in mine)
        answered = sum(one.decision != "PASS" for one in said)
        number = {word: sum(one.verdict == word for one in said) for word in (FALSE_CALL, DEFECT, ESCAPE)}
        counts.append(
            DayCount(
                day, sum(entry.parts for entry in mine), sum(entry.called for entry in mine), number[FALSE_CALL],
                number[DEFECT], number[ESCAPE], max(asked - answered, 0),
            )
        )  # fmt: skip
    return counts


def log_path(workspace: Path) -> Path:
    return workspace / FOLDER / LOG


def read_feedback(workspace: Path) -> Feedback:
    """All that was recorded; nothing where no verdict ever came. Raises InputError where the file is damaged."""
    path = log_path(workspace)
    if not path.is_file():
        return Feedback()
    batches, verdicts = [], []
    data = path.read_bytes()
    for number, text in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):  # the rest a crash cut off
        try:
            line = json.loads(text)
            if line["kind"] == "batch":
                days = {day: Day(**counts) for day, counts in line["days"].items()}
                batches.append(_record(Batch, {**line, "components": tuple(line["components"]), "days": days}))
            else:
                verdicts.append(_record(Verdict, line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}, line {number}: damaged ({error}); restore the file from a backup") from None
    return Feedback(tuple(batches), tuple(verdicts))


def _record(kind: type[R], line: Mapping[str, Any]) -> R:
    return kind(**{entry.name: line[entry.name] for entry in fields(kind)})


def append(workspace: Path, lines: Sequence[Batch | Verdict]) -> None:
    """Add lines, durable when this returns; a last line that a crash cut off is removed first."""
    path = log_path(workspace)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as stream:
        stream.seek(0)
        data = stream.read()
        stream.truncate(data.rfind(b"\n") + 1)
        stream.write(b"".join(_texts(lines)))
        stream.flush()
        os.fsync(stream.fileno())


def _texts(lines: Iterable[Batch | Verdict]) -> Iterable[bytes]:
    for line in lines:
        kind = "batch" if isinstance(line, Batch) else "verdict"
        yield json.dumps({"kind": kind, **asdict(line)}, ensure_ascii=False).encode() + b"\n"
