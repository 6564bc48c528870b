"""The review queue of the page: what is next, who has it, decisions, undo, and the labels that a next run will read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from threading import Lock
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.names import label_problem, means_good, names_nothing
from deft_aoi.base.rows import PASS, normalise_label, read_columns
from deft_aoi.data.sets import KPI
from deft_aoi.loop import label_fixes, review_apply
from deft_aoi.loop.feedback import take_in
from deft_aoi.loop.review_items import KINDS, SCORED, Item, review_items
from deft_aoi.record.review_log import UNSURE, AlreadyDecided
from deft_aoi.web.loopback import Call, Conflict, Endpoint, NotFound, Schema
from deft_aoi.web.pictures import file_picture, pair_picture
from deft_aoi.web.site import Known, Site, stamp

LEASE_S = 90.0  # how long a row that a browser shows is kept from the others
_BATCH = 6
_SHOWN = ("key", "kind", "set", "label", "suggested", "reason", "board", "object_name", "input_path", "score", "doubt")
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 80}
_DECISION: Schema = {
    "type": "object", "required": ["item", "chosen", "who", "browser"], "additionalProperties": False,
    "properties": {
        "item": _NAME, "chosen": {"type": "string", "minLength": 1, "maxLength": 120}, "who": _NAME, "browser": _NAME,
        "note": {"type": "string", "maxLength": 300},
    },
}  # fmt: skip
_WHO: Schema = {"type": "object", "required": ["who"], "additionalProperties": False, "properties": {"who": _NAME}}
_FIXES: Schema = {
    "type": "object", "additionalProperties": False, "properties": {"kpi_words": {"type": "string", "maxLength": 80}},
}  # fmt: skip


class Leases:
    """Which browser has which row on its screen; forgotten after a while, and when the server ends."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[str, float]] = {}
        self._lock = Lock()

    def take(self, items: Sequence[Item], browser: str, count: int) -> list[Item]:
        """The first `count` items that no other browser has, now leased to this one."""
        now = time.monotonic()
        with self._lock:
            self._of = {key: held for key, held in self._of.items() if held[1] > now and held[0] != browser}
            free = [item for item in items if item.key not in self._of][:count]
            self._of |= {item.key: (browser, now + LEASE_S) for item in free}
            return free

    def others(self, browser: str) -> int:
        now = time.monotonic()
        with self._lock:
            return sum(held[1] > now and held[0] != browser for held in self._of.values())


