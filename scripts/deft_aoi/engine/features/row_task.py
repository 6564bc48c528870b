"""What the tasks that measure a spec's inference rows on this host share: their command line and what they read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import read_rows
from deft_aoi.spec.tree import Optics, get, load_spec, optics, override


@dataclass(frozen=True)
class RowTask:
    """The rows of `infer_dataset`, the folder that their paths start from, and where results go."""

    rows: pd.DataFrame
    images: Path
    view: Optics
    results: Path


def row_task(program: str, description: str | None, argv: Sequence[str] | None) -> RowTask:
    """Parse `-e SPEC key=value ...` and read the rows. Raises InputError where the spec names no rows or results."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("-e", dest="spec", type=Path, required=True, help="experiment spec")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args(argv)
    spec = override(load_spec(args.spec), args.overrides)
    results, csv = get(spec, "results_dir"), get(spec, "dataset.classify.infer_dataset.csv_path")
    if not results or not csv:
        raise InputError(f"{args.spec}: results_dir and dataset.classify.infer_dataset.csv_path are needed")
    images = Path(get(spec, "dataset.classify.infer_dataset.images_dir", ""))
    return RowTask(read_rows(Path(csv)), images, optics(spec, args.spec), Path(results))
