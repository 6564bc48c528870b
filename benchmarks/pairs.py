"""CPU milliseconds that the features engine takes for one pair under one light, with nothing in its cache.

From the repository's folder, with the checkout to measure in PYTHONPATH:
  PYTHONPATH=scripts python benchmarks/pairs.py --workspace W [--rows 200]

Reads the KPI rows of a workspace (`deft simulate` makes one): files, decoding, registration, distances, trunk, pooling
and the cache's shard. Next to it the bound: the trunk's multiply-adds alone, at the speed of one product of two large
matrices on one thread of this machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

TRUNK_GFLOP = 0.142  # of one 96 x 96 picture: two operations for each of 71 million multiply-adds
SIDE = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200)
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    import numpy as np

    from deft_aoi.base.paths import Workspace
    from deft_aoi.base.rows import read_rows
    from deft_aoi.engine.features.table import feature_table
    from deft_aoi.spec.tree import load_spec, optics

    workspace = Workspace.at(args.workspace)
    view = optics(load_spec(workspace.spec), workspace.spec)
    rows = read_rows(workspace.kpi_csv).iloc[: args.rows]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DEFT_CACHE_DIR"] = cache
        began = time.process_time()
        feature_table(rows, workspace.images, view)
        seconds = time.process_time() - began
    square = np.ones((SIDE, SIDE), np.float32)
    began = time.process_time()
    square @ square
    rate = 2 * SIDE**3 / 1e9 / (time.process_time() - began)
    each, bound = 1000 * seconds / (len(rows) * len(view.lights)), 1000 * 2 * TRUNK_GFLOP / rate
    print(f"{each:.2f} ms a pair; bound {bound:.2f} ms at {rate:.0f} GFLOP/s; ratio {each / bound:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
