"""kpi.contract: what people type as a target, and what is refused."""

from __future__ import annotations

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.kpi.target import Contract, parse_target


def flat(contract: Contract) -> list[tuple[str, float | None, bool]]:
    return [(bound.name, bound.limit, bound.inclusive) for bound in contract.bounds]


@pytest.mark.parametrize(
    ("text", "limit", "inclusive", "recall"),
    [
        ("FAR < 0.1% at recall=100%", 0.001, False, 1.0),
        ("FAR below 0.1% at recall=100%", 0.001, False, 1.0),
        ("FAR below 0.1 % at recall 100 %", 0.001, False, 1.0),
        ("FAR <= 2% at recall >= 99.5%", 0.02, True, 0.995),
        ("false accept rate < 0.5% at recall = 100%", 0.005, False, 1.0),
        ("False Alarm Rate at most 5 percent at 99 % recall", 0.05, True, 0.99),
        ("false_call_ppm < 2000 at recall = 100%", 0.002, False, 1.0),
        ("FAR < 1000 ppm at recall = 100%", 0.001, False, 1.0),
        ("far<.5%@recall=100%", 0.005, False, 1.0),
        ("FAR <= 0% at recall=100%", 0.0, True, 1.0),
        ("overkill under 3% with a recall of 99%.", 0.03, False, 0.99),
    ],
)
def test_a_rate_at_a_recall(text: str, limit: float, inclusive: bool, recall: float) -> None:
    for target in (parse_target(text), parse_target(parse_target(text).text)):
        assert target.far is not None
        assert (target.far.limit, target.far.inclusive, target.recall) == (limit, inclusive, recall)
        assert [bound.metric for bound in target.conditions] == ["escape"]
        assert target.recall_stated


@pytest.mark.parametrize(
    ("text", "bounds", "canonical"),
    [
        ("escape_ppm < 500", [("escape_ppm", 0.0005, False)], "escape_ppm < 500"),
        ("false_call_ppm < 2000", [("false_call_ppm", 0.002, False), ("recall", 0.0, True)],
         "false_call_ppm < 2000 at recall = 100%"),
        ("escapes ppm below 500 and false calls ppm below 2000",
         [("escape_ppm", 0.0005, False), ("false_call_ppm", 0.002, False)],
         "escape_ppm < 500 and false_call_ppm < 2000"),
        ("recall >= 99% at FAR <= 1%", [("recall", pytest.approx(0.01), True), ("FAR", 0.01, True)],
         "recall >= 99% at FAR <= 1%"),
        ("recall at least 99% at 1% FAR", [("recall", pytest.approx(0.01), True), ("FAR", 0.01, True)],
         "recall >= 99% at FAR <= 1%"),
        ("cost: escape=100, false_call=1", [("cost", None, True)], "cost: escape=100, false_call=1"),
        ("cost: escape=100, false_call=1 <= 0.5 per part", [("cost", 0.5, True)],
         "cost: escape=100, false_call=1 <= 0.5 per part"),
        ("command: kpi/eval.py line_cost < 2.5", [("line_cost", 2.5, False), ("recall", 0.0, True)],
         "command: kpi/eval.py line_cost < 2.5 at recall = 100%"),
        ("FAR < 1% at recall=100% and command: e.sh yield >= 0.98",
         [("FAR", 0.01, False), ("yield", 0.98, True), ("recall", 0.0, True)],
         "FAR < 1% at recall = 100% and command: e.sh yield >= 0.98"),
    ],
)  # fmt: skip
def test_every_form(text: str, bounds: list[tuple[str, float | None, bool]], canonical: str) -> None:
    contract = parse_target(text)
    assert flat(contract) == bounds
    assert contract.text == canonical
    again = parse_target(contract.text)
    assert (again.bounds, again.text) == (contract.bounds, contract.text)


def test_recall_defaults_to_all_defects_and_says_so() -> None:
    target = parse_target("FAR < 0.5%")
    assert (target.recall, target.recall_stated) == (1.0, False)
    assert target.text == "FAR < 0.5% at recall = 100%"


def test_weights_and_direction_are_kept() -> None:
    cost = parse_target("cost: escape=100, false_call=1").goals[0]
    assert (cost.escape_weight, cost.false_call_weight) == (100.0, 1.0)
    more = parse_target("command: kpi/eval.py yield > 0.98").goals[0]
    assert more.higher
    assert more.met_by(0.99)
    assert not more.met_by(0.98)
    assert not more.met_by(0.5)


@pytest.mark.parametrize(
    "text",
    ["FAR < 0.001 at recall = 1.0", "FAR < 0.1 at recall=100%", "FAR < 0.1% at recall=1.0", "FAR < 0.1% at recall=100",
     "recall >= 0.99 at FAR <= 1%", "escape < 500"],
)  # fmt: skip
def test_units_are_never_guessed(text: str) -> None:
    with pytest.raises(InputError, match=r"no unit.*percent sign, as in"):
        parse_target(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("FAR > 1% at recall=100%", "FAR is better lower"),
        ("escape_ppm >= 500", "escape_ppm is better lower"),
        ("recall < 99% at FAR <= 1%", "recall is better higher"),
        ("FAR 1% at recall=100%", "not understood"),
        ("escape_ppm < 0.05%", "two units"),
        ("cost: escape=100, false_call=1 < 0.5", "no unit: write < 0.5 per part"),
        ("cost: escape=0, false_call=0", "weight above 0"),
        ("cost: false_call=1, escape=100", "not understood"),
        ("command: kpi/eval.py line_cost", "not understood"),
        ("FAR < 1% at recall=100% and FAR < 2% at recall=99%", "two bounds on FAR"),
        ("FAR < 1% and", "not understood"),
        ("", "not understood"),
        ("FAR", "not understood"),
        ("FAR ≤ 3%, recall", "not understood"),
        ("FAR < 100% at recall=100%", "able to meet it"),
        ("FAR < 0% at recall=100%", "able to meet it"),
        ("FAR < 1% at recall >= 0%", "above 0%"),
        ("FAR < 1% at recall >= 101%", "above 0%"),
        ("FAR < 0,1% at recall=100%", "not understood"),
        ("FAR < 1% or so", "not understood"),
        ("FAR < -1% at recall=100%", "not understood"),
    ],
)
def test_what_does_not_parse_is_refused_with_an_example(text: str, why: str) -> None:
    with pytest.raises(InputError, match=r"type for example .*FAR < 0.1% at recall = 100%") as refused:
        parse_target(text)
    assert why in str(refused.value)
