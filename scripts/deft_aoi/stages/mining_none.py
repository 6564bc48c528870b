"""An iteration that mines nothing: it lives from the synthetic rows that it made, or it stops."""

from __future__ import annotations

from typing import Any

import pandas as pd

from deft_aoi.base.errors import HardStop
from deft_aoi.base.rows import COLUMNS
from deft_aoi.record.order import ON
from deft_aoi.record.run import Run
from deft_aoi.stages import mining_files as files
from deft_aoi.stages.mining_pool import source_pool, target_rows
from deft_aoi.stages.stage import StageResult
from deft_aoi.stages.synthetic_rows import generated_rows
from deft_aoi.synthetic.pregenerated import MODE as PREGEN

EMPTY = "empty_mining"  # code of the hard stop where the pool gives nothing any more


def mines(run: Run) -> bool:
    """Whether there is anything to mine: a pool of the workspace, or pre-generated pairs."""
    return run.plan.pool == ON or run.plan.synthetic == PREGEN


def made_rows(run: Run, label: str) -> int:
    """Synthetic rows that this iteration brings without mining."""
    made = generated_rows(run, label)
    return 0 if made is None else len(made)


def nothing_mined(run: Run, label: str, why: str) -> StageResult:
    """The stage's line where no row was mined. Raises HardStop where no synthetic row was made either."""
    made = made_rows(run, label)
    if not made:
        raise HardStop(
            EMPTY,
            f"{why}, and {label} made no synthetic row: training would see nothing new",
            evidence=str(run.workspace.pool_csv),
            remedy="add rows to the mining pool, or approve a plan that makes synthetic rows; then: deft resolve "
            "--reason TEXT",
        )
    rows = source_pool(run) if mines(run) else pd.DataFrame(columns=[*COLUMNS, "origin"])
    mined = files.pick_frame(run, rows, target_rows(run, label), [], None)
    artifacts = files.write_results(run, label, rows, [], mined, 0)
    facts: dict[str, Any] = {
        "mining_mined_parquet": str(artifacts[0]),
        "mining_mined_count": 0,
        "candidates": 0,
        "kept": 0,
        "rejected": 0,
        "min_similarity": files.similarity_floor(run),
        "policy": run.plan.policy,
        "by_label": {},
        "synthetic_kept": 0,
        "warnings": [why],
    }
    return StageResult(f"0 rows mined: {why}; {made} synthetic rows are this iteration's new rows", facts, artifacts)
