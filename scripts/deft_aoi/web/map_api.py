"""The map of the page: points, the row behind one with its neighbours, defects that training has nothing like."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_text
from deft_aoi.base.rows import PASS, write_sheet
from deft_aoi.data.sets import KPI, POOL
from deft_aoi.mining.index import nearest, scale_of
from deft_aoi.mining.landscape import uncovered
from deft_aoi.web.loopback import Call, Endpoint, NotFound, Schema
from deft_aoi.web.map_rows import MapRows, codes, map_rows
from deft_aoi.web.pictures import pair_picture
from deft_aoi.web.site import Known, Site, stamp

COLOURS = ("set", "label", "board", "type", "provenance", "mined")
_NEIGHBOURS = 5
_REQUEST: Schema = {
    "type": "object", "required": ["rows"], "additionalProperties": False,
    "properties": {"rows": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 2000}},
}  # fmt: skip


class Map:
    """Handlers of the map addresses."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def endpoints(self) -> list[Endpoint]:
        run = "/api/runs/{run}/map"
        text: Schema = {"type": "string"}
        return [
            Endpoint("GET", run, self.about, "how many rows, which have a vector, names by code"),
            Endpoint("GET", f"{run}/points", self.points,
                     "binary, little-endian: x, y, score as float32 (n each), a byte each of set, label, board, type, "
                     "provenance, mined, there, then pairs of uint32: a mined row and the row that asked for it"),
            Endpoint("GET", f"{run}/rows/{{row}}", self.row, "a row and its nearest rows", answer={"type": "object"}),
            Endpoint("GET", f"{run}/rows/{{row}}/picture", self.picture, "a picture of a row",
                     query={"kind": text, "light": text}),
            Endpoint("GET", f"{run}/near", self.near, "the nearest labelled rows of a row named by its identity",
                     query={"set": text, "input_path": text, "object_name": text}),
            Endpoint("GET", f"{run}/find", self.find, "rows whose name or folder holds a text", query={"text": text}),
            Endpoint("GET", f"{run}/uncovered", self.uncovered, "KPI defects without a neighbour in training"),
            Endpoint("POST", f"{run}/request", self.request, "write the collection request for these rows",
                     body=_REQUEST, writes=True),
        ]  # fmt: skip

    def rows(self, known: Known) -> MapRows:
        """Kept until the run or one of its CSVs changes."""
        space = known.workspace
        csvs = stamp(space.training_csv, space.validation_csv, space.kpi_csv, space.pool_csv)
        key = ("map", *known.stamp(), *csvs)
        return self.site.kept.get(key, lambda: map_rows(self.site.source(known), known.paths, space))

    def about(self, call: Call) -> dict[str, Any]:
        found = self.rows(self.site.run(call.path["run"]))
        named = {name: codes(found.table[name])[1] for name in COLOURS}
        return {
            "rows": len(found.table), "with_vector": int(found.there.sum()), "vectors": found.kind, "names": named,
            "links": int((found.table["asked_by"] >= 0).sum()), "scored": int(found.table["score"].notna().sum()),
            "counts": {k: int(v) for k, v in Counter(found.table["set"]).items()},
        }  # fmt: skip

    def points(self, call: Call) -> Any:
        from starlette.responses import Response

        known = self.site.run(call.path["run"])
        found = self.rows(known)
        data = self.site.kept.get(("bytes", id(found)), lambda: _packed(found))
        return Response(data, media_type="application/octet-stream")

    def row(self, call: Call) -> dict[str, Any]:
        known = self.site.run(call.path["run"])
        found, number = self._row(known, call)
        return {**shown(found, number), "neighbours": neighbours(found, number, labelled=False)}

    def near(self, call: Call) -> list[dict[str, Any]]:
        found = self.rows(self.site.run(call.path["run"]))
        wanted = {name: call.query.get(name, "") for name in ("set", "input_path", "object_name")}
        same = np.logical_and.reduce([(found.table[name] == value).to_numpy() for name, value in wanted.items()])
        at = np.flatnonzero(same)
        return neighbours(found, int(at[0]), labelled=True) if len(at) else []

    def find(self, call: Call) -> list[int]:
        found = self.rows(self.site.run(call.path["run"]))
        text = call.query.get("text", "").strip()
        if not text:
            return []
        table = found.table
        hit = table["object_name"].str.contains(text, case=False, regex=False)
        hit |= table["input_path"].str.contains(text, case=False, regex=False)
        return [int(row) for row in np.flatnonzero(hit)]

    def picture(self, call: Call) -> Any:
        known = self.site.run(call.path["run"])
        found, number = self._row(known, call)
        row, view = found.table.iloc[number], self.site.source(known).optics
        if view is None:
            raise NotFound("the workspace's spec is gone, which names the lights")
        root = known.workspace.root if row["set"] == POOL else known.workspace.images
        folders = (str(row["input_path"]), str(row["golden_path"]))
        light = call.query.get("light") or view.lights[0]
        kind = call.query.get("kind", "test")
        return pair_picture(root, folders, str(row["object_name"]), light, view.ext, kind, known.workspace.root)

    def _row(self, known: Known, call: Call) -> tuple[MapRows, int]:
        found = self.rows(known)
        text = call.path["row"]
        if not text.isdecimal() or int(text) >= len(found.table):
            raise NotFound(f"row {text[:20]}: the map has rows 0 to {len(found.table) - 1}")
        return found, int(text)

    def uncovered(self, call: Call) -> dict[str, Any]:
        found = self.rows(self.site.run(call.path["run"]))
        rows, similarity, limit = alone(found)
        order = np.argsort(similarity, kind="stable")
        listed = [{**shown(found, int(rows[n])), "similarity": round(float(similarity[n]), 4)} for n in order[:2000]]
        asked = int((in_kpi(found) & found.there).sum())
        return {"rows": listed, "limit": round(limit, 4), "asked": asked, "vectors": found.kind}

    def request(self, call: Call) -> dict[str, Any]:
        known = self.site.run(call.path["run"])
        found = self.rows(known)
        rows = [row for row in call.body["rows"] if row < len(found.table)]
        if not rows:
            raise InputError("no rows: a collection request needs at least one defect")
        table = found.table.iloc[rows][
            ["label", "board", "type", "object_name", "input_path", "golden_path", "set", "score"]
        ]
        csv, text = known.paths.root / "collection_request.csv", known.paths.root / "collection_request.md"
        write_sheet(csv, table.astype(str).replace("nan", ""))
        words = request_text(table, known.paths.root.name, found.kind)
        atomic_write_text(text, words)
        return {"files": [csv.name, text.name], "text": words}


