"""Write best_model_inference_spec.yaml of a run from its best_model.json. The last line of stdout is its path."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import run_script


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results-dir", type=Path, required=True, help="run directory (<workspace>/results/run_...)")
    args = parser.parse_args(argv)
    from deft_aoi.base.paths import RunPaths
    from deft_aoi.stages.finish import prepare_inference_spec

    print(prepare_inference_spec(RunPaths.at(args.results_dir)))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
