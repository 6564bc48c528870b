"""Synthetic pairs in the report: what was asked for and what came, their share, the screen's flags, a contact sheet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import image_path, parse_csv, read_rows
from deft_aoi.engine.difference import FULL_HEAT
from deft_aoi.record.order import ANOMALYGEN, DATA_MERGE
from deft_aoi.record.run import read_json
from deft_aoi.report import gallery
from deft_aoi.report.source import Record, Source
from deft_aoi.spec.tree import Optics
from deft_aoi.synthetic.pregenerated import ROWS as STAGED_ROWS

SHEET = 24
_BUDGET = 900_000  # bytes of all its pictures
COUNTS = ("requested", "allocated", "generated")


def synthetic_facts(source: Source, iterations: list[Record]) -> Record | None:
    """For `report.json`: one part for each iteration with a synthetic source, and the finished ablations."""
    parts = [part for it in iterations if (part := _part(source, it)) is not None]
    found = [
        {name: record[name] for name in ("iteration", "without", "sentence")} | {"source": record["table"]}
        for record in map(read_json, source.paths.ablations())
    ]
    return {"iterations": parts, "ablations": found} if parts or found else None


def _part(source: Source, iteration: Record) -> Record | None:
    facts, merge = iteration["anomalygen"] or {}, iteration["merge"]
    if facts.get("mode") in (None, "off"):
        return None
    kinds = sorted({kind for name in COUNTS for kind in facts.get(name) or {}})
    realism = facts.get("realism") or {}
    rows = int(merge["rows"]) if merge else 0
    return {
        "label": iteration["label"],
        "mode": facts["mode"],
        "generator": facts.get("generator"),
        "pairs": int(facts.get("pairs") or 0),
        "counts": {name: sum((facts.get(name) or {}).values()) for name in COUNTS},
        "by_type": [[kind, *(int((facts.get(name) or {}).get(kind, 0)) for name in COUNTS)] for kind in kinds],
        "not_made": facts.get("labels_not_made") or [],
        "checked": int(realism.get("checked") or 0),
        "flagged": int(realism.get("flagged") or 0),
        "by_flag": realism.get("by_flag") or {},
        "rows": rows,
        "synthetic_rows": int(merge["synthetic_rows"]) if merge else 0,
        "share": merge["synthetic_rows"] / rows if rows else None,
        "over_share": int(source.facts(iteration["label"], DATA_MERGE).get("synthetic_over_share") or 0),
        "source": facts["source"],
    }


def shown_synthetic(source: Source, facts: Record, focus: str | None) -> Record | None:
    """For the page: the parts of the whole run, or of one iteration, and the sheet of the last one that has pairs."""
    found = facts.get("synthetic")
    if found is None:
        return None
    parts = [part for part in found["iterations"] if focus in (None, part["label"])]
    told = [one for one in found["ablations"] if focus in (None, one["iteration"])]
    if not parts and not told:
        return None
    return {"parts": parts, "ablations": told, "sheet": sheet(source, [part["label"] for part in parts])}


def sheet(source: Source, labels: list[str]) -> Record | None:
    """At most `SHEET` pairs, one label after the other; of the newest iteration whose pairs are on disk."""
    optics = source.optics
    for label in reversed(labels) if optics else ():
        facts = source.facts(label, ANOMALYGEN)
        csv = source.locate(facts.get("rows_csv")) or source.paths.synth_pool / STAGED_ROWS
        if optics is None or not csv.is_file():
            continue
        try:
            rows = read_rows(csv)
        except InputError:
            continue
        pairs, flags = chosen(rows), flags_of(source.locate((facts.get("realism") or {}).get("csv")))
        cards = _cards(source, optics, pairs, flags)
        return {"label": label, "cards": cards, "of": len(rows), "lights": optics.lights, "heat": FULL_HEAT}
    return None


def chosen(rows: pd.DataFrame, limit: int = SHEET) -> pd.DataFrame:
    """The first pair of each label and kind of part, then the second ones, and so on; the labels in turn."""
    kind = rows["object_name"].str.rpartition("_")[0]
    turn = rows.groupby(kind).cumcount()
    within = rows.assign(kind=kind, turn=turn).sort_values(["turn", "kind"], kind="stable").groupby("label").cumcount()
    order = rows.assign(place=within).sort_values(["place", "label"], kind="stable")
    return order.drop(columns="place").head(limit).sort_values(["label", "object_name"], kind="stable")


def flags_of(csv: Path | None) -> dict[str, str]:
    """Flags of the realism screen by `<input_path>/<object_name>`."""
    if csv is None:
        return {}
    table = parse_csv(csv)
    if not {"name", "flags"} <= set(table.columns):
        return {}
    return dict(zip(table["name"], table["flags"]))


def _cards(source: Source, optics: Optics, rows: pd.DataFrame, flags: dict[str, str]) -> list[Record]:
    pairs = []
    for number, row in enumerate(rows.to_dict("records"), start=1):
        name = str(row["object_name"])
        sights = tuple(
            gallery.Sight(
                light,
                *(
                    image_path(source.workspace, str(row[column]), name, light, optics.ext)
                    for column in ("input_path", "golden_path")
                ),
            )
            for light in optics.lights
        )
        note = flags.get(f"{row['input_path']}/{name}", "")
        pairs.append(
            gallery.Pair(
                f"synthetic{number}", "synthetic", str(row["label"]), name, "", sights, note=note, origin="synthetic"
            )
        )
    views = gallery.embed(pairs, _BUDGET, source.workspace)
    return [{"label": p.label, "name": p.name, "flags": p.note, "views": views[p.key]} for p in pairs]
