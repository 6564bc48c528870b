"""The figures of the page: exact counts at every threshold, the curve, groups, and the rows that change side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import PASS, read_columns
from deft_aoi.rca.tables import COMPONENT_COLUMNS
from deft_aoi.report import measure
from deft_aoi.report.collect import require_label
from deft_aoi.web.loopback import Call, Endpoint, NotFound, Schema
from deft_aoi.web.pictures import pair_picture
from deft_aoi.web.runs_api import facts
from deft_aoi.web.site import Known, Site, stamp

_COLUMNS = ("object_name", "input_path", "golden_path", "boardname", *COMPONENT_COLUMNS)
_LISTED = 200
GROUPS = ("label", "board", "component")


@dataclass(frozen=True)
class ScoredRows:
    """The rows of one inference CSV, with the columns that a page groups by."""

    scored: measure.Scored
    table: pd.DataFrame
    threshold: float
    component: str | None


class Figures:
    """Handlers of the figure addresses."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def endpoints(self) -> list[Endpoint]:
        one = "/api/runs/{run}/models/{label}"
        number: Schema = {"type": "number"}
        text: Schema = {"type": "string"}
        return [
            Endpoint("GET", one, self.model, "counts at every threshold and the curve of one model",
                     answer={"type": "object"}),
            Endpoint("GET", f"{one}/groups", self.groups, "false calls and escapes by label, board or component",
                     query={"by": {"enum": list(GROUPS)}, "threshold": number}),
            Endpoint("GET", f"{one}/changed", self.changed, "rows whose decision another threshold changes",
                     query={"threshold": number}),
            Endpoint("GET", f"{one}/rows/{{row}}/picture", self.picture, "a picture of a scored row",
                     query={"kind": text, "light": text}),
        ]  # fmt: skip

    def rows(self, known: Known, label: str) -> ScoredRows:
        """The scored rows of one model. Raises NotFound where the CSV is gone."""
        one = require_label(facts(self.site, known), label)
        source = self.site.source(known)
        csv = source.locate((source.facts(label, "evaluate") or {}).get("inference_csv")) if one["evaluate"] else None
        if csv is None:
            raise NotFound(f"{label}: no scores on disk")
        threshold = float(one["evaluate"]["threshold"])

        def read() -> ScoredRows:
            scored = measure.load_scores(csv)
            table = read_columns(csv, list(_COLUMNS), absent=True).to_pandas().fillna("")
            kind = next((name for name in COMPONENT_COLUMNS if table[name].nunique() > 1), None)
            return ScoredRows(scored, table.assign(label=scored.label), threshold, kind)

        return self.site.kept.get(("scored", known.key, label, *stamp(csv)), read)

    def model(self, call: Call) -> dict[str, Any]:
        known, label = self.site.run(call.path["run"]), call.path["label"]
        found = self.rows(known, label)
        recall = self.site.source(known).recall
        axis = measure.score_axis(found.scored, found.threshold)
        curve = measure.far_against_recall(found.scored.swept)
        return {
            "label": label, "threshold": found.threshold, "recall_wanted": recall,
            "slider": measure.slider(found.scored, found.threshold, recall),
            "axis": {"kind": axis.kind, "low": axis.low, "high": axis.high, "ticks": measure.axis_ticks(axis)},
            "ridges": [vars(one) for one in measure.ridges(found.scored, axis, found.threshold)],
            "curve": curve, "rows": len(found.table),
            "groups": [name for name in GROUPS if name != "component" or found.component],
        }  # fmt: skip

    def groups(self, call: Call) -> list[dict[str, Any]]:
        found = self.rows(self.site.run(call.path["run"]), call.path["label"])
        by = call.query.get("by", "label")
        column = {"label": "label", "board": "boardname", "component": found.component}.get(by)
        if column is None:
            raise InputError(f"by={by[:40]!r}: expected one of {', '.join(GROUPS)} that these rows have")
        defect, called = found.scored.label != PASS, found.scored.score > _threshold(call, found)
        counted = pd.DataFrame({
            "name": found.table[column], "passes": ~defect, "false_calls": ~defect & called, "defects": defect,
            "escapes": defect & ~called,
        })  # fmt: skip
        sums = counted.groupby("name").sum().sort_values(["escapes", "false_calls"], ascending=False, kind="stable")
        return [{"name": str(name) or "(not named)", **{str(k): int(v) for k, v in row.items()}}
                for name, row in sums.head(_LISTED).iterrows()]  # fmt: skip

    def changed(self, call: Call) -> dict[str, Any]:
        """Rows between the chosen threshold and the asked one, the nearest to the chosen one first."""
        found = self.rows(self.site.run(call.path["run"]), call.path["label"])
        asked, score = _threshold(call, found), found.scored.score
        low, high = sorted((asked, found.threshold))
        rows = np.flatnonzero((score > low) & (score <= high))
        rows = rows[np.argsort(np.abs(score[rows] - found.threshold), kind="stable")]
        to = PASS if asked > found.threshold else "NO_PASS"
        return {"count": len(rows), "to": to, "rows": [_row(found, rows, n) for n in range(min(len(rows), _LISTED))]}

    def picture(self, call: Call) -> Any:
        known = self.site.run(call.path["run"])
        found, text = self.rows(known, call.path["label"]), call.path["row"]
        if not text.isdecimal() or int(text) >= len(found.table):
            raise NotFound(f"row {text[:20]}: these scores have rows 0 to {len(found.table) - 1}")
        row, view = found.table.iloc[int(text)], self.site.source(known).optics
        if view is None:
            raise NotFound("the workspace's spec is gone, which names the lights")
        space = known.workspace
        light, kind = call.query.get("light") or view.lights[0], call.query.get("kind", "test")
        folders = (str(row["input_path"]), str(row["golden_path"]))
        return pair_picture(space.images, folders, str(row["object_name"]), light, view.ext, kind, space.root)


def _threshold(call: Call, found: ScoredRows) -> float:
    text = call.query.get("threshold", "")
    try:
        value = float(text) if text else found.threshold
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise InputError(f"threshold={text[:40]!r}: expected a number")
    return value


def _row(found: ScoredRows, rows: NDArray[np.int64], n: int) -> dict[str, Any]:
    row = found.table.iloc[rows[n]]
    return {
        "row": int(rows[n]), "object_name": row["object_name"], "label": row["label"], "board": row["boardname"],
        "score": float(found.scored.score[rows[n]]),
    }  # fmt: skip
