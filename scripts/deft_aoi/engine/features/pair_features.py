"""What labels are judged by, as a task: `python -m deft_aoi.engine.features.pair_features -e SPEC results_dir=DIR`.

Writes `features.npy` (rows, numbers) float32: how far test and golden of the spec's inference rows differ, every light,
as the features engine measures it. Cached by content; runs on this host whatever engine trains.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deft_aoi.base.console import guarded
from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write
from deft_aoi.base.rows import read_rows
from deft_aoi.spec.tree import get, load_spec, optics, override


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="pair_features", description=__doc__)
    parser.add_argument("-e", dest="spec", type=Path, required=True, help="experiment spec")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args(argv)
    import numpy as np

    from deft_aoi.engine.features.head import columns
    from deft_aoi.engine.features.table import feature_table

    spec = override(load_spec(args.spec), args.overrides)
    results, csv = get(spec, "results_dir"), get(spec, "dataset.classify.infer_dataset.csv_path")
    if not results or not csv:
        raise InputError(f"{args.spec}: results_dir and dataset.classify.infer_dataset.csv_path are needed")
    images = Path(get(spec, "dataset.classify.infer_dataset.images_dir", ""))
    table = feature_table(read_rows(Path(csv)), images, optics(spec, args.spec), "pairs")
    values = columns(table.values).astype(np.float32)
    atomic_write(Path(results) / "features.npy", lambda stream: np.save(stream, values))
    print(f"measured {len(values)} rows, {table.hits} pairs from cache", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(guarded("pair_features", main))
