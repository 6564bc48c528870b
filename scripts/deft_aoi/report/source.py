"""One run directory as the report reads it: tolerant of what is not there yet, and of journals of 7.0.x."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import BASELINE, RunPaths
from deft_aoi.base.safe_paths import real
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.kpi.metric_contract import target_of
from deft_aoi.kpi.target import Contract
from deft_aoi.record import bank_runs, journal
from deft_aoi.record.locations import Places
from deft_aoi.record.order import LOOP_STOP, last_deciding
from deft_aoi.report.words import shown_path
from deft_aoi.spec.tree import Optics, load_spec, optics

Record = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Journal, state and Pre-Flight of one run, each as it is on disk."""

    paths: RunPaths
    log: journal.Log
    state: Record
    preflight: Record
    places: Places

    @cached_property
    def entries(self) -> tuple[journal.Entry, ...]:
        """Lines of the journal, their paths as they can be opened now."""
        return self.places.entries(self.log.entries)

    @property
    def config(self) -> Record:
        config = self.places.located(self.state.get("config") or {})
        return {**(config.get("plan") or {}), **{k: v for k, v in config.items() if k != "plan"}}

    @property
    def workspace(self) -> Path:
        """The workspace by the run's own place: what the state names may lie anywhere."""
        return self.places.workspace

    @property
    def labels(self) -> list[str]:
        """`baseline`, `iter1`, ... that have a journal line or, in a pre-seeded run, an entry in the state."""
        named = {entry["iter"] for entry in self.entries}
        named |= {name for name, part in (self.state.get("iterations") or {}).items() if part.get("stage_completed")}
        return bank_runs.labels(named)

    @cached_property
    def target(self) -> Contract | None:
        """The KPI target; None where an old run states it in words that the gate does not take."""
        try:
            return target_of(str(self.state.get("kpi_target") or ""), str(self.config.get("metric_contract") or ""))
        except InputError:
            return None

    @property
    def recall(self) -> float:
        return self.target.recall if self.target else 1.0

    @cached_property
    def optics(self) -> Optics | None:
        """Lights and file names of the images; None where the spec is gone."""
        spec = self.locate(self.config.get("specs_file")) or self.workspace / "specs/baseline_spec.yaml"
        try:
            return optics(load_spec(spec), spec)
        except InputError:
            return None

    def entry(self, label: str, stage: str) -> journal.Entry | None:
        """Last successful line of a stage of one iteration."""
        found = (e for e in reversed(self.entries) if (e["iter"], e["stage"], e["status"]) == (label, stage, "ok"))
        return next(found, None)

    def facts(self, label: str, stage: str) -> Record:
        entry = self.entry(label, stage)
        return dict(entry.get("facts") or {}) if entry else {}

    def line(self, label: str, stage: str) -> str:
        """Where a journal fact comes from."""
        entry = self.entry(label, stage)
        return f"{self.paths.log.name} line {entry['seq']}" if entry else self.paths.state.name

    def locate(self, text: str | None) -> Path | None:
        """The file behind a path of journal or state; None where it is gone or outside the workspace."""
        found = self.places.file(text) if text else None
        inner = found is not None and (full := real(found)) is not None and full.is_relative_to(self.workspace)
        return found if inner and found is not None and found.is_file() else None

    def shown(self, text: str | Path | None) -> str:
        """A path as the page shows it; text that is none stays as it is."""
        path = str(text or "")
        return shown_path(str(self.places.file(path)) if path.startswith("/") else path, self.paths.root)

    def status(self) -> str:
        """`not_started`, `in_progress`, `hard_stop` or `complete`."""
        if not self.entries:
            return "not_started"
        last = last_deciding(self.entries)
        if last is None:
            return "not_started"
        if last["status"] == "error":
            return "hard_stop"
        if last["stage"] == LOOP_STOP:
            return "hard_stop" if (last.get("facts") or {}).get("reason") == "hard_stop" else "complete"
        return "in_progress"

    def stop_line(self) -> journal.Entry | None:
        """The error line of a run that ended in a hard stop."""
        return next((e for e in reversed(self.entries) if e["status"] == "error"), None)

    def step_after(self) -> str | None:
        """What the loop does next, as `iter2/train`."""
        from deft_aoi.record.order import asked_stages, next_step
        from deft_aoi.record.state import is_preseeded

        if not self.state:
            return None
        seeded = is_preseeded({"iterations": {BASELINE: {}}, **self.state}, self.entries)
        most = int(self.state.get("max_iterations") or 0)
        step = next_step(self.entries, most, preseeded=seeded, **asked_stages(self.config))
        return str(step) if step else None


def open_run(run_dir: Path, log: journal.Log | None = None) -> Source:
    """Read a run directory; `log` where its journal is known.

    Raises InputError where it holds neither a state nor a journal, or one is damaged.
    """
    paths = RunPaths.at(run_dir)
    if not paths.state.is_file() and not paths.log.is_file():
        raise InputError(
            f"{paths.root}: no deft_state.json and no loop_log.jsonl; expected a run directory, "
            "as <workspace>/results/run_<time>"
        )
    known = journal.read_log(paths.log) if log is None else log
    state = bank_runs.as_ours(read_object(paths.state))
    if events := bank_runs.events(state, paths):
        known = journal.Log((), tuple(events))
    return Source(paths, known, state, read_object(paths.preflight), Places.of(paths, state.get("config") or {}))


def read_object(path: Path) -> Record:
    """A JSON object, {} where the file is absent; raises InputError where it is damaged."""
    if not path.is_file():
        return {}
    try:
        value = parse_json(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path}: no JSON ({error}); type: deft verify --results-dir {path.parent}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