class Review:
    """Handlers of the review addresses."""

    def __init__(self, site: Site) -> None:
        self.site, self.leases = site, Leases()
        self._settled: set[str] = set()
        self._lock = Lock()

    def endpoints(self) -> list[Endpoint]:
        run = "/api/runs/{run}"
        text: Schema = {"type": "string"}
        return [
            Endpoint("GET", f"{run}/queue", self.queue, "what waits, and the next rows for this browser",
                     query={"kind": {"enum": ["", *KINDS]}, "browser": text, "skip": text}, answer={"type": "object"}),
            Endpoint("POST", f"{run}/decisions", self.decide, "one decision, on disk when this answers", body=_DECISION,
                     writes=True),
            Endpoint("POST", f"{run}/undo", self.undo, "take back a person's last decision", body=_WHO, writes=True),
            Endpoint("GET", f"{run}/decisions", self.decisions, "every decision of this run that counts"),
            Endpoint("GET", f"{run}/items/{{item}}/picture", self.picture, "a picture of one item",
                     query={"kind": text, "light": text}),
            Endpoint("GET", f"{run}/fixes", self.fixes, "labels that differ from the CSVs, for the next run"),
            Endpoint("POST", f"{run}/fixes", self.write_fixes, "write these labels into the workspace's CSVs",
                     body=_FIXES, writes=True),
            Endpoint("POST", f"{run}/feedback", self.feedback, "take decided REVIEW parts into the mining pool",
                     body={}, writes=True),
        ]  # fmt: skip

    def items(self, known: Known) -> list[Item]:
        """Every open question of a run, kept until one of the files that ask changes."""
        paths = known.paths
        self.settle(known)
        queues = sorted(paths.root.glob("*/mining_filter/labelling_queue.csv"))
        key = (
            "items",
            *known.stamp(),
            *stamp(paths.label_review, *queues, *(s / "decisions.csv" for s in self.site.scored)),
        )
        found = self.site.kept.get(key, lambda: review_items(paths, known.workspace, self.site.scored))
        decided = known.log.standing()
        return [item for item in found if item.key not in decided]

    def settle(self, known: Known) -> None:
        """Once a server: apply what a killed one wrote down and did not come to apply."""
        with self._lock:
            if known.key not in self._settled and known.paths.state.is_file():
                review_apply.settle(known.paths, known.workspace, known.log, self.site.scored)
                self._settled.add(known.key)

    def queue(self, call: Call) -> dict[str, Any]:
        known = self.site.run(call.path["run"])
        kind, browser = call.query.get("kind", ""), call.query.get("browser", "")
        skipped = set(filter(None, call.query.get("skip", "").split(",")))
        everything = self.items(known)
        waiting = [item for item in everything if not kind or item.kind == kind]
        later = [item for item in waiting if item.key in skipped]
        shown = [item for item in waiting if item.key not in skipped] + later
        lights = self._lights(known)
        mine = self.leases.take(shown, browser, _BATCH)
        decided = [one for one in known.log.standing().values() if one.run == known.paths.root.name]
        return {
            "counts": {name: count for name in KINDS if (count := Counter(i.kind for i in everything)[name])},
            "left": len(waiting), "decided": len(decided), "with_others": self.leases.others(browser),
            "labels": self._labels(known), "lights": lights, "items": [self._shown(item) for item in mine],
            "unsure": UNSURE, "scored": len(self.site.scored),
        }  # fmt: skip

    def _shown(self, item: Item) -> dict[str, Any]:
        names = (
            "key",
            "kind",
            "set",
            "label",
            "suggested",
            "reason",
            "board",
            "object_name",
            "input_path",
            "score",
            "doubt",
        )
        return {
            **{name: getattr(item, name) for name in names},
            "choices": list(item.choices), "heat": bool(item.heat), "judges": item.set == KPI,
        }  # fmt: skip

    def _lights(self, known: Known) -> list[str]:
        view = self.site.source(known).optics
        return list(view.lights) if view else []

    def _labels(self, known: Known) -> list[str]:
        """PASS, then the defect names of the workspace's sets, the most frequent first."""
        space = known.workspace
        csvs = [
            path for path in (space.training_csv, space.validation_csv, space.kpi_csv, space.pool_csv) if path.is_file()
        ]

        def count() -> list[str]:
            found: Counter[str] = Counter()
            for path in csvs:
                found.update(map(normalise_label, read_columns(path, ["label"])["label"].to_pylist()))
            return [PASS, *(name for name, _ in found.most_common() if name not in (PASS, ""))]

        return self.site.kept.get(("labels", str(space.root), *stamp(*csvs)), count)

    def _item(self, known: Known, key: str) -> Item:
        for item in self.items(known):
            if item.key == key:
                return item
        if (before := known.log.standing().get(key)) is not None:
            raise Conflict(f"{before.object_name}: {before.who} decided {before.chosen!r} at {before.when}")
        raise NotFound(f"item {key[:20]!r}: no longer asked; load the queue again")

    def decide(self, call: Call) -> dict[str, Any]:
        known = self.site.run(call.path["run"])
        item, chosen = self._item(known, call.body["item"]), call.body["chosen"].strip()
        if not item.choices and chosen != UNSURE:
            chosen = normalise_label(chosen)
            if chosen != PASS and (means_good(chosen) or names_nothing(chosen)):
                raise InputError(f"label {chosen!r}: expected PASS or a defect's name")
            if chosen != PASS and (problem := label_problem(chosen)):
                raise InputError(f"label {chosen!r}: {problem}")
        if not item.accepts(chosen):
            raise InputError(f"{chosen!r}: expected one of {', '.join((*item.choices, UNSURE))}")
        note, who = call.body.get("note", "").strip(), call.body["who"].strip()
        try:
            made = review_apply.decide(known.paths, known.log, item, chosen, note, who, self.site.scored)
        except AlreadyDecided as error:
            raise Conflict(str(error)) from error
        return {"seq": made.seq, "when": made.when, "chosen": made.chosen}

    def undo(self, call: Call) -> dict[str, Any]:
        known = self.site.run(call.path["run"])
        before = review_apply.undo(known.paths, known.log, call.body["who"].strip(), self.site.scored)
        if before is None:
            raise NotFound("nothing of yours to take back")
        return {"item": before.item, "object_name": before.object_name, "chosen": before.chosen}

    def decisions(self, call: Call) -> list[dict[str, Any]]:
        known = self.site.run(call.path["run"])
        mine = [one for one in known.log.standing().values() if one.run == known.paths.root.name]
        return [vars(one) for one in sorted(mine, key=lambda one: -one.seq)]

    def picture(self, call: Call) -> Any:
        known = self.site.run(call.path["run"])
        found = self.site.kept.get(("by_key", *known.stamp()), dict)
        key = call.path["item"]
        if key not in found:
            found.update({item.key: item for item in self.items(known)})
        if key not in found:
            raise NotFound(f"item {key[:20]!r}: no longer asked")
        item: Item = found[key]
        home = item.root if item.kind == SCORED else known.workspace.root
        if item.heat:
            return file_picture(item.source.parent / item.heat, item.source.parent)
        view = self.site.source(known).optics
        if view is None:
            raise NotFound("the workspace's spec is gone, which names the lights")
        light = call.query.get("light") or view.lights[0]
        folders = (item.input_path, item.golden_path)
        return pair_picture(item.root, folders, item.object_name, light, view.ext, call.query.get("kind", "test"), home)

    def fixes(self, call: Call) -> dict[str, Any]:
        known = self.site.run(call.path["run"])
        changes = review_apply.label_changes(known.paths, known.log)
        try:
            label_fixes.require_idle(known.workspace)
            wait = ""
        except InputError as error:
            wait = str(error)
        shown = [{"set": c.set, "object_name": c.object_name, "label": c.label, "chosen": c.chosen} for c in changes]
        return {
            "changes": shown,
            "kpi": sum(c.set == KPI for c in changes),
            "kpi_words": label_fixes.KPI_WORDS,
            "wait": wait,
        }

    def write_fixes(self, call: Call) -> dict[str, Any]:
        known = self.site.run(call.path["run"])
        changes = review_apply.label_changes(known.paths, known.log)
        written = label_fixes.write_labels(known.workspace, changes, call.body.get("kpi_words", ""))
        return {
            "written": [{"set": w.set, "csv": w.csv.name, "labels": w.labels, "kept": w.kept.name} for w in written]
        }

    def feedback(self, call: Call) -> dict[str, Any]:
        """What `deft feedback` does with the parts that were decided here."""
        known = self.site.run(call.path["run"])
        outcomes: Counter[str] = Counter()
        for folder in self.site.scored:
            if (folder / review_apply.REVIEWED).is_file():
                taken = take_in(
                    folder / "decisions.csv", folder / review_apply.REVIEWED, workspace=known.workspace.root
                )
                outcomes.update(one.outcome.partition(":")[0] for one in taken.verdicts)
        return {"outcomes": dict(outcomes)}
