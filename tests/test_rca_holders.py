"""Which labels hold the threshold down, and what a person is asked to collect of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deft_aoi.rca.causes import GOLDEN, LABEL, MODEL, UNSEEN
from deft_aoi.rca.holders import Holder, Request, holders, requests


def scored(*defects: tuple[str, float, str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """100 PASS rows at 0.00 to 0.99 and (label, score, cause, board) as defects; the weak rows are the defects."""
    passes = [("PASS", n / 100, "", "B0", f"P{n}") for n in range(100)]
    rows = passes + [(*one, f"D{n}") for n, one in enumerate(defects)]
    table = pd.DataFrame(rows, columns=["label", "siamese_score", "cause", "boardname", "object_name"])
    table["comp_type_1"] = np.where(table.index % 2 == 0, "RES", "CAP")
    return table.drop(columns="cause"), table[table["label"] != "PASS"]


def test_a_label_costs_the_share_of_good_parts_above_its_lowest_row() -> None:
    found = holders(
        *scored(
            ("bridge", 0.90, MODEL, "B1"), ("bridge", 0.40, UNSEEN, "B2"), ("bridge", 0.55, MODEL, "B2"),
            ("lifted", 0.95, MODEL, "B3"), ("missing", 1.0, MODEL, "B4"),
        ),
        most=0.01,
    )  # fmt: skip
    assert [(one.label, one.far, one.rows) for one in found] == [("bridge", 0.60, 3), ("lifted", 0.05, 1)]
    assert (found[0].boards, found[0].components, found[0].hardest) == (("B2", "B1"), ("RES", "CAP"), "D1")
    assert [one.label for one in holders(*scored(("lifted", 0.95, MODEL, "B3")), most=0.05)] == []
    assert Holder.from_json(found[0].to_json()) == found[0]


@pytest.mark.parametrize("cause", [LABEL, GOLDEN])
def test_rows_that_new_rows_cannot_cure_force_nothing(cause: str) -> None:
    table, weak = scored(("bridge", 0.10, cause, "B1"), ("bridge", 0.80, MODEL, "B1"))
    assert [one.far for one in holders(table, weak, 0.0)] == [0.20]
    table, weak = scored(("bridge", 0.10, cause, "B1"))
    assert holders(table, weak, 0.0) == []


def test_only_what_the_pool_lacks_is_asked_for() -> None:
    found = [Holder(name, 0.5, 4, ("RES",), ("B2",), "D1") for name in ("bridge", "lifted", "missing", "shift")]
    pool = {"PASS": 900, "BRIDGE": 24, "lifted": 25, "shift": -1}
    asked = requests(found, pool, made={"Missing"}, mine_rows=200)  # each of the four may have 25 of the 100 defects
    assert [(one.holder.label, one.rows, one.unused) for one in asked] == [("bridge", 1, 24), ("shift", 25, 0)]
    assert requests([], pool, (), 200) == []


def test_a_request_says_what_how_many_why_and_where() -> None:
    text = Request(Holder("bridge", 0.032, 4, ("SOT23", "R0402"), ("B12",), "C101"), 17, 0).sentence
    for words in ("Collect 17 parts with the defect bridge", "the pool has none left", "3.2 % of its good parts",
                  "component types SOT23, R0402 and on boards B12", "C101"):  # fmt: skip
        assert words in text
    assert "Look on" not in Request(Holder("bridge", 0.032, 4, (), (), "C101"), 17, 2).sentence
