"""What an agent or a person saw on the contact sheet: `spot_check.json`, checked against its schema and the sheet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json, locked
from deft_aoi.base.paths import SKILL_ROOT, RunPaths
from deft_aoi.base.rows import PASS, read_sheet
from deft_aoi.data.label_review import COLUMNS, MISLABELED, read_review, write_review
from deft_aoi.record.order import LOOP_STOP, RCA
from deft_aoi.record.run import read_json
from deft_aoi.stages.gap_analysis import SHEET

NAME = "spot_check.json"
SCHEMA = SKILL_ROOT / "specs/spot_check.schema.json"
SOURCE = "spot check"
_KEYS = ["set", "input_path", "object_name"]


@dataclass(frozen=True)
class ContactSheet:
    """The contact sheet of a `model`, in the `folder` of its gap analysis, made in `iteration`."""

    model: str
    iteration: str
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / SHEET


def sheets(entries: Sequence[Mapping[str, Any]]) -> list[ContactSheet]:
    """Contact sheets of a run in the order of its journal: of each model the first one, a later one is a copy."""
    found: dict[str, ContactSheet] = {}
    for entry in entries:
        facts = entry.get("facts") or {}
        if entry["stage"] in (RCA, LOOP_STOP) and entry["status"] == "ok" and facts.get("rca_dir"):
            model = str(facts.get("analysed"))
            found.setdefault(model, ContactSheet(model, entry["iter"], Path(facts["rca_dir"])))
    return list(found.values())


def from_flags(verdicts: Sequence[str], notes: Sequence[str], reviewer: str) -> dict[str, Any]:
    """A record of `ROW=VERDICT` and `ROW=NOTE` texts; raises InputError for a text that is neither."""
    told = dict(_split(text, "--note") for text in notes)
    judged = [_split(text, "--verdict") for text in verdicts]
    rows = [{"row": row, "verdict": verdict, "note": told.pop(row, "")} for row, verdict in judged]
    if told:
        raise InputError(f"--note {min(told)}=...: row {min(told)} has no verdict; add --verdict {min(told)}=VERDICT")
    return {"schema_version": 1, "reviewer": reviewer, "verdicts": rows}


def _split(text: str, flag: str) -> tuple[int, str]:
    row, mark, value = text.partition("=")
    if not mark or not row.strip().isdigit():
        raise InputError(f"{flag} {text!r}: expected ROW=TEXT, ROW as numbered on the contact sheet")
    return int(row), value.strip().replace("_", " ") if flag == "--verdict" else value.strip()


def checked(record: Mapping[str, Any], rca_dir: Path, where: str) -> pd.DataFrame:
    """Rows of weak_samples.csv that the record judges, with `verdict` and `note`.

    Raises InputError where the record breaks the schema, names a row that the sheet does not show, or one twice.
    """
    from jsonschema import Draft202012Validator  # most calls of a stage check no verdicts

    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    problem = next(iter(sorted(Draft202012Validator(schema).iter_errors(record), key=lambda e: list(e.path))), None)
    if problem is not None:
        place = "/".join(map(str, problem.path)) or "the record"
        raise InputError(f"{where}: {place}: {problem.message}; expected as in {SCHEMA.relative_to(SKILL_ROOT)}")
    listed = read_sheet(rca_dir / "weak_samples.csv")
    if missing := {"sheet_row", "input_path", "object_name", "label"} - set(listed.columns):
        raise InputError(f"{rca_dir / 'weak_samples.csv'}: column {sorted(missing)[0]} missing; type: deft rca again")
    shown = {int(row["sheet_row"]): row for row in listed.to_dict("records") if row["sheet_row"].isdecimal()}
    found: dict[int, dict[Any, Any]] = {}
    for one in record["verdicts"]:
        if one["row"] not in shown:
            raise InputError(f"{where}: row {one['row']} is not on the contact sheet; it shows rows 1 to {len(shown)}")
        if one["row"] in found:
            raise InputError(f"{where}: row {one['row']} is judged twice")
        found[one["row"]] = shown[one["row"]] | {"verdict": one["verdict"], "note": one.get("note", "")}
    return pd.DataFrame(list(found.values()))


def save(paths: RunPaths | None, rca_dir: Path, record: Mapping[str, Any], where: str) -> int:
    """Check and write `spot_check.json` next to the sheet and, in a run, bring its verdicts into label_review.csv.

    Verdicts of other rows that were recorded before stay. Returns the number of verdicts handed in.
    """
    judged = checked(record, rca_dir, where)
    rows = read_verdicts(rca_dir) | {one["row"]: one for one in record["verdicts"]}
    atomic_write_json(rca_dir / NAME, {**record, "verdicts": [rows[row] for row in sorted(rows)]})
    if paths is not None:
        name = str(read_json(rca_dir / "metrics.json").get("rca_source") or "kpi")
        merge(paths, review_rows(judged, name, SOURCE))
    return len(judged)


def read_verdicts(rca_dir: Path) -> dict[int, dict[str, Any]]:
    """Verdicts next to a sheet by its row; none where nobody has looked."""
    path = rca_dir / NAME
    return {one["row"]: one for one in read_json(path)["verdicts"]} if path.is_file() else {}


def review_rows(weak: pd.DataFrame, set_name: str, source: str) -> pd.DataFrame:
    """Rows of label_review.csv from rows of weak_samples.csv."""
    labels = weak["label"]
    table = weak.assign(
        set=set_name,
        suggested=["a defect" if label == PASS else PASS for label in labels],
        level=source if source == SOURCE else "doubtful",
        probability_defect="",
        source=source,
    )
    for name in ("verdict", "note", "doubt"):
        table[name] = table[name] if name in table.columns else ""
    if source == SOURCE:
        table["suggested"] = table["suggested"].where(table["verdict"] == MISLABELED, "")
    return table[list(COLUMNS)].astype(str)


def merge(paths: RunPaths, rows: pd.DataFrame) -> None:
    """Bring rows into the run's label_review.csv: a row that is there already gets verdict and note, else it is added.

    Nothing is taken out, and no CSV that anybody trains on is touched.
    """
    with locked(paths.root / ".label_review.lock"):
        table = read_review(paths.label_review)
        place = {key: number for number, key in enumerate(zip(*(table[name] for name in _KEYS), strict=True))}
        fresh = []
        for row in rows.to_dict("records"):
            number = place.get(tuple(row[name] for name in _KEYS))
            if number is None:
                fresh.append(row)
            elif row["verdict"]:
                for name in ("verdict", "note"):
                    table.loc[number, name] = row[name]
        write_review(paths.label_review, pd.concat([table, pd.DataFrame(fresh, columns=list(COLUMNS))]))


def set_verdicts(paths: RunPaths, told: Mapping[tuple[str, str, str], tuple[str, str]]) -> None:
    """Write (verdict, note) of rows of label_review.csv, by set, input_path and object_name; an empty one asks again.
    Rows that are not listed, or have that verdict already, are left alone."""
    with locked(paths.root / ".label_review.lock"):
        table = read_review(paths.label_review)
        changed = False
        for number, key in enumerate(zip(*(table[name] for name in _KEYS), strict=True)):
            if key in told and tuple(table.loc[number, ["verdict", "note"]]) != told[key]:
                table.loc[number, ["verdict", "note"]] = told[key]
                changed = True
        if changed:
            write_review(paths.label_review, table)
