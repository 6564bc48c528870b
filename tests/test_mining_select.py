"""Selection policies are pure: never a row that is not free, refilled, within quotas, deterministic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deft_aoi.mining.select import (
    Limits,
    Neighbours,
    Pick,
    Stock,
    farthest_first,
    knn,
    knn_label,
    random_balanced,
    random_rows,
    uncertain,
    weakness,
    weakness_diverse,
)

LABELS = ("PASS", "bridge", "missing")


def near(rows: list[list[int]], similarity: float = 0.95) -> Neighbours:
    index = np.array(rows, np.int64)
    return Neighbours(index, np.where(index >= 0, similarity, -1).astype(np.float32))


def stock(labels: Sequence[str], used: Sequence[int] = (), **more: object) -> Stock:
    free = np.ones(len(labels), bool)
    free[list(used)] = False
    return Stock(np.array(labels), free, **more)  # type: ignore[arg-type]


def rows_of(picks: Sequence[Pick]) -> list[int]:
    return [pick.row for pick in picks]


def test_a_row_wanted_by_two_targets_goes_to_the_first_and_the_other_is_refilled() -> None:
    wanted = near([[0, 1, 2], [0, 3, 1]])
    picks = knn_label(["bridge", "bridge"], wanted, stock(["bridge"] * 4), Limits(2, 5, 0.9))
    assert [(p.target, p.row, p.rank) for p in picks] == [(0, 0, 1), (1, 3, 2)]


def test_used_rows_and_dissimilar_rows_are_never_taken() -> None:
    neighbours = Neighbours(np.array([[0, 1, 2]]), np.array([[0.99, 0.95, 0.89]], np.float32))
    assert rows_of(knn_label(["bridge"], neighbours, stock(["bridge"] * 3, [0]), Limits(9, 5, 0.9))) == [1]


def test_labels_match_without_case_and_plain_knn_needs_none() -> None:
    pool = stock(["Bridge", "missing", ""])
    assert rows_of(knn_label(["bridge"], near([[0, 1, 2]]), pool, Limits(9, 5, 0.9))) == [0]
    assert rows_of(knn(["bridge"], near([[0, 1, 2]]), pool, Limits(9, 5, 0.9))) == [0, 1, 2]


def test_one_target_gives_no_more_than_its_share() -> None:
    picks = knn_label(["bridge"], near([list(range(9))]), stock(["bridge"] * 9), Limits(9, 3, 0.9))
    assert [p.rank for p in picks] == [1, 2, 3]


def test_pass_and_defects_share_and_what_one_cannot_fill_goes_on() -> None:
    labels = ["PASS"] * 50 + ["bridge"] * 3 + ["missing"] * 50
    wanted = near([list(range(50)), [*range(50, 53), *[-1] * 47], list(range(53, 103))])
    picks = knn_label(["PASS", "bridge", "missing"], wanted, stock(labels), Limits(20, 50, 0.9))
    assert len(picks) == 20
    kept = Counter(labels[p.row] for p in picks)
    assert kept["bridge"] == 3
    assert kept["PASS"] >= 10
    assert kept["missing"] >= 5


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40), per_target=st.integers(1, 6))
def test_whatever_the_data_the_rules_hold(seed: int, rows: int, per_target: int) -> None:
    rng = np.random.default_rng(seed)
    labels = [LABELS[i] for i in rng.integers(0, 3, 60)]
    targets = [LABELS[i] for i in rng.integers(0, 3, 8)]
    used = set(rng.choice(60, 10, replace=False).tolist())
    pool = stock(labels, list(used))
    index = np.array([rng.permutation(60)[:25] for _ in targets])
    similarity = -np.sort(-rng.uniform(0.8, 1, index.shape), axis=1).astype(np.float32)
    limits = Limits(rows, per_target, 0.85)
    picks = knn_label(targets, Neighbours(index, similarity), pool, limits)
    assert picks == knn_label(targets, Neighbours(index, similarity), pool, limits)
    taken = rows_of(picks)
    assert len(taken) == len(set(taken)) <= rows
    assert not used & set(taken)
    assert all(labels[p.row] == targets[p.target] and (p.similarity or 0) >= 0.85 for p in picks)
    assert max(Counter(p.target for p in picks).values(), default=0) <= per_target
    possible = {
        (t, int(r))
        for t in range(8)
        for r, s in zip(index[t], similarity[t], strict=True)
        if s >= 0.85 and int(r) not in used and labels[r] == targets[t]
    }
    full = Counter(p.target for p in picks)
    left = {r for t, r in possible if r not in taken and full[t] < per_target}
    assert len(picks) == rows or not left, "a row that qualifies is left while there is room"


def test_no_policy_takes_a_used_row_or_the_same_picture_twice() -> None:
    rng = np.random.default_rng(1)
    labels = [LABELS[i] for i in rng.integers(0, 3, 90)]
    looks = rng.normal(size=(90, 8)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    pictures = [f"picture {row % 45}" for row in range(90)]
    pool = stock(labels, range(10), looks=looks, content=pictures.__getitem__, taken=frozenset({"picture 20"}))
    scores, limits = rng.uniform(size=90), Limits(30, 5, -1.0)
    everything = near([rng.permutation(90).tolist() for _ in range(9)])
    asked = ["PASS", "bridge", "missing"] * 3
    for picks in (
        knn(asked, everything, pool, limits),
        knn_label(asked, everything, pool, limits),
        weakness(scores, pool, limits),
        weakness_diverse(scores, pool, limits),
        uncertain(scores, 0.5, pool, limits),
        random_rows(pool, limits, 3),
        random_balanced(pool, limits, 3),
    ):
        shown = [pictures[row] for row in rows_of(picks)]
        assert len(picks) == 30
        assert len(set(shown)) == 30
        assert "picture 20" not in shown
        assert min(rows_of(picks)) >= 10


def test_random_rows_follow_the_seed_and_balanced_ones_share() -> None:
    pool, limits = stock(["PASS"] * 80 + ["bridge"] * 15 + ["missing"] * 5, [1, 2, 3]), Limits(10, 5, 0.9)
    first = rows_of(random_rows(pool, limits, 7))
    assert first == rows_of(random_rows(pool, limits, 7))
    assert first != rows_of(random_rows(pool, limits, 8))
    assert len(set(first)) == 10
    assert not {1, 2, 3} & set(first)
    assert len(random_rows(stock(["PASS"] * 5, [0]), limits, 1)) == 4
    kept = Counter(pool.labels[row] for row in rows_of(random_balanced(pool, Limits(12), 7)))
    assert kept == {"PASS": 6, "bridge": 3, "missing": 3}


def test_the_most_wrong_rows_are_taken_half_and_half_and_one_half_fills_the_other() -> None:
    pool = stock(["PASS", "PASS", "PASS", "bridge", "bridge", "missing"])
    scores = np.array([0.9, 0.1, 0.5, 0.8, 0.2, 0.3])
    assert set(rows_of(weakness(scores, pool, Limits(4)))) == {0, 2, 4, 5}
    assert set(rows_of(weakness(scores, pool, Limits(5)))) == {0, 2, 3, 4, 5}
    assert len(weakness(scores, pool, Limits(99))) == 6
    assert set(rows_of(weakness(np.where(np.arange(6) < 4, scores, np.nan), pool, Limits(3)))) == {0, 2, 3}
    assert set(rows_of(weakness(scores, stock(pool.labels.tolist(), [0, 2]), Limits(4)))) == {1, 3, 4, 5}


def test_diverse_picks_share_the_defects_and_leave_look_alikes() -> None:
    looks = np.eye(12, dtype=np.float32)
    looks[1] = looks[2] = looks[0]  # three copies of one joint, the weakest of all
    pool = stock(["bridge"] * 6 + ["missing"] * 3 + ["PASS"] * 3, looks=looks)
    picks = weakness_diverse(np.arange(12) / 12.0, pool, Limits(8))
    kept = Counter(pool.labels[p.row] for p in picks)
    assert kept == {"bridge": 3, "missing": 2, "PASS": 3}, "the place that PASS cannot fill goes on"
    assert len({0, 1, 2} & set(rows_of(weakness_diverse(np.arange(12) / 12.0, pool, Limits(4))))) == 1


def test_farthest_first_starts_with_the_first_and_never_repeats() -> None:
    angles = np.radians([0, 1, 2, 90, 91, 180])
    looks = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    assert farthest_first(looks).tolist()[:3] == [0, 5, 3]
    assert sorted(farthest_first(looks).tolist()) == list(range(6))


def test_uncertain_rows_stand_on_both_sides_of_the_threshold() -> None:
    scores = np.array([0.0, 0.4, 0.45, 0.49, 0.51, 0.7, 0.9, np.nan])
    assert set(rows_of(uncertain(scores, 0.5, stock([""] * 8), Limits(4)))) == {2, 3, 4, 5}
    assert len(uncertain(scores, 0.5, stock([""] * 8), Limits(99))) == 7


def test_a_board_gives_no_more_than_its_share_while_others_have_rows() -> None:
    pool = stock(["PASS"] * 12, boards=np.array(["a"] * 8 + ["b"] * 3 + [""]))
    scores = np.linspace(1, 0, 12)
    kept = Counter(pool.boards[p.row] for p in weakness(scores, pool, Limits(6, per_board=2)))  # type: ignore[index]
    assert kept == {"a": 3, "b": 2, "": 1}, "two each and the one without a board, then beyond the bound"


def test_picks_keep_their_distance() -> None:
    angles = np.radians([0, 1, 2, 40, 41, 80])
    looks = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    pool = stock(["PASS"] * 6, looks=looks)
    assert rows_of(weakness(np.linspace(1, 0, 6), pool, Limits(6, min_distance=0.01))) == [0, 3, 5]


def test_diverse_without_looks_is_refused() -> None:
    with pytest.raises(ValueError, match="looks"):
        weakness_diverse(np.zeros(2), stock(["PASS", "bridge"]), Limits(2))


def test_what_one_label_lacks_goes_to_all_the_others() -> None:
    pool = stock(["PASS"] * 500 + ["a"] * 3 + ["b"] * 200 + ["c"] * 200)
    taken = Counter(pool.labels[pick.row] for pick in random_balanced(pool, Limits(120), 0))
    assert taken["a"] == 3
    assert taken["b"] == taken["c"] == 26
    few = stock(["PASS"] * 5 + ["a"] * 300 + ["b"] * 300 + ["c"] * 300)
    taken = Counter(few.labels[pick.row] for pick in random_balanced(few, Limits(120), 0))
    assert taken["PASS"] == 5
    assert max(taken[name] for name in "abc") - min(taken[name] for name in "abc") <= 2
