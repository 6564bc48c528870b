"""The `deft` command line: finds the command's module, runs it, turns refusals into one line and an exit code."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence

from deft_aoi.confine import printable
from deft_aoi.errors import FAULT, REFUSED, DeftError, Refusals
from deft_aoi.output import brief
from deft_aoi.paths import SKILL_ROOT

VERSION = "0.1.0"
COMMANDS = {
    "demo": "see the whole loop work on a simulated inspection line",
    "preflight": "check everything, write the plan and print the Summary to approve",
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
    "stage-encoder": "stage the image encoder of k-NN mining (SigLIP as ONNX)",
    "sbom": "list packages and licences, or write a bill of materials (for releases)",
    "docs": "write references/scripts-and-agents.md from --help (for developers)",
    "test": "run linters, type checker and all tests",
}
# The embedded engine under TAO's own command names, for a hand-off or a spec that a person wants to try.
ENGINES = {
    "visual_changenet": "deft_aoi.engine.visual_changenet",
    "embedding": "deft_aoi.engine.embedding",
    "classical_baseline": "deft_aoi.engine.classical",
    "prep_testcase.sh": "deft_aoi.engine.anomalygen_prep",
    "run_sdg.sh": "deft_aoi.engine.anomalygen_sdg",
    "generate_config.py": "deft_aoi.engine.anomalygen_config",
    "launch_training.sh": "deft_aoi.engine.anomalygen_train",
    "anomalygen_dataset": "deft_aoi.engine.anomaly_source",
    "realism_screen": "deft_aoi.engine.realism",
    "pair_features": "deft_aoi.engine.pair_features",
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
    """Entry point of `deft`."""
    args = build_parser().parse_args(argv)
    if args.debug:
        os.environ["DEFT_DEBUG"] = "1"
    if args.command in ENGINES:
        code: int = importlib.import_module(ENGINES[args.command]).main(args.arguments)
        return code
    if args.command in SCRIPTS:
        return run_contract_script(args.command, args.arguments)
    module = importlib.import_module(f"deft_aoi.commands.{args.command.replace('-', '_')}")
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


def run_script(entry: Callable[[], int]) -> int:
    """Shell of a contract script: refusals become `<script>: <message>` on stderr and the error's exit code."""
    name = os.path.basename(sys.argv[0]).removesuffix(".py")
    with brief(name, sys.argv[1:]):
        return guarded(name, entry)


def guarded(name: str, action: Callable[[], int]) -> int:
    """Run `action`; print a refusal as one line. DEFT_DEBUG=1 adds the traceback."""
    try:
        return action()
    except DeftError as error:
        if os.environ.get("DEFT_DEBUG"):
            traceback.print_exc()
        for problem in error.problems if isinstance(error, Refusals) else [str(error)]:
            print(f"{name}: {printable(' '.join(problem.split()))}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if os.environ.get("DEFT_DEBUG"):
            traceback.print_exc()
        text = f"{name}: {error.strerror or error}: {error.filename or ''}".rstrip(": ")
        if error.errno == errno.ENOSPC:
            text += "; nothing is lost: free space (deft prune --results-dir R drops checkpoints), then call again"
        print(printable(text), file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print(f"{name}: interrupted; nothing is lost, the next `deft step` goes on", file=sys.stderr)
        return 130
    except Exception as error:  # the last net: what was foreseen nowhere still gets one line, and no traceback
        if os.environ.get("DEFT_DEBUG"):
            traceback.print_exc()
        said = " ".join(str(error).split())[:300]
        text = (
            f"{name}: a fault of this program: {type(error).__name__}: {said}; nothing is lost. With DEFT_DEBUG=1 it "
        )
        print(printable(f"{text}shows where; please report it (SECURITY.md says how)"), file=sys.stderr)
        return FAULT


if __name__ == "__main__":
    sys.exit(main())
