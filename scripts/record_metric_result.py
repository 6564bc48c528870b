#!/usr/bin/env python3
"""Say whether an evaluator's result passes the metric contract.

Nothing is written: the state is the fold of the journal, and the line of stage evaluate (deft step, or commit_stage)
brings the result in. A threshold that the result does not name is refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="record_metric_result.py", description=__doc__)
    parser.add_argument("--state-path", type=Path, required=True, help="deft_state.json of the run")
    parser.add_argument("--iter-label", required=True, help="baseline or iter<N>")
    parser.add_argument("--result-json", type=Path, required=True, help="what the evaluator wrote")
    parser.add_argument("--best-ckpt", type=Path, required=True, help="checkpoint that was scored")
    parser.add_argument("--inference-csv", type=Path, required=True, help="its scores")
    parser.add_argument("--training-spec", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threshold", type=float)
    args = parser.parse_args(argv)
    from deft_aoi.base.errors import InputError
    from deft_aoi.base.paths import iter_number
    from deft_aoi.kpi.judged import judged, score_facts
    from deft_aoi.kpi.metric_contract import checked_result
    from deft_aoi.record.run import load_run

    iter_number(args.iter_label)
    for name in ("result_json", "best_ckpt", "inference_csv"):
        if not getattr(args, name).is_file():
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}: no such file")
    target = load_run(args.state_path.expanduser().parent).plan.target
    if target.evaluator is None:
        raise InputError(f"{args.state_path}: its target {target.text!r} is computed here from the scores alone")
    result = checked_result(args.result_json.read_bytes(), target, str(args.result_json))
    if args.threshold is not None and args.threshold != result.threshold:
        raise InputError(f"--threshold {args.threshold}: {args.result_json} names {result.threshold}")
    facts = score_facts(args.inference_csv, target, result.threshold) | {"measured": dict(result.measured)}
    passed = judged(target, facts).met
    name = target.evaluator.name
    print(f"metric={name} value={result.measured[name]:.6g} passed={str(passed).lower()}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