def _packed(found: MapRows) -> bytes:
    table, out = found.table, io.BytesIO()
    for column in (found.points[:, 0], found.points[:, 1], table["score"].to_numpy(np.float32)):
        out.write(np.ascontiguousarray(column, "<f4").tobytes())
    for name in COLOURS:
        out.write(codes(table[name])[0].tobytes())
    out.write(found.there.astype(np.uint8).tobytes())
    asked = table["asked_by"].to_numpy()
    mined = np.flatnonzero(asked >= 0)
    out.write(b"\0" * (-out.tell() % 4))
    out.write(np.column_stack([mined, asked[mined]]).astype("<u4").tobytes())
    return out.getvalue()


def shown(found: MapRows, number: int) -> dict[str, Any]:
    """One row as the page lists it."""
    row = found.table.iloc[number]
    score = float(row["score"])
    names = ("set", "label", "board", "type", "provenance", "mined", "object_name", "input_path")
    return {
        "row": number, **{name: str(row[name]) for name in names}, "score": None if np.isnan(score) else score,
        "asked_by": int(row["asked_by"]), "judges": row["set"] == KPI,
    }  # fmt: skip


def neighbours(found: MapRows, number: int, *, labelled: bool) -> list[dict[str, Any]]:
    """The nearest rows by cosine of the standardised vectors, the row itself left out."""
    if not found.there[number]:
        return []
    allowed = found.there & (found.table["label"] != "").to_numpy() if labelled else found.there
    allowed = allowed.copy()
    allowed[number] = False
    rows = np.flatnonzero(allowed)
    if not len(rows):
        return []
    asked = np.asarray(found.vectors[number : number + 1], np.float32)
    near = nearest(
        asked, found.vectors, _NEIGHBOURS, rows=rows, scale=scale_of(found.vectors, np.flatnonzero(found.there))
    )
    return [
        {**shown(found, int(row)), "similarity": round(float(similarity), 4)}
        for row, similarity in zip(near.index[0], near.similarity[0]) if row >= 0
    ]  # fmt: skip


def in_kpi(found: MapRows) -> NDArray[np.bool_]:
    """Defects of the KPI set."""
    return ((found.table["set"] == KPI) & (found.table["label"] != PASS)).to_numpy()


def alone(found: MapRows) -> tuple[NDArray[np.int64], NDArray[np.float32], float]:
    """(KPI defects that no training row of their label is like, similarity of the nearest, limit)."""
    asked = np.flatnonzero(in_kpi(found) & found.there)
    known = np.flatnonzero((found.table["provenance"] != "").to_numpy() & found.there)
    labels = found.table["label"].to_numpy(str)
    if not len(asked):
        return asked, np.zeros(0, np.float32), 0.0
    vectors = np.asarray(found.vectors[asked], np.float32), np.asarray(found.vectors[known], np.float32)
    flags, similarity, limit = uncovered(vectors[0], list(labels[asked]), vectors[1], list(labels[known]))
    return asked[flags], similarity[flags], limit


def request_text(table: pd.DataFrame, run: str, vectors: str) -> str:
    """What to collect, for the people at the line."""
    lines = [
        f"# Collection request from {run}", "",
        f"These defects of the KPI set have no row of their type in training that looks like them (by {vectors}).",
        "Collect real samples of the same kind, from other boards where possible, label them and add them to the "
        "mining pool. Never add the KPI rows themselves.", "",
        "| defect | component type | rows here | boards | please collect at least |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for (label, kind), part in table.groupby(["label", "type"], sort=True):
        boards = ", ".join(sorted(set(part["board"]) - {""})[:6]) or "-"
        lines.append(f"| {label} | {kind or '-'} | {len(part)} | {boards} | {max(10, 5 * len(part))} |")
    return "\n".join([*lines, "", "The rows are in collection_request.csv.", ""])
