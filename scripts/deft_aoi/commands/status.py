"""`deft status`: where a run stands. Reads journal and state only, so that it answers at once."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from deft_aoi import journal, pipeline, state
from deft_aoi.errors import OK
from deft_aoi.executors.local import alive
from deft_aoi.paths import RunPaths

HELP = "Say where a run stands: last five entries, what runs, what comes next."
_LAST = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    facts = standing(RunPaths.at(args.results_dir))
    print(json.dumps(facts, indent=2) if args.json else as_text(facts))
    return OK


def standing(paths: RunPaths) -> dict[str, Any]:
    """What a reader needs to go on, from disk alone."""
    snapshot = state.load(paths.state)
    entries = journal.read(paths.log)
    following = pipeline.next_step(entries, snapshot["max_iterations"], preseeded=state.is_preseeded(snapshot, entries))
    jobs = sorted(path.name for path in paths.jobs.glob("*") if alive(path)) if paths.jobs.is_dir() else []
    return {
        "results_dir": str(paths.root),
        "kpi_target": snapshot["kpi_target"],
        "max_iterations": snapshot["max_iterations"],
        "entries": len(entries),
        "last": [{k: e[k] for k in ("seq", "ts", "iter", "stage", "status", "summary")} for e in entries[-_LAST:]],
        "running": jobs,
        "next": None if following is None else str(following),
    }


def as_text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['results_dir']} · target {facts['kpi_target']} · {facts['entries']} entries"]
    lines += [f"  {e['seq']:>3} {e['iter']}/{e['stage']} {e['status']}: {e['summary']}" for e in facts["last"]]
    lines += [f"running: {', '.join(facts['running'])}"] if facts["running"] else []
    command = f"deft step --results-dir {facts['results_dir']}"
    if facts["next"] is None:
        lines.append("the loop is complete")
    elif facts["next"].endswith(pipeline.RESOLVE):
        lines.append(
            f"hard stop: after a person's decision, deft resolve --results-dir {facts['results_dir']} --reason TEXT"
        )
    else:
        lines.append(f"next: {facts['next']} · {command}")
    return "\n".join(lines)
