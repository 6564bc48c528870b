"""What mining decided before its first command, kept next to the stage's jobs: the pool as it was, and the neighbours.

Whoever comes later (another call of `deft step`, `collect`) reads it, so that nothing is decided twice and rows that
the pool gets in between do not change what a place means. `deft resolve` sets it aside with the jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.base.files import atomic_write, atomic_write_json
from deft_aoi.base.rows import read_parquet, write_parquet
from deft_aoi.base.safe_paths import check_cells
from deft_aoi.mining.select import Neighbours, Stock
from deft_aoi.mining.shortlist import SKIPPED, Asked
from deft_aoi.record.order import DATA_MINING
from deft_aoi.record.run import Run, read_json
from deft_aoi.stages.mining_pool import target_rows
from deft_aoi.stages.stage import DECIDED

_FREE, _CONTENT, _ASKED = "deft:free", "deft:content", "deft:asked"  # columns next to the pool's own


@dataclass(frozen=True)
class Pool:
    """Rows of the source pool, weak samples, and the pool as a policy sees it."""

    rows: pd.DataFrame
    targets: pd.DataFrame
    stock: Stock
    unreadable: int
    barred: Mapping[str, int]  # rows left out as near-duplicates of rows that judge, by set
    asked: Asked  # (n,): which rows the model scores where the policy wants scores, and how they were chosen

    @property
    def free(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.stock.free)

    @property
    def to_score(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.asked != SKIPPED)


def kept_pool(run: Run, label: str, decide: Callable[[], Pool]) -> Pool:
    """The pool that this stage works on: as it was decided, by `decide` in the stage's first call."""
    folder = _folder(run, label)
    if (folder / "pool.parquet").is_file():
        return _read(run, label, folder)
    pool = decide()
    _write(folder, pool)
    return pool


def kept_neighbours(run: Run, label: str, find: Callable[[], Neighbours]) -> Neighbours:
    """The neighbours of the weak samples: as they were found, by `find` once the embeddings are there."""
    path = _folder(run, label) / "neighbours.npz"
    if path.is_file():
        with np.load(path) as held:
            return Neighbours(held["index"], held["similarity"])
    near = find()
    atomic_write(path, lambda stream: np.savez(stream, index=near.index, similarity=near.similarity))
    return near


def _folder(run: Run, label: str) -> Path:
    return run.paths.jobs / f"{label}-{DATA_MINING}-{DECIDED}"


def _write(folder: Path, pool: Pool) -> None:
    """The table comes last: where it is, the rest is."""
    stock = pool.stock
    looks, content = stock.looks, stock.content
    assert looks is not None  # other users of a stock do without
    assert content is not None
    atomic_write(folder / "looks.npy", lambda stream: np.save(stream, looks))
    atomic_write_json(
        folder / "pool.json", {"unreadable": pool.unreadable, "barred": dict(pool.barred), "taken": sorted(stock.taken)}
    )
    table = pool.rows.copy()
    table[_FREE], table[_CONTENT] = stock.free, [content(row) for row in range(len(stock))]
    table[_ASKED] = pool.asked
    write_parquet(folder / "pool.parquet", table)


def _read(run: Run, label: str, folder: Path) -> Pool:
    table = read_parquet(folder / "pool.parquet", {"label": "text", "boardname": "text", _CONTENT: "text"})
    rows, content = table.drop(columns=[_FREE, _CONTENT, _ASKED]), table[_CONTENT].tolist()
    check_cells(rows, folder / "pool.parquet", run.workspace.root, run.workspace.root)
    facts = read_json(folder / "pool.json")
    stock = Stock(
        rows["label"].to_numpy(str), table[_FREE].to_numpy(bool), rows["boardname"].to_numpy(str),
        np.load(folder / "looks.npy"), content.__getitem__, frozenset(facts["taken"]),
    )  # fmt: skip
    return Pool(
        rows, target_rows(run, label), stock, facts["unreadable"], facts["barred"], table[_ASKED].to_numpy(np.int8)
    )
