"""Write the initial deft_state.json of a run, for an upstream pipeline that seeds the baseline itself.

The run still needs Pre-Flight and a person's approval before `deft step` works on it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script
from deft_aoi.base.errors import InputError
from deft_aoi.record import state


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results-dir", type=Path, required=True)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--kpi-target", required=True, help='for example "FAR < 0.1%% at recall=100%%"')
    parser.add_argument("--max-iterations", type=int, required=True)
    parser.add_argument("--num-gpus", type=int, required=True)
    parser.add_argument("--num-epochs", type=int, required=True)
    parser.add_argument("--num-sdg", type=int, required=True, help="synthetic pairs in one iteration")
    parser.add_argument("--project", required=True, help="AnomalyGen project name")
    parser.add_argument("--step", type=int, required=True, help="AnomalyGen checkpoint step")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--top-k-per-target", type=int, default=5)
    parser.add_argument("--knn-metric", default="cosine")
    parser.add_argument("--min-similarity", type=float, default=0.9)
    parser.add_argument("--train-container", default="")
    parser.add_argument("--ag-container", default="")
    parser.add_argument("--force", action="store_true", help="replace a state that is already there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.base.versions import image
    from deft_aoi.executors.base import PAIDF_ANOMALYGEN, TAO_PYT
    from deft_aoi.preflight.inputs import read_inputs
    from deft_aoi.preflight.plan_values import asked_workspace, make_plan
    from deft_aoi.preflight.preflight import initial_state

    asked = vars(args) | {"workspace": str(args.workspace), "anomalygen_step": args.step}
    plan, _ = make_plan(asked, read_inputs(asked_workspace(asked)))
    args.results_dir.mkdir(parents=True, exist_ok=True)
    paths = RunPaths.at(args.results_dir)
    if paths.state.exists() and not args.force:
        raise InputError(f"{paths.state}: already there; pass --force to replace it")
    begun = initial_state(plan, paths, approval=None)
    begun["config"]["train_container"] = args.train_container or image(TAO_PYT)
    begun["config"]["anomalygen"] |= {"container": args.ag_container or image(PAIDF_ANOMALYGEN)}
    state.save(paths.state, begun)
    print(paths.state)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
