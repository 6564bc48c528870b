"""The hard stop on leakage: no row that is trained on may stand in a set that judges."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from deft_aoi.contracts import read_rows
from deft_aoi.data.leakage import find_leaks
from deft_aoi.errors import HardStop
from deft_aoi.run import Run


def stop_on_leaks(run: Run, rows: pd.DataFrame, csv: Path) -> dict[str, int]:
    """Compare `rows` (paths relative to the workspace) with the validation and the KPI set.

    Returns the number of compared rows for each set; raises HardStop naming the first shared row.
    """
    compared = {}
    for name, judge in (("validation", run.workspace.validation_csv), ("kpi", run.workspace.kpi_csv)):
        held = read_rows(judge)
        leaks = find_leaks(rows, held, images_first=run.workspace.root, images_second=run.workspace.images)
        if leaks:
            raise HardStop(
                "leakage",
                leaks.sentence(str(csv), str(judge)),
                evidence=str(csv),
                remedy=f"take these rows out of the mining pool; a change of {judge.name} needs a new run",
            )
        compared[f"{name}_rows_compared"] = len(held)
    return compared
