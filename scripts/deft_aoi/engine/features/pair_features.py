"""What labels are judged by, as a task: `python -m deft_aoi.engine.features.pair_features -e SPEC results_dir=DIR`.

Writes `features.npy` (rows, numbers) float32: how far test and golden of the spec's inference rows differ, every light,
as the features engine measures it. Cached by content; runs on this host whatever engine trains.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from deft_aoi.base.console import guarded
from deft_aoi.base.files import atomic_write
from deft_aoi.engine.features.row_task import row_task


def main(argv: Sequence[str] | None = None) -> int:
    task = row_task("pair_features", __doc__, argv)
    import numpy as np

    from deft_aoi.engine.features.head import columns
    from deft_aoi.engine.features.table import feature_table

    table = feature_table(task.rows, task.images, task.view, "pairs")
    values = columns(table.values).astype(np.float32)
    atomic_write(task.results / "features.npy", lambda stream: np.save(stream, values))
    print(f"measured {len(values)} rows, {table.hits} pairs from cache", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(guarded("pair_features", main))
