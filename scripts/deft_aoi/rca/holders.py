"""Which defect labels hold the threshold down, and what to collect of them where the pool has none. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from deft_aoi.base.rows import SCORE, is_defect
from deft_aoi.rca.causes import MODEL, UNSEEN
from deft_aoi.rca.tables import board_column, component_column

CURABLE = (UNSEEN, MODEL)  # causes that more rows of a label can cure; the others ask for another picture or label
_NAMED = 3  # boards and component types that a request names


@dataclass(frozen=True)
class Holder:
    """A defect label whose weak rows force false calls: `far` is the share of the PASS rows that score at least as high
    as its lowest row, so what it costs to keep all of them. `rows` of it are weak for a cause that more rows can cure;
    `components` and `boards` are where most of these are, `hardest` is the lowest."""

    label: str
    far: float
    rows: int
    components: tuple[str, ...]
    boards: tuple[str, ...]
    hardest: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"components": list(self.components), "boards": list(self.boards)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Holder:
        lists = {name: tuple(record[name]) for name in ("components", "boards")}
        return cls(**{**record, **lists})


@dataclass(frozen=True)
class Request:
    """Parts to collect: `rows` more of a holder's label, of which the pool has `unused`."""

    holder: Holder
    rows: int
    unused: int

    @property
    def sentence(self) -> str:
        """What, how many, why and from where, for a person at the line."""
        one = self.holder
        places = [f"component types {', '.join(one.components)}"] if one.components else []
        places += [f"boards {', '.join(one.boards)}"] if one.boards else []
        where = f" Look on {' and on '.join(places)}, where it is missed or nearly." if places else ""
        return (
            f"Collect {self.rows} parts with the defect {one.label}: the pool has {self.unused or 'none'} left, and to "
            f"catch every one of them the line must call {100 * one.far:.2g} % of its good parts falsely.{where} "
            f"The hardest one so far: {one.hardest}."
        )

    def to_json(self) -> dict[str, Any]:
        return {"label": self.holder.label, "rows": self.rows, "unused": self.unused, "sentence": self.sentence}


def holders(scored: pd.DataFrame, weak: pd.DataFrame, most: float) -> list[Holder]:
    """Labels that cost a FAR above `most`, the costliest first.

    `weak` are rows of `scored` with their `cause`; those with a suspect label, golden or picture force nothing.
    """
    passes = scored.loc[~is_defect(scored["label"]), SCORE].to_numpy(float)
    curable = weak[is_defect(weak["label"]) & weak["cause"].isin(CURABLE)]
    component, board = component_column(scored), board_column(scored)
    found = []
    for label, rows in curable.groupby("label"):
        ordered = rows.sort_values(SCORE, kind="stable")
        far = float((passes >= ordered[SCORE].iloc[0]).mean())
        if far > most:
            forcing = ordered[ordered[SCORE] <= passes.max()]
            components, boards = (_frequent(forcing[name]) if name else () for name in (component, board))
            hardest = str(ordered["object_name"].iloc[0])
            found.append(Holder(str(label), far, len(rows), components, boards, hardest))
    return sorted(found, key=lambda one: (-one.far, one.label))


def requests(
    found: Sequence[Holder], unused: Mapping[str, int], made: Collection[str], mine_rows: int
) -> list[Request]:
    """What to collect of labels that the pool cannot give their share of one mining: of half of `mine_rows`.

    `unused` counts pool rows by label that no iteration took, compared without case; labels in `made` are generated.
    """
    free = {name.casefold(): count for name, count in unused.items()}
    generated = {name.casefold() for name in made}
    share = math.ceil(mine_rows / 2 / max(len(found), 1))
    asked = []
    for one in found:
        left = max(free.get(one.label.casefold(), 0), 0)
        if left < share and one.label.casefold() not in generated:
            asked.append(Request(one, share - left, left))
    return asked


def _frequent(values: pd.Series) -> tuple[str, ...]:
    """The most frequent values but the empty one, at most a few."""
    counts = values[values != ""].value_counts()
    return tuple(str(name) for name in sorted(counts.index, key=lambda name: (-counts[name], name))[:_NAMED])
