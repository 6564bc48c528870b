"""`deft step`: do the next stage."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deft_aoi.base.console import command_line, print_json, whole
from deft_aoi.base.errors import COMPLETE, HARD_STOP, OK, STILL_RUNNING
from deft_aoi.base.paths import BASELINE
from deft_aoi.record.order import EVALUATE

if TYPE_CHECKING:
    from deft_aoi.loop.driver import Outcome
    from deft_aoi.record.journal import Entry
    from deft_aoi.stages.spot_check import ContactSheet

HELP = (
    "Do the next stage of a run. Exit 0: stage done, 75: still running (call again), 3: hard stop, "
    "10: loop complete, 2: refused."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--wait", type=float, default=540.0, metavar="SECONDS", help="longest wait (default: 540)")
    parser.add_argument(
        "--scores", type=Path, action="append", default=[], metavar="CSV",
        help="platform elsewhere: inference.csv of the model that was trained with the export, copied into the "
        "workspace under a name of its own (iter1_inference.csv), where a relative name is found first; repeatable",
    )  # fmt: skip
    parser.add_argument("--checkpoint", default="", help="with --scores: that model's checkpoint, its path there")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.loop import driver

    if args.scores:
        driver.take_scores(args.results_dir, args.scores, args.checkpoint)
    return tell(driver.step(args.results_dir, wait=args.wait), as_json=args.json)


def tell(outcome: Outcome, *, as_json: bool) -> int:
    """Say what one call did and what to type next; returns the exit code."""
    look = look_lines(outcome.run.entries) if outcome.code in (OK, COMPLETE) and not as_json else []
    say_end(outcome, look, as_json=as_json, before=[outcome.line])
    return outcome.code


def say_end(outcome: Outcome, look: list[str], *, as_json: bool, before: list[str]) -> None:
    """What to look at, who is due, and the next command; `before`: the status lines that were not printed yet."""
    from deft_aoi.base.safe_paths import printable
    from deft_aoi.cli.commands.status import left_lines
    from deft_aoi.loop.standing import REPORTER, standing

    facts = standing(outcome.run.paths, outcome.run)
    command = facts["command"]
    if as_json:
        print_json({"code": outcome.code, "line": outcome.line, "command": command, "left": facts["left"]})
        return
    mark = "after a person's decision" if outcome.code == HARD_STOP else "next"
    due = outcome.code in (OK, STILL_RUNNING) and asks_for_reporter(facts) and not facts["running"]
    report = [f"first: {REPORTER} (no subagents: only after the end)"] if due else []
    end = [f"{mark}: {command}"] if facts["next"] is not None else left_lines(facts)
    look = list(dict.fromkeys(look))  # what the verdicts mean is the same for each sheet
    whole(printable("\n".join([*before, *facts["closing"], *look, *report, *end])))


def asks_for_reporter(facts: dict[str, Any]) -> bool:
    """After the `evaluate` of an iteration that is not the last one; the baseline is none."""
    last = facts["last"][-1] if facts["last"] else {"iter": BASELINE}
    goes_on = facts["next"] is not None and facts["next"].endswith("/rca")
    return last["iter"] != BASELINE and last["stage"] == EVALUATE and goes_on


def look_lines(entries: Sequence[Entry]) -> list[str]:
    """What to look at and how to record it, where the last stage made a contact sheet of a model that had none."""
    from deft_aoi.stages.spot_check import sheets

    done = [entry for entry in entries if entry["status"] == "ok"]
    new = sheets(done)[len(sheets(done[:-1])) :]
    return [line for sheet in new if sheet.path.is_file() for line in sheet_lines(sheet)]


def sheet_lines(sheet: ContactSheet) -> list[str]:
    """One sheet. The folder is named, so that later stages do not change what is meant."""
    from deft_aoi.cli.commands.spot_check import MEANINGS

    words = ("spot-check", "--rca-dir", sheet.folder, "--verdict", "ROW=VERDICT", "--note", "ROW=TEXT")
    each = "both flags for each numbered row that shows more than the sheet says; none: go on"
    return [
        f"look at: {sheet.path} (weak rows of {sheet.model})",
        f"record: {command_line(*words)}",
        f"verdicts ({each}): {MEANINGS}",
    ]
