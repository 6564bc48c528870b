"""`deft status`: where a run is. Reads journal and state only, so that it answers at once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from deft_aoi.base.console import print_json
from deft_aoi.base.errors import OK
from deft_aoi.base.paths import RunPaths
from deft_aoi.base.safe_paths import printable
from deft_aoi.loop.standing import standing

HELP = "Say where a run stands: last five entries, what runs, what comes next."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    facts = standing(RunPaths.at(args.results_dir))
    print_json(facts) if args.json else print(as_text(facts))
    return OK


def end_lines(facts: dict[str, Any]) -> list[str]:
    """After completion: the closing lines, then what is left to do."""
    first, *others = facts["left"] or ["nothing is left to do"]
    after = [f"then: {' · then: '.join(others)}"] if others else []
    return [*facts["closing"], f"next: {first}" if facts["left"] else first, *after]


def as_text(facts: dict[str, Any]) -> str:
    lines = [facts["model"]] if facts["model"] else []
    lines += [f"{facts['results_dir']} · target {facts['kpi_target']} · {facts['entries']} entries"]
    lines += [f"  {e['seq']:>3} {e['iter']}/{e['stage']} {e['status']}: {e['summary']}" for e in facts["last"]]
    lines += [f"running: {job['job']} for {job['seconds']}s · log: {job['log']}" for job in facts["running"]]
    if facts["next"] is None:
        first, *others = end_lines(facts)
        lines += [f"the loop is complete · {first}", *others]
    elif facts["stopped"]:
        stop = facts["stopped"]
        lines += [f"HARD STOP {stop['code'] or 'error'}: {stop['message']}"]
        lines += [f"evidence: {stop['evidence']}"] if stop["evidence"] else []
        lines += [f"what to do: {stop['remedy']}"] if stop["remedy"] else []
        lines.append(f"after a person's decision: {facts['command']} (to end the loop: --stop)")
    elif not facts["approved"]:
        lines.append(f"next: {facts['next']}, once a person has approved: {facts['command']}, then deft start")
    else:
        lines += [f"next stage: {facts['next']}", f"next: {facts['command']}"]
    return printable("\n".join(lines))
