#!/usr/bin/env python3
"""Print what comes next in a run, as JSON.

With --stage, any other stage is refused (exit 2).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script

END = "finalize"  # the bank's word for the stage loop_stop


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="deft_context.py", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="deft_state.json of the run")
    parser.add_argument("--stage", help="the stage that shall be next; finalize is loop_stop")
    args = parser.parse_args(argv)
    from deft_aoi.base.errors import InputError
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.loop.standing import standing
    from deft_aoi.record import bank_runs, state
    from deft_aoi.record.order import LOOP_STOP, RESOLVE

    paths = RunPaths.at(args.state.expanduser().parent)
    now, known = standing(paths), state.load(paths.state)
    label, _, stage = (now["next"] or "").partition("/")
    stage = {LOOP_STOP: END, RESOLVE: "halt", "": "complete"}.get(stage, stage)
    status = {"complete": "complete", "halt": "failed"}.get(stage, "in_progress")
    found = {
        "status": status, "iteration": label, "next_stage": stage, "command": now["command"],
        "network_mode": bank_runs.network_mode(known), "python_executable": sys.executable,
    }  # fmt: skip
    print(json.dumps(found, sort_keys=True))
    if args.stage and args.stage not in (stage, LOOP_STOP if stage == END else stage):
        raise InputError(f"--stage {args.stage}: the next stage of this run is {label}/{stage}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
