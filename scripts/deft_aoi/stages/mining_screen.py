"""The screening of labels as tasks: judges are measured, then what a policy offers, block by block, until the
selection holds clean rows. The doubt of each block is kept with its features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.base.files import atomic_write, move_aside
from deft_aoi.base.rows import PASS, is_defect, read_rows
from deft_aoi.executors.base import Task
from deft_aoi.mining.screen import Offers, Policy, ask
from deft_aoi.mining.select import UNLABELLED, Limits, Stock
from deft_aoi.record.run import Run
from deft_aoi.stages import mining_tasks as heavy
from deft_aoi.stages.merge import earlier_rows

if TYPE_CHECKING:
    from deft_aoi.data.jury import Jury, Rows

JUDGES, OFFERS = "measure_judges", "measure_offers"
_DOUBT, _GLANCE = "doubt.npy", "glance.npy"


@dataclass(frozen=True)
class Screening:
    """What the screening of one iteration goes by: `rows` of the pool, and their `scores` (n,) where there are some.

    `chance` (n,): rows that nobody chose. They judge, since rows that were put on a shortlist are unlike the rest.
    """

    run: Run
    label: str
    rows: pd.DataFrame
    stock: Stock
    policy: Policy
    limits: Limits
    scores: NDArray[np.float64] | None
    chance: NDArray[np.bool_]

    def tasks(self) -> Iterator[Task]:
        """The judges, then one block of offers after the other; blocks that are judged are not asked for again."""
        from deft_aoi.data import jury  # scikit-learn takes seconds to import

        free = np.flatnonzero(self.stock.free & self.chance & (self.stock.labels != UNLABELLED))
        drawn = jury.draw(self.stock.labels, PASS, free, self.run.plan.seed)
        known = earlier_rows(self.run, self.label)[0].assign(place=-1)
        yield self._measure(JUDGES, pd.concat([known, self._asked(drawn)], ignore_index=True).fillna(""))
        formed = None
        if not self._saved(JUDGES, _DOUBT).is_file():
            for stale in self.run.paths.mining(self.label).glob(f"{OFFERS}_[0-9]*/"):
                move_aside(stale)
            formed = self._form()
        while (block := ask(self.offers())).size:
            name = f"{OFFERS}_{len(self._blocks()) + 1}"
            yield self._measure(name, self._asked(block))
            formed = formed or self._form()
            csv, features = heavy.measured(self.run, self.label, name)
            self._save(name, _DOUBT, formed.doubt_of(self._seen(read_rows(csv), np.load(features))))

    def offers(self) -> Offers:
        """The pool with all that is known of its labels, asked as far as that goes."""
        glance = self._saved(JUDGES, _GLANCE)
        doubt = np.full(len(self.rows), np.nan)
        self._fill(doubt, JUDGES)
        found = Offers(self.policy, self.stock, self.limits, doubt, np.load(glance) if glance.is_file() else None)
        for name in self._blocks():
            self._fill(doubt, name)
        ask(found)
        return found

    def _form(self) -> Jury:
        """The jury, and on disk what it says of its own rows and at a glance of all."""
        from deft_aoi.data import jury

        csv, features = heavy.measured(self.run, self.label, JUDGES)
        rows, values = read_rows(csv), np.load(features)
        ours = rows["place"].astype(int).to_numpy() >= 0
        known = jury.Rows(values[~ours], is_defect(rows["label"][~ours]).to_numpy(), list(rows["boardname"][~ours]))
        everywhere = None
        if self.scores is not None:
            scored = self.stock.free & (self.stock.labels != UNLABELLED) & ~np.isnan(self.scores)
            everywhere = self._by_score(scored & self.chance)
        formed = jury.form(known, self._seen(rows[ours], values[ours]), everywhere, seed=self.run.plan.seed)
        if everywhere is not None:
            glance = np.zeros(len(self.rows))
            glance[scored] = formed.doubt_by_score(*self._by_score(scored))
            self._save(JUDGES, _GLANCE, glance)
        self._save(JUDGES, _DOUBT, formed.doubt)
        return formed

    def _by_score(self, rows: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(score, whether its label is a defect) of scored rows."""
        assert self.scores is not None
        return self.scores[rows], self.stock.labels[rows] != PASS

    def _seen(self, rows: pd.DataFrame, features: NDArray[np.float32]) -> Rows:
        from deft_aoi.data import jury

        places = rows["place"].astype(int).to_numpy()
        score = None if self.scores is None else self.scores[places]
        return jury.Rows(features, is_defect(rows["label"]).to_numpy(), list(rows["boardname"]), score)

    def _asked(self, places: NDArray[np.int64]) -> pd.DataFrame:
        return self.rows.iloc[places].drop(columns="origin").assign(place=places)

    def _measure(self, name: str, rows: pd.DataFrame) -> Task:
        return heavy.measuring(self.run, self.label, name, rows)

    def _blocks(self) -> list[str]:
        """Blocks of offers that are judged."""
        names: list[str] = []
        while self._saved(f"{OFFERS}_{len(names) + 1}", _DOUBT).is_file():
            names.append(f"{OFFERS}_{len(names) + 1}")
        return names

    def _fill(self, doubt: NDArray[np.float64], name: str) -> None:
        places = read_rows(heavy.measured(self.run, self.label, name)[0])["place"].astype(int).to_numpy()
        doubt[places[places >= 0]] = np.load(self._saved(name, _DOUBT))

    def _saved(self, name: str, file: str) -> Path:
        return heavy.measured(self.run, self.label, name)[1].with_name(file)

    def _save(self, name: str, file: str, values: NDArray[np.float64]) -> None:
        atomic_write(self._saved(name, file), lambda stream: np.save(stream, values))
