"""The `deft` command line: finds the command's module and runs it."""

from __future__ import annotations

import argparse
import importlib
import os
import runpy
import sys
from collections.abc import Sequence

from deft_aoi.base.console import brief, guarded, steady
from deft_aoi.base.engine_commands import ENGINES
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.base.versions import VERSION

COMMANDS = {
    "demo": "see the whole loop work on a simulated inspection line",
    "preflight": "check everything, write the plan and print the Summary to approve",
    "doctor": "say what would block a run, by cause, with what fixes it (reads only)",
    "start": "start the approved plan",
    "step": "do the next stage of a run (exit 0 done, 75 still running, 3 hard stop, 10 complete)",
    "run": "do all stages until the loop is complete",
    "status": "say where a run stands and what comes next",
    "verify": "check journal, artifacts and state against each other",
    "rebuild-state": "fold the journal into a fresh deft_state.json",
    "resolve": "record a person's decision after a hard stop; --stop ends the loop",
    "rca": "analyse any scored CSV: weak samples, where they sit, why, a contact sheet",
    "spot-check": "record what a contact sheet shows; it flows into label_review.csv",
    "audit": "compare every set's images and labels: copies, leakage, damage, doubtful labels",
    "rollback": "make an earlier model the best one again",
    "score": "decide new rows with the best model: PASS, NO_PASS or a person's look",
    "prune": "drop checkpoints that are neither best nor latest",
    "ablate": "train the last iteration again without a source of rows, and compare",
    "report": "render the report of a run",
    "watch": "watch a running loop in the terminal",
    "serve": "show the report of a running loop in a browser",
    "simulate": "make a workspace: a simulated inspection line",
    "import-deeppcb": "make a workspace from DeepPCB",
    "import-pairs": "make a workspace from folders of NG and golden images",
    "fix-csv": "rewrite a spreadsheet's table as TAO reads it",
    "stage-encoder": "stage the image encoder of k-NN mining (SigLIP as ONNX)",
    "sbom": "list packages and licences, or write a bill of materials (for releases)",
    "docs": "write references/scripts-and-agents.md from --help (for developers)",
    "test": "run linters, type checker and all tests",
}
SCRIPTS = tuple(sorted(path.stem for path in (SKILL_ROOT / "scripts").glob("*.py")))


def build_parser() -> argparse.ArgumentParser:
    """Top-level parser: it knows names and one-line helps only, so that start-up stays light."""
    lines = [f"  {name:<16}{text}" for name, text in COMMANDS.items()]
    scripts = "\n".join(f"  {name}" for name in SCRIPTS)
    epilog = (
        "commands:\n"
        + "\n".join(lines)
        + "\n\nthe embedded engine under TAO's command names:\n"
        + "\n".join(f"  {name}" for name in ENGINES)
        + "\n\ncontract scripts (deft NAME --help):\n"
        + scripts
        + "\n\n"
        "exit codes: 0 ok, 2 refused input, 3 hard stop, 10 loop complete, 75 still running (call again)"
    )
    parser = argparse.ArgumentParser(
        prog="deft",
        description="The DEFT improvement loop for AOI models (NVIDIA TAO Visual ChangeNet).",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"deft {VERSION}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "command", metavar="COMMAND", choices=[*COMMANDS, *ENGINES, *SCRIPTS], help="see the list below"
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `deft`. The exit code is the command's, whatever becomes of what it says."""
    with steady():
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    if args.debug:
        os.environ["DEFT_DEBUG"] = "1"
    if args.command in ENGINES:
        code: int = importlib.import_module(ENGINES[args.command]).main(args.arguments)
        return code
    if args.command in SCRIPTS:
        return run_contract_script(args.command, args.arguments)
    module = importlib.import_module(f"deft_aoi.cli.commands.{args.command.replace('-', '_')}")
    parser = argparse.ArgumentParser(prog=f"deft {args.command}", description=module.HELP)
    module.add_arguments(parser)
    parsed = parser.parse_args(args.arguments)
    with brief(args.command, args.arguments):
        return guarded(f"deft {args.command}", lambda: module.run(parsed))


def run_contract_script(name: str, arguments: Sequence[str]) -> int:
    """Run `scripts/<name>.py` as if it had been called by itself."""
    path = SKILL_ROOT / "scripts" / f"{name}.py"
    sys.argv = [str(path), *arguments]
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
