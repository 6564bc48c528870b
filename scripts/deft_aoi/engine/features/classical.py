"""The classical baseline as a task: `python -m deft_aoi.engine.features.classical -e SPEC results_dir=DIR`.

Scores the spec's inference rows by plain aligned absolute difference, no training at all, into `inference.csv`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from deft_aoi.base.console import guarded
from deft_aoi.base.rows import SCORE, write_rows
from deft_aoi.engine.features.row_task import row_task


def main(argv: Sequence[str] | None = None) -> int:
    task = row_task("classical_baseline", __doc__, argv)
    from deft_aoi.engine.features.table import classical_scores

    scores = classical_scores(task.rows, task.images, task.view)
    scored = task.rows.assign(**{SCORE: [repr(float(score)) for score in scores]})
    write_rows(task.results / "inference.csv", scored)
    return 0


if __name__ == "__main__":
    sys.exit(guarded("classical_baseline", main))
