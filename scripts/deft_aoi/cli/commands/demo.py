"""`deft demo`: the whole loop on a simulated inspection line, no GPU, no container, no data."""

from __future__ import annotations

import argparse
from pathlib import Path

from deft_aoi.base.errors import COMPLETE, OK, InputError

HELP = "Simulate an inspection line and run the whole loop on it: about two minutes on two cores."
TARGET = "FAR < 3.5% at recall=100%"  # within reach of two iterations on the default line, so that the end shows proof
MARKER = "simulated_line.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", type=Path, default=Path("deft-demo"), help="folder to make (default: deft-demo)")
    parser.add_argument("--max-iterations", type=int, default=2, help="default: 2")
    parser.add_argument("--kpi-target", default=TARGET, help=f'default: "{TARGET.replace("%", "%%")}"')
    parser.add_argument("--boards", type=int, default=24, help="boards to simulate (default: 24)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulated line (default: 0)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    from deft_aoi.base.console import aside, command_line, print_json
    from deft_aoi.base.paths import Workspace
    from deft_aoi.cli.commands.run import Milestones
    from deft_aoi.loop import driver
    from deft_aoi.preflight import preflight
    from deft_aoi.record.run import load_run
    from deft_aoi.report.closing import labelled, short_lines
    from deft_aoi.simulate.workspace import simulate

    if args.workspace.exists() and not (args.workspace / MARKER).is_file():
        raise InputError(f"{args.workspace}: exists and is no simulated line; pass another --workspace")
    if not args.workspace.exists():
        aside(f"simulating {args.boards} boards into {args.workspace} ...")
        simulate(args.workspace, seed=args.seed, boards=args.boards)
    asked = {
        "workspace": str(Workspace.at(args.workspace).root),
        "max_iterations": args.max_iterations,
        "kpi_target": args.kpi_target,
    }
    result = preflight.preflight(asked)
    paths = preflight.write(result)
    if not args.json:
        print(f"approved by the demo itself (on your data a person says yes): {paths.preflight_summary}", flush=True)
    preflight.start(paths)
    said = Milestones(quiet=args.json)
    code = driver.drive(paths.root, said)
    said.end()
    if code != COMPLETE:
        return code
    _, best = load_run(paths.root).champion()
    made = {"verdict": best.verdict, "report": paths.report, "best_model": paths.best_model}
    if args.json:
        print_json({"results_dir": str(paths.root), **{name: str(value) for name, value in made.items()}})
        return OK
    more = command_line("status", "--results-dir", paths.root, "--final")
    print("\n".join([*short_lines(paths), labelled("report", str(paths.report)), labelled("more", more)]))
    return OK
