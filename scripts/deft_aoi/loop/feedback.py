"""`deft feedback`: what operators decided goes into the mining pool of the model's workspace, and on record.

A picture is named by its content, so a second call with the same verdicts adds nothing, also after a kill.
"""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import locked, utc_now
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import PASS, pad_columns, parse_csv, write_rows, write_sheet
from deft_aoi.base.safe_paths import workspace_of
from deft_aoi.data.pairs import Pair, convert_pairs
from deft_aoi.importers.reading import DEFECT as UNTYPED
from deft_aoi.kpi.reuse import NO_PASS, REVIEW
from deft_aoi.loop.feedback_outcomes import KNOWN, Source, judged, open_source
from deft_aoi.loop.score import read_reference
from deft_aoi.loop.verdicts import read_decisions, read_verdicts
from deft_aoi.preflight.inputs import read_inputs
from deft_aoi.record.feedback import ADDED, CONTRADICTION, FOLDER, Batch, Day, Verdict, append, read_feedback

CONTRADICTIONS = "contradictions.csv"
_IMAGES = "images/feedback"  # below the pool's folder


@dataclass(frozen=True)
class Taken:
    """What one call did: every verdict with its outcome."""

    workspace: Path
    verdicts: tuple[Verdict, ...]

    def record(self) -> dict[str, Any]:
        return {"workspace": str(self.workspace), "verdicts": [vars(one) for one in self.verdicts]}


def take_in(decisions: Path, verdicts: Path, *, workspace: Path | None = None, operator: str = "") -> Taken:
    """Put every verdict on record, and its part into the pool unless something speaks against that.

    Raises InputError where a table is not what it should be; then nothing is written.
    """
    decided = read_decisions(decisions)
    said = read_verdicts(verdicts, decided, operator=operator, today=datetime.date.today().isoformat())
    source = open_source(decisions)
    root = workspace or workspace_of(source.model_file.resolve().parent)
    if not Workspace(root).spec.is_file():
        raise InputError(f"{root}: no workspace with a spec; name the one whose pool shall grow by --workspace W")
    home = Workspace.at(root)
    with locked(home.root / FOLDER / ".lock"):
        sets = read_inputs(home).readable_sets()
        found = judged(sets, source, said, read_feedback(home.root))
        found = _into_pool(home, source, decided, found)
        append(home.root, [_batch(source, decided), *(one for one in found if one.outcome != KNOWN)])
        _list_contradictions(home.root)
    return Taken(home.root, tuple(found))


def _into_pool(
    home: Workspace, source: Source, decided: Mapping[str, Mapping[str, Any]], found: Sequence[Verdict]
) -> list[Verdict]:
    """Write pictures and rows of what is to be added; rows that a killed call wrote already stay."""
    wanted = [one for one in found if one.outcome == ADDED]
    pairs = []
    for one in wanted:
        golden = dict(source.goldens[decided[one.part]["golden"]].files)
        files = tuple((light, source.parts[one.part][light], golden[light]) for light in source.view.lights)
        pairs.append(Pair(one.object_name, one.label, files))
    folder = home.pool_dir / _IMAGES
    done, bad = convert_pairs(pairs, lambda pair: (folder / "test", folder / "golden"), source.view.ext)
    written = {pair.name for pair in done}
    rows = parse_csv(home.pool_csv) if home.pool_csv.is_file() else pad_columns(pd.DataFrame())
    there = set(rows["object_name"]) if "object_name" in rows.columns else set()
    new = [_row(one, source) for one in wanted if one.object_name in written - there]
    if new:
        write_rows(home.pool_csv, pd.concat([rows, pad_columns(pd.DataFrame(new))], ignore_index=True).fillna(""))
    why = "; ".join(f"{entry.file} is {entry.reason}" for entry in bad)
    return [
        replace(one, outcome=why, object_name="") if one.outcome == ADDED and one.object_name not in written else one
        for one in found
    ]


def _row(one: Verdict, source: Source) -> dict[str, str]:
    model = f"{source.model_file.parent.name} ({str(source.model.get('checkpoint_sha256'))[:12]})"
    return {
        "input_path": f"{_IMAGES}/test", "golden_path": f"{_IMAGES}/golden", "label": one.label,
        "object_name": one.object_name, "project": "feedback", "boardname": one.board,
        "mpass_mfail": "MPASS" if one.label == PASS else "MFAIL", "is_valid": "1", "comp_name": one.component,
        "provenance": f"{one.verdict}: {one.part} of {source.images.name}, decided {one.decision} by {model}",
        "operator": one.operator, "date": one.date,
    }  # fmt: skip


def _batch(source: Source, decided: Mapping[str, Mapping[str, Any]]) -> Batch:
    """The folder's decisions as they are now, counted by day."""
    days: dict[str, Counter[str]] = defaultdict(Counter)
    for row in decided.values():
        days[row["taken"][:10]].update(["parts", row["decision"]])
    reference = read_reference(source.model_file, dict(source.model)) or {}
    components = {row["component"] for row in decided.values()} - {""}
    new = components - set(reference["components"]) if reference.get("component_column") else set()
    return Batch(
        utc_now(), source.key, source.images.name, source.model_file.parent.name,
        {day: Day(count["parts"], count[NO_PASS], count[REVIEW]) for day, count in sorted(days.items())},
        tuple(sorted(new)), source.drift,
    )  # fmt: skip


def _list_contradictions(root: Path) -> None:
    """Every contradiction on record as a sheet for a person."""
    found = [one for one in read_feedback(root).verdicts if one.outcome.startswith(CONTRADICTION)]
    columns = ("part", "verdict", "label", "decision", "score", "operator", "date", "outcome")
    table = pd.DataFrame([[getattr(one, name) for name in columns] for one in found], columns=list(columns))
    write_sheet(root / FOLDER / CONTRADICTIONS, table)


def text(taken: Taken) -> str:
    """What a person reads."""
    said = Counter(one.verdict for one in taken.verdicts)
    new = Counter(one.label for one in taken.verdicts if one.outcome == ADDED)
    out = Counter(_kind(one.outcome) for one in taken.verdicts if one.outcome != ADDED)
    listed = ", ".join(f"{label} {count}" for label, count in sorted(new.items(), key=lambda item: item[0] != PASS))
    lines = [
        f"{len(taken.verdicts):,} verdicts: " + ", ".join(f"{word} {count}" for word, count in said.most_common()),
        f"added to the mining pool: {new.total():,} rows" + (f" ({listed})" if new else ""),
        *(f"not added: {count:,}, {why}" for why, count in out.most_common()),
    ]
    if new[UNTYPED]:
        lines.append(
            f"{new[UNTYPED]:,} defects have no type: name it in column label, so that mining can look for that type"
        )
    if out[CONTRADICTION]:
        lines.append(f"contradictions, for a person: {taken.workspace / FOLDER / CONTRADICTIONS}")
    return "\n".join(lines)


def _kind(outcome: str) -> str:
    return CONTRADICTION if outcome.startswith(CONTRADICTION) else outcome
