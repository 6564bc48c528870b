#!/usr/bin/env python3
"""Do a loop's last stage.

It names the best model, writes its hand-off and journals loop_stop. The reason is computed from the scores; another
--stop-reason is refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="finalize_run.py", description=__doc__)
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    parser.add_argument("--iter-label", required=True, help="the last iteration")
    parser.add_argument("--stop-reason", required=True, choices=("metric_met", "max_iterations"))
    parser.add_argument("--duration-sec", type=int, default=0, help="measured here; taken for the sake of older calls")
    args = parser.parse_args(argv)
    from deft_aoi.base.errors import COMPLETE
    from deft_aoi.loop.commit import finalize

    outcome = finalize(args.results_dir, args.iter_label, args.stop_reason, wait=540.0)
    print(outcome.line)
    return 0 if outcome.code == COMPLETE else outcome.code


if __name__ == "__main__":
    sys.exit(run_script(main))
