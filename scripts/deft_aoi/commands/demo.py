"""`deft demo`: the whole loop on a simulated inspection line, no GPU, no container, no data."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from deft_aoi.errors import COMPLETE, OK, InputError

HELP = "Simulate an inspection line and run the whole loop on it: about two minutes on two cores."
TARGET = "FAR < 1% at recall=100%"
MARKER = "simulated_line.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", type=Path, default=Path("deft-demo"), help="folder to make (default: deft-demo)")
    parser.add_argument("--max-iterations", type=int, default=2, help="default: 2")
    parser.add_argument("--kpi-target", default=TARGET, help=f'default: "{TARGET.replace("%", "%%")}"')
    parser.add_argument("--boards", type=int, default=24, help="boards to simulate (default: 24)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulated line (default: 0)")


def run(args: argparse.Namespace) -> int:
    from deft_aoi import driver
    from deft_aoi.data.simulate import simulate
    from deft_aoi.paths import Workspace
    from deft_aoi.run import load_run
    from deft_aoi.stages import preflight

    started = time.monotonic()
    if args.workspace.exists() and not (args.workspace / MARKER).is_file():
        raise InputError(f"{args.workspace}: exists and is no simulated line; pass another --workspace")
    if not args.workspace.exists():
        print(f"simulating {args.boards} boards into {args.workspace} ...", flush=True)
        simulate(args.workspace, seed=args.seed, boards=args.boards)
    asked = {
        "workspace": str(Workspace.at(args.workspace).root),
        "max_iterations": args.max_iterations,
        "kpi_target": args.kpi_target,
    }
    result = preflight.preflight(asked)
    paths = preflight.write(result)
    print(paths.preflight_summary.read_text(encoding="utf-8"))
    print("the demo approves its own simulated line; on your data this is where a person says yes\n", flush=True)
    preflight.start(paths)
    code = driver.drive(paths.root, lambda line: print(line, flush=True))
    if code != COMPLETE:
        return code
    label, best = load_run(paths.root).champion()
    print(f"\nbest model: {label} · {best['verdict_sentence']}")
    print(f"verdict: {best['verdict']} · {time.monotonic() - started:.0f}s")
    print(f"report: {paths.report}")
    print(f"hand-off: {paths.best_model} and {paths.inference_spec}")
    return OK
