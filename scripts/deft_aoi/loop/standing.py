"""Where a run is: last entries, what runs, what stopped it, what comes next. Reads journal and state only."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deft_aoi.base.console import command_line
from deft_aoi.base.paths import RunPaths
from deft_aoi.base.safe_paths import printable
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.executors.base import HANDLE, LOG
from deft_aoi.executors.local import alive, submitted
from deft_aoi.executors.platform_choice import ELSEWHERE
from deft_aoi.record import bank_runs, journal, order, state
from deft_aoi.record.locations import Places
from deft_aoi.report.closing import short_lines

if TYPE_CHECKING:
    from deft_aoi.record.run import Run

_LAST = 5
REPORTER = "the reporter (agents/reporter.md) with this run directory and nothing else"
_AT_THE_END = f"{REPORTER} (no subagents: do it yourself)"


def standing(paths: RunPaths, run: Run | None = None) -> dict[str, Any]:
    """What a reader needs to go on: of the run as it was just read, else from disk: the state, brought up to the
    journal by the journal's tail."""
    if run is not None:
        now, last = run.state, list(run.log.entries[-_LAST:])
    else:
        now = state.load(paths.state)
        if events := bank_runs.events(now, paths):
            now, last = state.fold(now, events), events[-_LAST:]
        else:
            now = state.catch_up(now, paths.log)
            last = journal.tail(paths.log, max(1, now["journal"]["lines"] - _LAST + 1)) or []
    lines = now["journal"]["lines"]
    following = _next(paths, now, last, run)
    # A journal may come from anywhere, and a terminal obeys what it is shown.
    located = Places.of(paths, now["config"]).entries(last)
    last = [{**entry, "summary": printable(entry["summary"])} for entry in located]
    return {
        "results_dir": str(paths.root),
        "model": printable(state.model_sentence(now["config"])),
        "kpi_target": printable(now["kpi_target"]),
        "max_iterations": now["max_iterations"],
        "entries": lines,
        "last": [{k: e[k] for k in ("seq", "ts", "iter", "stage", "status", "summary")} for e in last[-_LAST:]],
        "running": running(paths),
        "stopped": _stopped(last) if following is not None and following.stage == order.RESOLVE else None,
        "next": None if following is None else str(following),
        "approved": bool(now["config"].get("approval")),
        "closing": short_lines(paths) if following is None else [],
        "left": (todo := _left(paths, now, last) if following is None else []),
        "command": _command(paths, now, following) if following else next((t for t in todo if t != _AT_THE_END), ""),
    }


def _left(paths: RunPaths, now: state.State, last: list[journal.Entry]) -> list[str]:
    """What is to be done after the end, in its order. Verifying comes last: who did it has aligned, or tried to."""
    report = [] if paths.narrative.is_file() else [_AT_THE_END]
    if (_json(paths.verified) or {}).get("digest") == now["journal"]["digest"]:
        return report
    aligned = paths.no_tokens.is_file() or any("tokens" in entry for entry in last)
    todo = [] if aligned else [command_line("align_token_usage", "--log-path", paths.log)]
    return [*todo, *report, command_line("verify", "--results-dir", paths.root)]


def _json(path: Path) -> dict[str, Any] | None:
    """A JSON object that may not be there, or be damaged: nothing hangs on it."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _command(paths: RunPaths, now: state.State, following: order.Step) -> str:
    """What to type next: after a hard stop, or before the approval, only once a person has decided."""
    if following.stage == order.RESOLVE:
        return command_line("resolve", "--results-dir", paths.root, "--reason", "TEXT")
    if not now["config"].get("approval"):
        words = ("--workspace", paths.root.parents[1], "--max-iterations", now["max_iterations"])
        return command_line("preflight", *map(str, words), "--results-dir", paths.root)
    if following.stage == "train" and (now["config"].get("plan") or {}).get("platform") == ELSEWHERE:
        from deft_aoi.record.run import Plan
        from deft_aoi.stages import own_model

        if own_model.is_waiting(Plan.from_json(now["config"]["plan"]), paths, following.label):
            return own_model.command(paths, following.label)
    return command_line("run", "--results-dir", paths.root, "--wait", "540")


def _next(paths: RunPaths, now: state.State, last: list[journal.Entry], run: Run | None) -> order.Step | None:
    if not last:
        return order.next_step([], now["max_iterations"], preseeded=state.is_preseeded(now, []))
    if not all("facts" in entry for entry in last) and now["config"].get("plan"):
        from deft_aoi.loop.driver import pending  # a run of 7.0.x: its figures must be read from the scores
        from deft_aoi.record.run import load_run

        return pending(run or load_run(paths.root))
    known = order.Judged(now["journal"]["evaluated"], now["journal"]["met"])
    asked = order.asked_stages(now["config"].get("plan") or {})
    return order.step_after(last[-1], known, now["max_iterations"], **asked)


def running(paths: RunPaths) -> list[dict[str, Any]]:
    """Jobs that are alive, for how many seconds, and where their output is."""
    if not paths.jobs.is_dir():
        return []
    alive_now = [job for job in sorted(paths.jobs.iterdir()) if (job / HANDLE).is_file() and alive(job)]
    return [{"job": job.name, "seconds": int(time.time() - submitted(job)), "log": str(job / LOG)} for job in alive_now]


def _stopped(last: list[journal.Entry]) -> dict[str, Any] | None:
    """Code, message, evidence and remedy of the hard stop that a person has to decide on."""
    entry = next((e for e in reversed(last) if e["status"] == "error"), None)
    if entry is None:
        return None
    facts = entry.get("facts", {})
    return {"message": entry["summary"], **{name: facts.get(name) for name in ("code", "evidence", "remedy")}}
