"""Order is data: next step, stop rules, and the fold agree on random histories."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deft_aoi.base.errors import InputError
from deft_aoi.record import order, state
from deft_aoi.record.order import Step


def entry(step: Step, **more: Any) -> dict[str, Any]:
    facts = {"stage": step.stage} if more.get("status") == "error" else {}
    return {"iter": step.label, "stage": step.stage, "status": "ok", "facts": facts} | more


def start(iterations: int) -> dict[str, Any]:
    return state.initial(
        started_at="2026-01-01T00:00:00Z", kpi_target="t", results_dir="r", max_iterations=iterations, config={}
    )


def test_the_whole_loop_in_order() -> None:
    entries: list[dict[str, Any]] = []
    while (step := order.next_step(entries, 2)) is not None:
        entries.append(entry(step))
    names = [f"{e['iter']}/{e['stage']}" for e in entries]
    assert names[:3] == ["baseline/train", "baseline/evaluate", "baseline/rca"]
    assert names[3:10] == [f"iter1/{stage}" for stage in order.ITERATION_ORDER]
    assert names[-2:] == ["iter2/evaluate", "iter2/loop_stop"]
    assert len(names) == 3 + 7 + 7 + 1


def test_a_met_target_stops_the_loop() -> None:
    entries = [entry(Step("baseline", "train")), entry(Step("baseline", "evaluate"), facts={"met": True})]
    entries.append(entry(Step("baseline", "rca")))
    assert order.next_step(entries, 5) == Step("baseline", "loop_stop")
    assert order.stop_reason(entries, 5) == "kpi_met"


def test_only_a_true_met_counts() -> None:
    entries = [entry(Step("baseline", "evaluate"), facts={"met": "yes"}), entry(Step("baseline", "rca"))]
    assert order.next_step(entries, 5) == Step("iter1", "rca")


def test_a_preseeded_baseline_starts_at_evaluate() -> None:
    assert order.next_step([], 3, preseeded=True) == Step("baseline", "evaluate")


def test_after_a_hard_stop_only_a_decision_goes_on() -> None:
    entries = [entry(Step("baseline", "train"), status="error")]
    assert order.next_step(entries, 3) == Step("baseline", "resolve")
    entries.append(entry(Step("baseline", "resolve"), facts={"stage": "train"}))
    assert order.next_step(entries, 3) == Step("baseline", "train")


def finished(sealed: bool) -> list[dict[str, Any]]:
    """A loop of one iteration that missed its target, up to loop_stop; the baseline and iter1 were each best once."""
    entries: list[dict[str, Any]] = []
    while (step := order.next_step(entries, 1, sealed=sealed)) is not None:
        last = entries[-1] if entries else None
        facts = {"champion": True} if step.stage == "evaluate" else {}
        entries.append(entry(step, facts=facts, prev=""))
        order.check_order(last, entries[-1], 1)
    return entries


def rolled_back(entries: list[dict[str, Any]], to: str, **facts: Any) -> list[dict[str, Any]]:
    last = entries[-1]
    line = entry(Step(last["iter"], "rollback"), facts={"to": to, **facts, **order.inherited(last, "rollback")})
    order.check_order(last, line, 1)
    return [*entries, line | {"prev": ""}]


def test_a_sealed_set_is_opened_once_before_the_loop_stops() -> None:
    assert [e["stage"] for e in finished(sealed=True)[-3:]] == ["evaluate", "acceptance", "loop_stop"]
    assert "acceptance" not in [e["stage"] for e in finished(sealed=False)]
    with pytest.raises(InputError, match="cannot follow"):
        order.check_order(entry(Step("iter1", "acceptance")), entry(Step("iter1", "acceptance")))


def test_a_rollback_after_the_end_hands_over_again_and_opens_the_set_only_where_told() -> None:
    entries = finished(sealed=True)
    assert order.champion_label(entries) == "iter1"
    quiet = rolled_back(entries, "baseline")
    assert order.champion_label(quiet) == "baseline"
    assert order.next_step(quiet, 1, sealed=True) == Step("iter1", "loop_stop")
    opened = rolled_back(entries, "baseline", open_acceptance=True)
    assert order.next_step(opened, 1, sealed=True) == Step("iter1", "acceptance")
    pruned = [*opened, entry(Step("iter1", "prune"), facts=order.inherited(opened[-1], "prune"))]
    assert order.next_step(pruned, 1, sealed=True) == Step("iter1", "acceptance")
    twice = rolled_back(rolled_back(entries, "baseline"), "iter1")
    assert order.champion_label(twice) == "iter1"
    assert order.next_step(twice, 1) == Step("iter1", "loop_stop")
    assert order.stop_reason(quiet, 1) == "max_iterations"
    assert order.stop_reason(quiet, 5) == "rollback"


def test_a_rollback_between_iterations_lets_the_loop_go_on_from_there() -> None:
    entries = finished(sealed=False)[:-1]
    assert order.next_step(rolled_back(entries, "baseline"), 3) == Step("iter2", "rca")
    met = [*entries[:-1], entries[-1] | {"facts": {"champion": True, "met": True}}]
    assert order.next_step(met, 3) == Step("iter1", "loop_stop")
    assert order.next_step(rolled_back(met, "baseline", met=False), 3) == Step("iter2", "rca")
    with pytest.raises(InputError, match="cannot follow"):
        rolled_back(entries[:-1], "baseline")  # after train: an iteration is under way


histories = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=60)


@given(choices=histories, iterations=st.integers(1, 4))
def test_every_next_step_is_legal_and_the_fold_follows(choices: list[tuple[bool, bool, bool]], iterations: int) -> None:
    """Random errors and met targets: what comes next is always legal, and the fold counts what was done."""
    entries: list[dict[str, Any]] = []
    for fails, met, _ in choices:
        step = order.next_step(entries, iterations)
        if step is None:
            break
        new = entry(step, status="error" if fails and step.stage not in ("resolve", "loop_stop") else "ok")
        if step.stage == "resolve":
            new["facts"] = {"stage": entries[-1]["stage"]}
        if step.stage == "evaluate" and new["status"] == "ok":
            new["facts"] = {"met": met}
        order.check_order(entries[-1] if entries else None, new, iterations)
        entries.append(new)
    folded = state.fold(start(iterations), entries)
    assert folded == state.fold(folded, entries)
    done = [e for e in entries if e["status"] == "ok" and e["stage"] not in ("resolve", "loop_stop")]
    for label, part in folded["iterations"].items():
        mine = [e["stage"] for e in done if e["iter"] == label]
        assert part["stage_completed"] == (mine[-1] if mine else None)


events = st.tuples(
    st.sampled_from(("baseline", "iter1", "iter2", "iter3")), st.sampled_from(order.STAGES),
    st.sampled_from(("ok", "error")), st.booleans(), st.booleans(),
)  # fmt: skip


@given(wanted=st.lists(events, max_size=80), helpful=st.lists(st.booleans(), max_size=80), cut=st.integers(0, 80))
def test_random_events_legal_or_not(
    wanted: list[tuple[str, str, str, bool, bool]], helpful: list[bool], cut: int
) -> None:
    """Illegal events are refused and change nothing; what comes next is total and legal; the fold can stop anywhere."""
    entries: list[dict[str, Any]] = []
    for number, (label, stage, status, met, stops) in enumerate(wanted):
        following = order.next_step(entries, 3)
        if following is not None and (helpful[number:] or [True])[0]:
            label, stage = following.label, following.stage
        last = entries[-1] if entries else None
        facts = {"met": met} if stage == "evaluate" else {"decision": "stop"} if stops and stage == "resolve" else {}
        new = {
            "seq": len(entries) + 1, "iter": label, "stage": stage, "status": status, "prev": "",
            "facts": facts | order.inherited(last, stage),
        }  # fmt: skip
        if Step(label, stage) not in order.legal_steps(last):
            with pytest.raises(InputError, match="cannot follow"):
                order.check_order(last, new)
            continue
        entries.append(new)
        upcoming = order.next_step(entries, 3)
        assert upcoming == order.step_after(entries[-1], order.judged(entries), 3)
        assert upcoming is None or upcoming in order.legal_steps(entries[-1])
        sealed = order.next_step(entries, 3, sealed=True)
        assert sealed is None or sealed in order.legal_steps(entries[-1])
        if upcoming is None:
            assert order.last_deciding(entries)["stage"] == "loop_stop"  # type: ignore[index]
    folded = state.fold(start(3), entries)
    assert state.advance(state.fold(start(3), entries[:cut]), entries[cut:]) == folded
    assert folded["journal"]["lines"] == len(entries)


@given(st.sampled_from(order.STAGES), st.sampled_from(order.STAGES), st.integers(0, 2), st.integers(0, 2))
def test_whatever_is_not_legal_is_refused(before: str, after: str, first: int, second: int) -> None:
    from deft_aoi.base.paths import iter_label

    facts = {"stage": "train", "after": entry(Step(iter_label(first), "evaluate"))}
    previous = entry(Step(iter_label(first), before), facts=facts)
    new = entry(Step(iter_label(second), after))
    legal = Step(new["iter"], after) in order.legal_steps(previous)
    if legal:
        order.check_order(previous, new)
    else:
        with pytest.raises(InputError, match="cannot follow"):
            order.check_order(previous, new)
