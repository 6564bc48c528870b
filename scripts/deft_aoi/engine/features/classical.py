"""The classical baseline as a task: `python -m deft_aoi.engine.features.classical -e SPEC results_dir=DIR`.

Scores the spec's inference rows by plain aligned absolute difference, no training at all, into `inference.csv`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import guarded
from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import SCORE, read_rows, write_rows
from deft_aoi.spec.tree import get, load_spec, optics, override


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="classical_baseline", description=__doc__)
    parser.add_argument("-e", dest="spec", type=Path, required=True, help="experiment spec")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args(argv)
    from deft_aoi.engine.features.table import classical_scores

    spec = override(load_spec(args.spec), args.overrides)
    results, csv = get(spec, "results_dir"), get(spec, "dataset.classify.infer_dataset.csv_path")
    if not results or not csv:
        raise InputError(f"{args.spec}: results_dir and dataset.classify.infer_dataset.csv_path are needed")
    rows = read_rows(Path(csv))
    images = Path(get(spec, "dataset.classify.infer_dataset.images_dir", ""))
    scores = classical_scores(rows, images, optics(spec, args.spec))
    rows[SCORE] = [repr(float(score)) for score in scores]
    write_rows(Path(results) / "inference.csv", rows)
    return 0


if __name__ == "__main__":
    sys.exit(guarded("classical_baseline", main))
