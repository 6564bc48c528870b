"""The head: monotone, deterministic, close to the classical method while rows are few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from deft_aoi.engine.features.checkpoint import load_checkpoint, save_checkpoint
from deft_aoi.engine.features.distances import feature_names
from deft_aoi.engine.features.head import (
    Head,
    carry_over,
    column_names,
    cross_entropy,
    fit,
    probabilities,
    row_weights,
    start_head,
)
from deft_aoi.engine.refusal import TaskError
from deft_aoi.spec.tree import Optics

LIGHTS = ("WhiteLight", "SolderLight")
WIDTH = len(feature_names())


def data(rows: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random numbers of two lights; defects differ more, by an amount of their own."""
    rng = np.random.default_rng(seed)
    defect = np.arange(rows) % 4 == 0
    values = rng.gamma(2.0, 10.0, (rows, len(LIGHTS), WIDTH))
    values[defect] *= rng.uniform(1.2, 4, (defect.sum(), 1, 1))
    return values.astype(np.float32), defect


def fitted(**changes: object) -> list[Head]:
    values, defect = data()
    options = {"epochs": 3, "cls_weight": (1.0, 10.0)} | changes
    return fit(start_head(LIGHTS, values, defect), values, defect, **options)


HEAD = fitted()[-1]


@given(
    light=st.integers(0, len(LIGHTS) - 1),
    feature=st.integers(0, WIDTH - 1),
    more=st.floats(0, 1e4),
    row=st.integers(0, 59),
)
def test_more_difference_never_lowers_the_score(light: int, feature: int, more: float, row: int) -> None:
    values = data()[0][row : row + 1]
    worse = values.copy()
    worse[0, light, feature] += more
    assert HEAD.scores(worse)[0] >= HEAD.scores(values)[0]


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_probabilities_rise_with_the_logit(one: float, other: float) -> None:
    low, high = sorted((one, other))
    first, second = probabilities(np.array([low, high]))
    assert 0 <= first <= second <= 1


def test_strong_scores_do_not_tie_in_float32() -> None:
    scores = probabilities(np.array([-60.0, -40.0, 8.0, 20.0, 24.0, 60.0])).astype(np.float32)
    assert (np.diff(scores) > 0).all()


def test_weights_are_never_negative_and_epochs_differ() -> None:
    heads = fitted()
    assert all((head.weights >= 0).all() for head in heads)
    assert not np.array_equal(heads[0].weights, heads[-1].weights)


def test_a_row_is_scored_alike_alone_and_among_others() -> None:
    values, _ = data()
    together = HEAD.scores(values)
    alone = np.concatenate([HEAD.scores(values[i : i + 1]) for i in range(len(values))])
    np.testing.assert_array_equal(together, alone)


def test_carry_over_keeps_the_function() -> None:
    values, defect = data(seed=5)
    moved = carry_over(HEAD, start_head(LIGHTS, values, defect))
    np.testing.assert_allclose(moved.logits(values), HEAD.logits(values), rtol=1e-9, atol=1e-9)


def test_a_warm_start_is_ahead_of_a_cold_one() -> None:
    values, defect = data(rows=200, seed=3)
    defect = defect ^ (np.arange(200) % 9 == 0)  # wrong labels, so that one epoch is not enough
    start = start_head(LIGHTS, values, defect)
    options = {"epochs": 4, "cls_weight": (1.0, 10.0)}
    cold = fit(start, values, defect, **options)
    warm = fit(carry_over(cold[-1], start), values, defect, **options)
    weights = row_weights(defect, (1.0, 10.0))
    losses = [cross_entropy(head.logits(values), defect, weights) for head in (cold[0], cold[-1], warm[0])]
    assert losses[0] > losses[1]
    assert losses[2] < losses[0]


def test_one_light_needs_no_column_for_the_largest_over_lights() -> None:
    assert len(column_names(("only",))) == WIDTH
    assert len(column_names(LIGHTS)) == 3 * WIDTH


def test_a_checkpoint_gives_back_the_head(tmp_path) -> None:
    view = Optics(LIGHTS, ".png", 48, 48)
    save_checkpoint(tmp_path / "a.pth", HEAD, view)
    save_checkpoint(tmp_path / "b.pth", HEAD, view)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()
    values, _ = data(seed=9)
    np.testing.assert_array_equal(load_checkpoint(tmp_path / "a.pth", view).scores(values), HEAD.scores(values))


def test_foreign_safetensors_and_other_lights_are_refused(tmp_path) -> None:
    path = tmp_path / "m.pth"
    path.write_bytes(save({"weights": np.zeros(3)}))
    with pytest.raises(TaskError, match="another program"):
        load_checkpoint(path, Optics(LIGHTS, ".png", 48, 48))
    save_checkpoint(path, HEAD, Optics(LIGHTS, ".png", 48, 48))
    with pytest.raises(TaskError, match="lights is"):
        load_checkpoint(path, Optics(("WhiteLight",), ".png", 48, 48))
