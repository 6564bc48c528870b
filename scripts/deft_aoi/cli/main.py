"""The `deft` command line: finds the command's module and runs it."""

from __future__ import annotations

import argparse
import difflib
import gc
import importlib
import keyword
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from deft_aoi.base.console import brief, ends_on_sigterm, guarded, steady
from deft_aoi.base.engine_commands import ENGINES
from deft_aoi.base.errors import OK, REFUSED
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.base.safe_paths import shown
from deft_aoi.base.threads import calm_collector, calm_waiting
from deft_aoi.base.versions import VERSION

# What `deft --help` shows a person, in five groups; EXTRA is one level down, under `deft --help --all`.
GROUPS = {
    "start here": {
        "demo": "see the whole loop work on a simulated inspection line",
        "doctor": "show what would block a run, by cause, with what fixes it (reads only)",
        "preflight": "check everything, write the plan and print the Summary to approve",
        "start": "start the approved plan",
    },
    "run": {
        "run": "do all stages until the loop is complete",
        "step": "do the next stage (exit 0 done, 75 still running, 3 hard stop, 10 complete)",
        "status": "show where a run is and what comes next",
        "export-training": "hand an iteration's training out to another machine (platform elsewhere)",
        "resolve": "record a person's decision after a hard stop; --stop ends the loop",
    },
    "look": {
        "report": "render the report of a run",
        "serve": "open the page to work in: live runs, review, map, figures (--look: read only)",
        "watch": "watch a running loop in the terminal",
        "rca": "analyse any scored CSV: weak samples, where they are, why, a contact sheet",
        "verify": "check journal, artifacts and state against each other",
    },
    "data": {
        "import": "look at a folder of pictures from the line, propose a workspace, make it with --yes",
        "simulate": "make a workspace: a simulated inspection line",
        "import-pairs": "make a workspace from folders of NG and golden images",
        "import-deeppcb": "make a workspace from DeepPCB",
        "fix-csv": "rewrite a spreadsheet's table as TAO reads it",
        "audit": "compare every set's images and labels: copies, leakage, damage, suspected label errors",
    },
    "decide": {
        "score": "decide new rows with the best model: PASS, NO_PASS or REVIEW",
        "export": "write the best model as a folder for the line: ONNX, JSON, example, parity check",
        "feedback": "take in what operators decided: the mining pool grows",
        "rollback": "make an earlier model the best one again",
        "spot-check": "record what a contact sheet shows; it goes into label_review.csv",
        "ablate": "train the last iteration again without a source of rows, and compare",
        "prune": "delete checkpoints that are neither best nor latest",
    },
}
EXTRA = {
    "cache": "show what the cache of computed numbers holds, or clear it",
    "rebuild-state": "fold the journal into a fresh deft_state.json",
    "stage-encoder": "stage the image encoder of k-NN mining (SigLIP as ONNX)",
    "bundle": "pack, or unpack, what a machine without a network needs",
    "sbom": "list packages and licences, or write a bill of materials (for releases)",
    "docs": "write the generated page and schema from the code (for developers)",
    "test": "run linters, type checker and all tests (for developers)",
}
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()} | EXTRA
SCRIPTS = tuple(sorted(path.stem for path in (SKILL_ROOT / "scripts").glob("*.py")))


def overview(*, everything: bool = False) -> str:
    """Commands by group; `everything` adds what developers, specs and older scripts call."""
    parts = [_listed(title, commands) for title, commands in GROUPS.items()]
    if everything:
        parts += [
            _listed("repair, releases, development", EXTRA),
            _listed("the embedded engine under TAO's command names", dict.fromkeys(ENGINES, "")),
            _listed("contract scripts", dict.fromkeys(SCRIPTS, "")),
        ]
    more = "" if everything else "deft --help --all lists the rest. "
    return (
        "\n\n".join(parts) + f"\n\n{more}deft COMMAND --help says more of one.\n"
        "exit codes: 0 ok, 2 refused input, 3 hard stop, 10 loop complete, 75 still running (call again)"
    )


def _listed(title: str, commands: Mapping[str, str]) -> str:
    return "\n".join([f"{title}:", *(f"  {name:<16}{text}".rstrip() for name, text in commands.items())])


def build_parser(*, everything: bool = False) -> argparse.ArgumentParser:
    """Top-level parser: it knows names and one-line helps only, so that start-up stays light."""
    parser = argparse.ArgumentParser(
        prog="deft",
        usage="deft COMMAND [arguments]",
        description="The DEFT improvement loop for AOI models (NVIDIA TAO Visual ChangeNet).",
        epilog=overview(everything=everything),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"deft {VERSION}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--all", action="store_true", help="with --help: list every command")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def command_module(name: str) -> ModuleType:
    """The module of one command of ours; a word of Python's own, as `import`, has a `_` behind it there."""
    own = f"{name}_" if keyword.iskeyword(name) else name.replace("-", "_")
    return importlib.import_module(f"deft_aoi.cli.commands.{own}")


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one command of ours."""
    module = command_module(name)
    parser = argparse.ArgumentParser(prog=f"deft {name}", description=module.HELP)
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `deft`; without a command it prints the overview. The exit code is the command's, whatever becomes
    of what it says."""
    with steady():
        return _run(sys.argv[1:] if argv is None else list(argv))


def _run(words: list[str]) -> int:
    parser = build_parser(everything="--all" in words)
    args = parser.parse_args(words)
    if args.command is None:
        parser.print_help()
        return OK
    if args.command not in (known := [*COMMANDS, *ENGINES, *SCRIPTS]):
        near = " or ".join(difflib.get_close_matches(args.command, known, 2)) or "one of those that deft --help lists"
        print(f"deft: no command {shown(args.command)}; expected {near}", file=sys.stderr)
        return REFUSED
    if args.debug:
        os.environ["DEFT_DEBUG"] = "1"
    if args.command in ENGINES:
        code: int = importlib.import_module(ENGINES[args.command]).main(args.arguments)
        return code
    if args.command in SCRIPTS:
        return run_contract_script(args.command, args.arguments)
    parsed = command_parser(args.command).parse_args(args.arguments)
    with ends_on_sigterm(), brief(args.command, args.arguments):
        return guarded(f"deft {args.command}", lambda: parsed.run(parsed))


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
    calm_waiting()
    calm_collector()
    exit_code = main()
    gc.freeze()  # the end of the process need not look through all that was imported
    sys.exit(exit_code)
