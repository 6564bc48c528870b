"""Selection policies are pure: same label, never a used row, refilled, quota-limited, deterministic."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deft_aoi.mining.index import same_label_neighbours
from deft_aoi.mining.select import Limits, Neighbours, knn, random_rows, weakest

LABELS = ("PASS", "bridge", "missing")


def near(rows: list[list[int]], similarity: float = 0.95) -> Neighbours:
    index = np.array(rows, np.int64)
    return Neighbours(index, np.where(index >= 0, similarity, -1).astype(np.float32))


def test_a_row_wanted_by_two_targets_goes_to_the_first_and_the_other_is_refilled() -> None:
    picks = knn(["bridge", "bridge"], ["bridge"] * 4, near([[0, 1, 2], [0, 3, 1]]), (), Limits(2, 5, 0.9))
    assert [(p.target, p.row, p.rank) for p in picks] == [(0, 0, 1), (1, 3, 2)]


def test_used_rows_and_dissimilar_rows_are_never_taken() -> None:
    neighbours = Neighbours(np.array([[0, 1, 2]]), np.array([[0.99, 0.95, 0.89]], np.float32))
    picks = knn(["bridge"], ["bridge"] * 3, neighbours, {0}, Limits(9, 5, 0.9))
    assert [p.row for p in picks] == [1]


def test_labels_match_without_case_and_others_are_left() -> None:
    picks = knn(["bridge"], ["Bridge", "missing"], near([[0, 1]]), (), Limits(9, 5, 0.9))
    assert [p.row for p in picks] == [0]


def test_one_target_gives_no_more_than_its_share() -> None:
    picks = knn(["bridge"], ["bridge"] * 9, near([list(range(9))]), (), Limits(9, 3, 0.9))
    assert [p.rank for p in picks] == [1, 2, 3]


def test_pass_and_defects_share_and_what_one_cannot_fill_goes_on() -> None:
    labels = ["PASS"] * 50 + ["bridge"] * 3 + ["missing"] * 50
    targets = ["PASS", "bridge", "missing"]
    rows = near([list(range(50)), [*range(50, 53), *[-1] * 47], list(range(53, 103))])
    picks = knn(targets, labels, rows, (), Limits(20, 50, 0.9))
    assert len(picks) == 20
    kept = Counter(labels[p.row] for p in picks)
    assert kept["bridge"] == 3
    assert kept["PASS"] >= 10
    assert kept["missing"] >= 5


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40), per_target=st.integers(1, 6))
def test_whatever_the_data_the_rules_hold(seed: int, rows: int, per_target: int) -> None:
    rng = np.random.default_rng(seed)
    pool = [LABELS[i] for i in rng.integers(0, 3, 60)]
    targets = [LABELS[i] for i in rng.integers(0, 3, 8)]
    used = set(rng.choice(60, 10, replace=False).tolist())
    index = np.array([rng.permutation(60)[:25] for _ in targets])
    similarity = -np.sort(-rng.uniform(0.8, 1, index.shape), axis=1).astype(np.float32)
    limits = Limits(rows, per_target, 0.85)
    picks = knn(targets, pool, Neighbours(index, similarity), used, limits)
    assert picks == knn(targets, pool, Neighbours(index, similarity), used, limits)
    taken = [p.row for p in picks]
    assert len(taken) == len(set(taken)) <= rows
    assert not used & set(taken)
    assert all(pool[p.row] == targets[p.target] and p.similarity >= 0.85 for p in picks)
    assert max(Counter(p.target for p in picks).values(), default=0) <= per_target
    possible = {
        (t, int(r))
        for t in range(8)
        for r, s in zip(index[t], similarity[t], strict=True)
        if s >= 0.85 and int(r) not in used and pool[r] == targets[t]
    }
    full = Counter(p.target for p in picks)
    left = {r for t, r in possible if r not in taken and full[t] < per_target}
    assert len(picks) == rows or not left, "a row that qualifies is left while there is room"


def test_random_rows_are_unused_and_follow_the_seed() -> None:
    limits = Limits(10, 5, 0.9)
    first = [p.row for p in random_rows(50, {1, 2, 3}, limits, 7)]
    assert first == [p.row for p in random_rows(50, {1, 2, 3}, limits, 7)]
    assert first != [p.row for p in random_rows(50, {1, 2, 3}, limits, 8)]
    assert len(set(first)) == 10
    assert not {1, 2, 3} & set(first)
    assert len(random_rows(5, {0}, limits, 1)) == 4


def test_the_most_wrong_rows_are_taken_half_and_half_and_one_half_fills_the_other() -> None:
    labels = ["PASS", "PASS", "PASS", "bridge", "bridge", "missing"]
    scores = [0.9, 0.1, 0.5, 0.8, 0.2, 0.3]
    rows = list(range(6))
    assert {p.row for p in weakest(labels, rows, scores, Limits(4, 5, 0.9))} == {0, 2, 4, 5}
    assert {p.row for p in weakest(labels, rows, scores, Limits(5, 5, 0.9))} == {0, 2, 3, 4, 5}
    assert len(weakest(labels, rows, scores, Limits(99, 5, 0.9))) == 6
    assert {p.row for p in weakest(labels, rows[:4], scores[:4], Limits(3, 5, 0.9))} == {0, 2, 3}
    assert {p.row for p in weakest(labels, [1, 3, 4, 5], [0.1, 0.8, 0.2, 0.3], Limits(4, 5, 0.9))} == {1, 3, 4, 5}


def test_neighbours_are_exact_unused_and_of_the_same_label() -> None:
    rng = np.random.default_rng(0)
    pool = rng.normal(size=(300, 16)).astype(np.float32)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    labels = [LABELS[i] for i in rng.integers(0, 3, 300)]
    asked, wanted = pool[:4] + 0.01, ["PASS", "bridge", "Missing", "absent"]
    found = same_label_neighbours(asked, wanted, pool, labels, {0, 1, 2, 3}, 7)
    centred = (pool - pool.mean(0)) / (pool.std(0) + 1e-6)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    target = (asked - pool.mean(0)) / (pool.std(0) + 1e-6)
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    for number, label in enumerate(wanted[:3]):
        rows = [i for i in range(4, 300) if labels[i].casefold() == label.casefold()]
        best = sorted(rows, key=lambda i: -float(centred[i] @ target[number]))[:7]
        assert found.index[number].tolist() == best
        assert np.allclose(found.similarity[number], pool[best] @ asked[number], atol=1e-6)
    assert (found.index[3] == -1).all()
