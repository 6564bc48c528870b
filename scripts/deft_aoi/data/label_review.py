"""Rows of `label_review.csv`: labels that other rows or a person doubt, listed before training is spent on them.

Nothing is changed or dropped by it; labels of the KPI set are never changed by the loop at all.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.base.cache_folder import kind_folder, touch, trim_now_and_then
from deft_aoi.base.console import aside
from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write
from deft_aoi.base.progress import Progress
from deft_aoi.base.rows import PASS, read_sheet, write_sheet
from deft_aoi.data.label_noise import FOLDS, MIN_PER_CLASS, Doubt, enough, label_doubt
from deft_aoi.data.sets import POOL, TRAINING, VALIDATION, RowSet
from deft_aoi.spec.tree import Optics

COLUMNS = (
    "set", "line", "label", "suggested", "level", "doubt", "probability_defect", "boardname",
    "input_path", "golden_path", "object_name", "source", "verdict", "note",
)  # fmt: skip
MISLABELED, CONFIRMED = "mislabeled", "confirmed"  # verdicts: the label is wrong; a person looked, and it is right
REVIEWED = (TRAINING, POOL)  # what training may be spent on; validation rows only help to judge
MAX_ROWS = 3000  # rows whose images are measured in one review: about a minute on two cores
_VERSION = 1


@dataclass(frozen=True)
class Review:
    """`table` (COLUMNS), the most suspect row first; rows examined and left out by set; why where none was."""

    table: pd.DataFrame
    examined: Mapping[str, int]
    left_out: Mapping[str, int]
    why_not: str = ""

    def record(self) -> dict[str, Any]:
        """JSON-ready counts."""
        by_set = {
            name: {
                "examined": self.examined.get(name, 0),
                "left_out": self.left_out.get(name, 0),
                **{level: int(((self.table["set"] == name) & (self.table["level"] == level)).sum())
                   for level in ("likely", "doubtful")},
            }
            for name in REVIEWED if name in self.examined or name in self.left_out
        }  # fmt: skip
        return {"sets": by_set, "why_not": self.why_not}


def review(
    sets: Sequence[RowSet], optics: Optics, unusable: Mapping[str, Collection[int]], *, max_rows: int | None = MAX_ROWS
) -> Review:
    """Doubt of training and pool rows, judged by each other and by validation, each without its own board.

    `unusable` are rows of a set that have an unreadable image. At most `max_rows` rows are measured: training first,
    then defects of the pool, its PASS rows, validation; the rest is counted in `left_out`.
    """
    from deft_aoi.engine.features.head import columns
    from deft_aoi.engine.features.table import feature_table

    by_name = {one.name: one for one in sets if one.name in (*REVIEWED, VALIDATION)}
    chosen = choose(by_name, unusable, max_rows)
    defect = np.concatenate([_defect(by_name[name])[rows] for name, rows in chosen.items()] or [np.zeros(0, bool)])
    left = {name: len(by_name[name].rows) - len(rows) for name, rows in chosen.items() if name in REVIEWED}
    if not enough(defect):
        why = f"{int(defect.sum())} defects of {len(defect)} rows; {MIN_PER_CLASS} of each class judge each other"
        return Review(pd.DataFrame(columns=list(COLUMNS)), {}, left, why)
    if len(defect) == max_rows:
        aside(f"label noise: {len(defect):,} of {sum(len(one.rows) for one in by_name.values()):,} rows are measured")
    blocks, boards = [], []
    for name, rows in chosen.items():
        one = by_name[name]
        some = one.rows.iloc[rows].reset_index(drop=True)
        blocks.append(columns(feature_table(some, one.root, optics, f"labels of {name}").values).astype(np.float32))
        boards += [f"{board}" for board in some["boardname"]]
    found = remembered_doubt(np.concatenate(blocks), defect, boards)
    parts, start = [], 0
    for name, rows in chosen.items():
        if name in REVIEWED:
            parts.append(listed(by_name[name], rows, found, start))
        start += len(rows)
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    table["line"] = table["line"].astype(int)  # an empty part has turned them into floats
    table = table.sort_values("doubt", ascending=False, kind="stable", ignore_index=True)
    return Review(table, {name: len(rows) for name, rows in chosen.items() if name in REVIEWED}, left)


def choose(
    sets: Mapping[str, RowSet], unusable: Mapping[str, Collection[int]], max_rows: int | None
) -> dict[str, NDArray[np.int64]]:
    """Rows of each set to measure, ascending; where they are too many, PASS rows of the pool are thinned evenly."""
    free = {
        name: np.setdiff1d(np.flatnonzero(one.rows["label"] != ""), np.fromiter(unusable.get(name, ()), np.int64))
        for name, one in sets.items()
    }
    order = [(name, kind) for name in (TRAINING, POOL, VALIDATION) if name in free for kind in (True, False)]
    left = sum(map(len, free.values())) if max_rows is None else max_rows
    taken: dict[str, list[NDArray[np.int64]]] = {}
    for name, kind in order:
        rows = free[name][_defect(sets[name])[free[name]] == kind]
        some = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), left)).astype(int))] if left else rows[:0]
        taken.setdefault(name, []).append(some)
        left -= len(some)
    return {name: np.sort(np.concatenate(parts)) for name, parts in taken.items() if sum(map(len, parts))}


def remembered_doubt(features: NDArray[np.float32], defect: NDArray[np.bool_], boards: Sequence[str]) -> Doubt:
    """:func:`deft_aoi.data.label_noise.label_doubt`, kept by content: the same rows cost their models once."""
    digest = hashlib.sha256(f"{_VERSION} {features.shape}".encode())
    for part in (features.tobytes(), defect.tobytes(), "\0".join(boards).encode()):
        digest.update(part)
    path = kind_folder("doubt") / f"{digest.hexdigest()[:32]}.npy"
    try:
        known = np.load(path)
        if known.shape == (4, len(defect)):
            touch(path)
            return Doubt(known[0], known[1], known[2] > 0, known[3] > 0)
    except (OSError, ValueError):
        pass
    with Progress("label noise", FOLDS, "fold") as progress:
        found = label_doubt(features, defect, boards, done=progress.update)
    table = np.stack([found.probability, found.doubt, found.doubtful, found.likely])
    with contextlib.suppress(OSError):  # a full or read-only cache only costs time
        atomic_write(path, lambda stream: np.save(stream, table))
        trim_now_and_then()
    return found


def listed(one: RowSet, rows: NDArray[np.int64], found: Doubt, start: int) -> pd.DataFrame:
    """The suspect ones of `rows`, whose doubts begin at `start`."""
    part = slice(start, start + len(rows))
    doubtful = found.doubtful[part]
    numbers = rows[doubtful]
    table = one.rows.iloc[numbers][["boardname", "input_path", "golden_path", "object_name"]].reset_index(drop=True)
    labels = [one.label(int(row)) for row in numbers]
    table = table.assign(
        set=one.name,
        line=[one.line(int(row)) for row in numbers],
        label=labels,
        suggested=["a defect" if label == PASS else PASS for label in labels],
        level=np.where(found.likely[part][doubtful], "likely", "doubtful"),
        doubt=np.round(found.doubt[part][doubtful], 4),
        probability_defect=np.round(found.probability[part][doubtful], 4),
        source="cross-validation",
        verdict="",
        note="",
    )
    return table[list(COLUMNS)]


def read_review(path: Path) -> pd.DataFrame:
    """The table of :func:`write_review`, without rows where there is none. Raises InputError for a damaged file."""
    if not path.is_file():
        return pd.DataFrame(columns=list(COLUMNS))
    table = read_sheet(path)
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise InputError(f"{path}: column {', '.join(missing)} missing; remove the file: the next stage rewrites it")
    return table


def write_review(path: Path, table: pd.DataFrame) -> None:
    write_sheet(path, table[list(COLUMNS)])


def _defect(one: RowSet) -> NDArray[np.bool_]:
    return np.array([label != PASS for label in one.labels], bool)
