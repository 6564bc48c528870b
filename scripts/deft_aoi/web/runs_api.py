"""Runs of the page: the list, the facts of one, how it is now, words after a hard stop, the approval code."""

from __future__ import annotations

from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import Workspace
from deft_aoi.loop import decisions
from deft_aoi.preflight import preflight
from deft_aoi.record.run import read_json
from deft_aoi.report.collect import facts_of
from deft_aoi.report.render import page_text
from deft_aoi.report.source import Record
from deft_aoi.web.live import live
from deft_aoi.web.loopback import Call, Conflict, Endpoint, Schema
from deft_aoi.web.site import Known, Site

_TEXT: Schema = {"type": "string"}
RUN_ROW: Schema = {
    "type": "object",
    "required": ["key", "name", "workspace", "status", "target", "far"],
    "properties": {
        "key": _TEXT, "name": _TEXT, "workspace": _TEXT, "target": _TEXT,
        "status": {"enum": ["waiting", "not_started", "in_progress", "hard_stop", "complete", "damaged"]},
        "far": {"type": "array", "items": {"type": "object"}},
        "verdict": {"type": ["string", "null"]}, "best": {"type": ["string", "null"]}, "problem": _TEXT,
    },
}  # fmt: skip
_WORDS: Schema = {
    "type": "object", "required": ["words"], "additionalProperties": False,
    "properties": {"words": {"type": "string", "minLength": 3, "maxLength": 300}, "stop": {"type": "boolean"}},
}  # fmt: skip
_CODE: Schema = {
    "type": "object", "required": ["code"], "additionalProperties": False,
    "properties": {"code": {"type": "string", "minLength": 1, "maxLength": 40}},
}  # fmt: skip


class Runs:
    """Handlers of the run addresses."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def endpoints(self) -> list[Endpoint]:
        run = "/api/runs/{run}"
        return [
            Endpoint("GET", "/api/runs", self.listed, "every run", answer={"type": "array", "items": RUN_ROW}),
            Endpoint("GET", run, self.facts, "the facts of a run: what report.json holds", answer={"type": "object"}),
            Endpoint("GET", f"{run}/live", self.live, "stage, jobs, log, hard stop", answer={"type": "object"}),
            Endpoint("GET", f"{run}/report", self.report, "the static report as HTML"),
            Endpoint("POST", f"{run}/resolve", self.resolve, "a person's decision after a hard stop", body=_WORDS,
                     writes=True),
            Endpoint("POST", f"{run}/approve", self.approve, "start the plan whose code a person typed", body=_CODE,
                     writes=True),
        ]  # fmt: skip

    def listed(self, call: Call) -> list[Record]:
        return [self._row(one) for one in self.site.runs()]

    def _row(self, known: Known) -> Record:
        row: Record = {
            "key": known.key, "name": known.paths.root.name, "workspace": str(known.workspace.root),
            "status": "waiting", "target": "", "far": [], "verdict": None, "best": None, "problem": "",
        }  # fmt: skip
        try:
            return row | self.site.kept.get(("row", *known.stamp()), lambda: self._figures(known))
        except InputError as error:
            return row | {"status": "damaged", "problem": str(error)}

    def _figures(self, known: Known) -> Record:
        """Status, target and FAR of each iteration, from state and journal alone."""
        if not known.paths.state.is_file() and not known.paths.log.is_file():
            return {"target": str(read_json(known.paths.preflight).get("plan", {}).get("kpi_target", ""))}
        source = self.site.source(known)
        plan, config = source.preflight.get("plan") or {}, source.state.get("config") or {}
        far: list[Record] = []
        best: Record | None = None
        for entry in source.entries:
            if (entry["stage"], entry["status"]) == ("evaluate", "ok") and entry.get("facts", {}).get(
                "far_pct"
            ) is not None:
                found = entry["facts"]
                far.append(
                    {"label": entry["iter"], "far_pct": found["far_pct"], "upper_pct": found.get("far_upper_pct")}
                )
                best = found if found.get("champion", True) else best
        end: Record = next(
            (e["facts"] for e in reversed(source.entries) if e["stage"] == "loop_stop" and e.get("facts")), {}
        )
        label = end.get("best_label") or (best or {}).get("champion_label")
        return {
            "status": source.status() if source.entries or config.get("approval") else "waiting",
            "target": str(source.state.get("kpi_target") or plan.get("kpi_target") or ""),
            "far": far,
            "verdict": end.get("verdict") or (best or {}).get("verdict"),
            "best": label,
            "started_at": source.state.get("started_at"),
            "updated_at": source.entries[-1]["ts"] if source.entries else None,
            "engine": source.config.get("engine"), "platform": source.config.get("platform"),
        }  # fmt: skip

    def facts(self, call: Call) -> Record:
        known = self.site.run(call.path["run"])
        found = facts(self.site, known)
        return {**found, "key": known.key, "workspace": str(known.workspace.root), "run_dir": str(known.paths.root)}

    def live(self, call: Call) -> Record:
        known = self.site.run(call.path["run"])
        return {"key": known.key, "name": known.paths.root.name, **live(known)}

    def report(self, call: Call) -> Any:
        from starlette.responses import HTMLResponse

        known = self.site.run(call.path["run"])
        text = self.site.kept.get(("page", *known.stamp()), lambda: page_text(known.paths.root))
        # The report brings its own policy, which allows no connection anywhere.
        policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    def resolve(self, call: Call) -> Record:
        known = self.site.run(call.path["run"])
        done = decisions.resolve(known.paths.root, call.body["words"].strip(), stop=call.body.get("stop", False))
        return {"code": done.code, "line": done.line}

    def approve(self, call: Call) -> Record:
        """The code is compared with this run's own: whoever types another one has read another Summary."""
        known = self.site.run(call.path["run"])
        paths = preflight.find_by_code(Workspace(known.workspace.root), call.body["code"])
        if paths.root != known.paths.root:
            raise Conflict(f"that code belongs to {paths.root.name}; read the Summary on this page and type its code")
        preflight.start(paths)
        return {"started": str(paths.root)}


def facts(site: Site, known: Known) -> Record:
    """`report.json` of a run as it is now, kept until journal, state or review list change."""
    from deft_aoi.web.site import stamp

    paths = known.paths
    key = ("facts", *known.stamp(), *stamp(paths.label_review, paths.narrative))
    return site.kept.get(key, lambda: facts_of(site.source(known)))
