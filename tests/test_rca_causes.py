"""rca.causes: each cause follows from its own numbers, and what spoils the sample comes before what training lacks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deft_aoi.rca.causes import DRIFT, GOLDEN, LABEL, MODEL, REGISTRATION, UNSEEN, Evidence, propose

SOUND = Evidence(
    doubt=0.1, golden_ratio=1.0, shift=2.0, usual_shift=3.0, split=0.5, usual_split=1.0,
    gain={"White": 1.0, "Solder": 0.98},
    usual_gain={"White": (1.0, 0.02), "Solder": (1.0, 0.02)}, training_rows=12, distance=0.8,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "cause", "says"),
    [
        ({}, MODEL, "similar training rows at 0.8"),
        ({"doubt": 0.93}, LABEL, "doubt 0.93"),
        ({"doubt": 0.6, "likely": True}, LABEL, "likely a label error"),
        ({"golden_ratio": 3.1}, GOLDEN, "3.1 times"),
        ({"shift": 13.0}, REGISTRATION, "moved 13.0 px, 95 % of good parts 3.0"),
        ({"split": 6.0}, REGISTRATION, "6.0 px apart, usually 1.0"),
        ({"gain": {"White": 1.0, "Solder": 0.7}}, DRIFT, "Solder: brightness 0.70 of its golden, usual 1.00"),
        ({"training_rows": 0, "distance": float("inf")}, UNSEEN, "no training row has this label"),
        ({"distance": 2.4}, UNSEEN, "2.4 times as far"),
    ],
)
def test_each_cause_names_its_numbers(change: dict, cause: str, says: str) -> None:
    found = propose(replace(SOUND, **change))
    assert found.name == cause
    assert says in found.evidence


def test_a_spoilt_sample_comes_before_what_training_lacks() -> None:
    both = replace(SOUND, golden_ratio=4.0, training_rows=0)
    assert propose(both).name == GOLDEN
    assert propose(replace(both, doubt=0.9)).name == LABEL


@pytest.mark.parametrize("label", ["shift", "Offset", "tombstone", "偏移", "rotated", "misaligned"])
def test_a_part_that_was_moved_is_no_failed_registration(label: str) -> None:
    moved = replace(SOUND, shift=13.0)
    assert propose(replace(moved, label=label)).name == MODEL
    assert propose(replace(moved, label="bridge")).name == REGISTRATION
    assert propose(replace(moved, label=label, split=6.0)).name == REGISTRATION


def test_the_brightness_of_a_black_and_white_picture_says_nothing_of_the_light() -> None:
    darker = replace(SOUND, gain={"White": 1.0, "Solder": 0.7})
    assert propose(replace(darker, two_level=True)).name == MODEL


def test_without_any_measurement_it_is_the_model() -> None:
    assert propose(Evidence()) == propose(Evidence(distance=float("nan")))
    assert propose(Evidence()).name == MODEL
