"""`deft status`: where a run is. Reads journal and state only, so that it answers at once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from deft_aoi.base.console import command_line, print_json, whole
from deft_aoi.base.errors import OK, STILL_RUNNING
from deft_aoi.base.paths import RunPaths
from deft_aoi.base.safe_paths import printable
from deft_aoi.loop.standing import standing
from deft_aoi.report.closing import final_lines, labelled

HELP = "Show where a run is: last five entries, what runs, what comes next."
_LAST_AT_END = 1  # entries of a finished run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument(
        "--final",
        action="store_true",
        help="what to tell the user at the end: verdict, caveats, what to do next, files, how to use the model "
        "(exit 75 while the loop is not complete)",
    )
    parser.add_argument("--why", action="store_true", help="with --final: the details behind each caveat")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    paths = RunPaths.at(args.results_dir)
    facts = standing(paths)
    if args.json:
        print_json(facts)
    elif not args.final:
        whole(as_text(facts))
    elif facts["next"] is None:
        whole(printable("\n".join([*final_lines(paths, why=args.why), *_use(paths, why=args.why), *_undone(facts)])))
    else:
        whole(as_text(facts))
        return STILL_RUNNING
    return OK


def _use(paths: RunPaths, *, why: bool) -> list[str]:
    """How to decide new parts with the model, and where the details are."""
    if not paths.best_model.is_file():
        return []
    lines = [labelled("use it", command_line("score", "--model", paths.best_model, "--images", "DIR"))]
    more = command_line("status", "--results-dir", paths.root, "--final", "--why")
    return lines if why else [*lines, labelled("details", more)]


def _undone(facts: dict[str, Any]) -> list[str]:
    """What should have come before the last word."""
    return [labelled("" if place else "not done", step) for place, step in enumerate(facts["left"])]


def end_lines(facts: dict[str, Any]) -> list[str]:
    """After completion: the result, then what is left to do."""
    return [*facts["closing"], *left_lines(facts)]


def left_lines(facts: dict[str, Any]) -> list[str]:
    """After completion: what is left to do in its order, a line each; the last one prints the words for the user."""
    tell = command_line("status", "--results-dir", facts["results_dir"], "--final")
    steps = [*facts["left"], f"{tell} (what to tell the user)"]
    return [f"{'then' if place else 'next'}: {step}" for place, step in enumerate(steps)]


def as_text(facts: dict[str, Any]) -> str:
    lines = [facts["model"]] if facts["model"] else []
    lines += [f"{facts['results_dir']} · target {facts['kpi_target']} · {facts['entries']} entries"]
    last = facts["last"] if facts["next"] is not None else facts["last"][-_LAST_AT_END:]
    lines += [f"  {e['seq']:>3} {e['iter']}/{e['stage']} {e['status']}: {e['summary']}" for e in last]
    lines += [f"running: {job['job']} for {job['seconds']}s · log: {job['log']}" for job in facts["running"]]
    if facts["next"] is None:
        lines += ["the loop is complete", *end_lines(facts)]
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
