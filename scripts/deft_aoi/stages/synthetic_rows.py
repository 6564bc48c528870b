"""How many synthetic rows a training set may hold, and which go first where it would hold more."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from deft_aoi.base.rows import parse_csv, read_rows
from deft_aoi.record.facts import Generated
from deft_aoi.record.order import ANOMALYGEN
from deft_aoi.record.run import Run

SYNTHETIC = "synthetic"


def generated_rows(run: Run, label: str) -> pd.DataFrame | None:
    """Rows that this iteration's generator made; None where it made none."""
    made = _generated(run, label)
    return read_rows(made.rows_csv) if made and made.rows_csv else None


def doubtful(run: Run, label: str) -> set[str]:
    """`<input_path>/<object_name>` of pairs that the realism screen flagged, of this iteration or the run's pool."""
    made = _generated(run, label)
    csv = (made.realism or {}).get("csv") if made else None
    if not csv or not Path(csv).is_file():
        return set()
    table = parse_csv(Path(csv))
    return set(table.loc[table["flags"] != "", "name"])


def _generated(run: Run, label: str) -> Generated | None:
    """What stage `anomalygen` left; None in journals of NVIDIA's bank, whose lines say nothing of it."""
    done = any(
        (e["iter"], e["stage"], e["status"]) == (label, ANOMALYGEN, "ok") and e.get("facts") for e in run.entries
    )
    return run.left(label, Generated) if done else None


def within_share(old: pd.Series, new: pd.DataFrame, share: float, flagged: Collection[str]) -> list[bool]:
    """Which of the new rows stay, so that synthetic rows are at most `share` of old and new together.

    `old` and `new["origin"]` say where rows come from. Flagged rows go first, then the last ones of the table.
    """
    synthetic = [number for number, origin in enumerate(new["origin"]) if origin == SYNTHETIC]
    there = int((old == SYNTHETIC).sum())
    real = len(old) - there + len(new) - len(synthetic)
    room = len(synthetic) if share >= 1 else max(0, int(share / (1 - share) * real + 1e-9) - there)
    names = [f"{folder}/{name}" for folder, name in zip(new["input_path"], new["object_name"])]
    ordered = sorted(synthetic, key=lambda number: (names[number] in flagged, number))
    gone = set(ordered[room:])
    return [number not in gone for number in range(len(new))]
