"""kpi.gate: target language, verdicts and the champion rule."""

from __future__ import annotations

import pytest

from deft_aoi.errors import InputError
from deft_aoi.kpi.gate import Standing, better, distance_text, judge, parse_target


@pytest.mark.parametrize(
    ("text", "limit", "inclusive", "recall"),
    [
        ("FAR < 0.1% at recall=100%", 0.001, False, 1.0),
        ("FAR below 0.1% at recall=100%", 0.001, False, 1.0),
        ("FAR below 0.1 % at recall 100 %", 0.001, False, 1.0),
        ("FAR <= 2% at recall >= 99.5%", 0.02, True, 0.995),
        ("false accept rate < 0.5% at recall = 100%", 0.005, False, 1.0),
        ("False Alarm Rate at most 5 percent at 99 % recall", 0.05, True, 0.99),
        ("far<.5%@recall=100%", 0.005, False, 1.0),
        ("FAR ≤ 3%, recall", None, None, None),
        ("FAR <= 0% at recall=100%", 0.0, True, 1.0),
    ],
)
def test_targets_as_people_write_them(text: str, limit: float | None, inclusive: bool, recall: float) -> None:
    if limit is None:
        with pytest.raises(InputError, match="type for example"):
            parse_target(text)
        return
    target = parse_target(text)
    assert (target.limit, target.inclusive, target.recall) == (limit, inclusive, recall)
    again = parse_target(target.text)
    assert (again.limit, again.inclusive, again.recall) == (limit, inclusive, recall)


def test_recall_defaults_to_all_defects_and_says_so() -> None:
    target = parse_target("FAR < 0.5%")
    assert target.recall == 1.0
    assert not target.recall_stated
    assert target.text == "FAR < 0.5% at recall = 100%"


@pytest.mark.parametrize(
    "text",
    ["FAR < 0.001 at recall = 1.0", "FAR < 0.1 at recall=100%", "FAR < 0.1% at recall=1.0", "FAR < 0.1% at recall=100"],
)
def test_units_are_never_guessed(text: str) -> None:
    with pytest.raises(InputError, match=r"no unit.*percent sign, as in"):
        parse_target(text)


@pytest.mark.parametrize(
    "text",
    ["", "FAR", "FAR > 1% at recall=100%", "FAR < 100% at recall=100%", "FAR < 0% at recall=100%", "recall >= 99%",
     "FAR < 1% at recall >= 0%", "FAR < 1% at recall >= 101%", "FAR < 0,1% at recall=100%", "FAR < 1% or so",
     "FAR < -1% at recall=100%"],
)  # fmt: skip
def test_what_does_not_parse_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"FAR < 0.1% at recall = 100%"):
        parse_target(text)


def test_verdict_pass_needs_the_bound_too() -> None:
    target = parse_target("FAR < 0.1% at recall=100%")
    proven = judge(target, 0, 2995, 0, 300)
    assert (proven.status, proven.met, proven.further_pass_needed) == ("PASS", True, 0)
    close = judge(target, 0, 2994, 0, 300)
    assert (close.status, close.met, close.further_pass_needed) == ("NOT PROVABLE", True, 1)
    one = judge(target, 1, 2700, 0, 300)
    assert (one.status, one.met, one.further_pass_needed) == ("NOT PROVABLE", True, 4742 - 2700)
    miss = judge(target, 3, 2700, 0, 300)
    assert (miss.status, miss.met, miss.further_pass_needed) == ("FAIL", False, None)


def test_a_strict_target_is_not_met_on_the_limit() -> None:
    assert not judge(parse_target("FAR < 1% at recall=100%"), 1, 100, 0, 9).met
    assert judge(parse_target("FAR <= 1% at recall=100%"), 1, 100, 0, 9).met


def test_missed_defects_fail_a_full_recall_target() -> None:
    verdict = judge(parse_target("FAR < 1% at recall=100%"), 0, 5000, 1, 300)
    assert verdict.status == "FAIL"
    assert "recall below the target" in verdict.sentence
    assert judge(parse_target("FAR < 1% at recall >= 99.5%"), 0, 5000, 1, 300).status == "PASS"


def test_zero_false_calls_can_be_met_but_never_proven() -> None:
    verdict = judge(parse_target("FAR <= 0% at recall=100%"), 0, 10**6, 0, 300)
    assert (verdict.status, verdict.further_pass_needed) == ("NOT PROVABLE", None)


def test_escape_bound_comes_from_the_defect_count() -> None:
    verdict = judge(parse_target("FAR < 1% at recall=100%"), 0, 5000, 0, 299)
    assert 0.0099 < verdict.escape_upper < 0.01


@pytest.mark.parametrize(("n_pass", "n_defect"), [(0, 5), (5, 0)])
def test_a_verdict_needs_both_classes(n_pass: int, n_defect: int) -> None:
    with pytest.raises(InputError, match="at least one of each"):
        judge(parse_target("FAR < 1%"), 0, n_pass, 0, n_defect)


def test_champion_changes_only_for_a_better_model() -> None:
    champion = Standing(0.02, 0.01, 0.99)
    assert not better(champion, champion)
    assert better(Standing(0.019, 0.5, 0.5), champion)
    assert better(Standing(0.02, 0.009, 0.5), champion)
    assert better(Standing(0.02, 0.01, 0.991), champion)
    assert not better(Standing(0.021, 0.0, 1.0), champion)


def test_distance_is_told_in_points() -> None:
    target = parse_target("FAR < 0.5%")
    assert distance_text(target, 0.028) == "2.3pp from target"
    assert distance_text(target, 0.004) == "met"
