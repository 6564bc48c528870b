"""mining.screen and data.jury: labels of offered rows, judged by rows that nobody wants."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from deft_aoi.base.rows import PASS
from deft_aoi.data import jury, label_noise
from deft_aoi.mining.screen import MOST_ASKED, Offers, ask
from deft_aoi.mining.select import Limits, Stock, weakness
from deft_aoi.stages.mining import stopped_asking

WIDTH, TAUGHT = 24, 300


@pytest.fixture(autouse=True)
def small_jury(monkeypatch: pytest.MonkeyPatch) -> None:
    """A jury that is quick, of as many rows as it takes."""
    monkeypatch.setattr(jury, "PER_LABEL", 800)
    monkeypatch.setattr(jury, "_ROUNDS", 2)
    monkeypatch.setattr(label_noise, "_TREES", 50)


def parts(generator: np.random.Generator, rows: int, share: float, kinds: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Features and truth: a defect raises one of six numbers, some of them hardly."""
    defect = generator.random(rows) < share
    value = generator.standard_normal((rows, WIDTH), dtype=np.float32)
    strength = np.exp(generator.normal(1.9, 0.25, rows)).astype(np.float32)
    value[np.flatnonzero(defect), generator.integers(0, kinds, rows)[defect]] += strength[defect]
    return np.maximum(value, 0), defect


def mined(
    rows: int, share: float, wrong: float, *, seed: int = 0, picks: int = 100, kinds: int = 6
) -> tuple[Offers, np.ndarray]:
    """The offers after screening, and which labels are wrong. The model that scores knows defects of `kinds` types."""
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(seed)
    known, known_defect = parts(generator, TAUGHT, 0.2, kinds)
    pool, defect = parts(generator, rows, share)
    flip = generator.random(rows) < wrong
    label = defect ^ flip
    score = (
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
        .fit(known, known_defect)
        .decision_function(pool)
    )
    stock = Stock(np.where(label, "d", PASS), np.ones(rows, bool))
    drawn = jury.draw(stock.labels, PASS, np.arange(rows), seed)

    def seen(places: np.ndarray) -> jury.Rows:
        return jury.Rows(pool[places], label[places], [str(place) for place in places], score[places])

    taught = jury.Rows(known, known_defect, [f"known {n}" for n in range(TAUGHT)])
    formed = jury.form(taught, seen(drawn), (score, label), seed=seed)
    doubts = np.full(rows, np.nan)
    doubts[drawn] = formed.doubt
    offers = Offers(partial(weakness, score), stock, Limits(picks), doubts, formed.doubt_by_score(score, label))
    while (block := ask(offers)).size:
        doubts[block] = formed.doubt_of(seen(block))
    return offers, flip


def wrong_of(offers: Offers, flip: np.ndarray) -> int:
    return int(flip[[pick.row for pick in offers.result().picks]].sum())


@pytest.mark.parametrize(
    ("rows", "share", "wrong", "most"), [(1000, 0.02, 0.05, 5), (3000, 0.1, 0.01, 5), (60_000, 0.02, 0.01, 8)]
)
def test_wrong_labels_stay_out_at_every_size(rows: int, share: float, wrong: float, most: int) -> None:
    offers, flip = mined(rows, share, wrong)
    found = offers.result()
    assert int(flip[[pick.row for pick in offers.wanted]].sum()) > 2 * most, "what the policy wants is often wrong"
    assert wrong_of(offers, flip) <= most
    assert all(offers.known_doubt()[pick.row] > jury.CLEAN for pick in found.review)


def test_a_clean_pool_keeps_most_of_its_weak_rows() -> None:
    offers, _ = mined(6000, 0.1, 0.0)
    wanted, taken = ({pick.row for pick in picks} for picks in (offers.wanted, offers.result().picks))
    assert len(wanted & taken) >= 80


def test_defects_of_a_kind_that_the_model_never_saw_are_no_label_errors() -> None:
    offers, flip = mined(6000, 0.1, 0.0, kinds=2)
    assert wrong_of(offers, flip) == 0
    assert len({pick.row for pick in offers.wanted} & {pick.row for pick in offers.result().picks}) >= 80


def test_the_share_of_wrong_labels_is_found() -> None:
    generator = np.random.default_rng(3)
    known, known_defect = parts(generator, TAUGHT, 0.2)
    pool, defect = parts(generator, 2500, 0.3)
    flip = generator.random(2500) < 0.1
    boards = [str(n) for n in range(2500)]
    found = jury.form(jury.Rows(known, known_defect, boards[:TAUGHT]), jury.Rows(pool, defect ^ flip, boards)).wrong
    assert found.defect == pytest.approx(flip[defect ^ flip].mean(), abs=0.03)
    assert found.good == pytest.approx(flip[~(defect ^ flip)].mean(), abs=0.02)


def test_too_few_rows_judge_nobody() -> None:
    few = jury.Rows(np.zeros((6, 2), np.float32), np.array([True] * 3 + [False] * 3), list("abcdef"))
    found = jury.form(few, few, (np.arange(6.0), few.defect))
    assert (found.doubt_of(few) == 0).all()
    assert (found.doubt_by_score(np.arange(6.0), few.defect) == 0).all()


def test_judges_are_drawn_from_each_label() -> None:
    labels = np.array([PASS] * 9000 + ["bridge"] * 5000 + ["shift"] * 60)
    drawn = labels[jury.draw(labels, PASS, np.arange(len(labels)), 0)]
    assert (drawn == PASS).sum() == jury.PER_LABEL
    assert (drawn == "shift").sum() >= 50
    assert len(drawn) <= 2 * jury.PER_LABEL + 50


def test_suspect_picks_go_to_review_and_are_replaced() -> None:
    stock = Stock(np.array([PASS, PASS, PASS, "bridge", "bridge", "bridge"]), np.ones(6, bool))
    doubts = np.array([0.9, 0.0, 0.0, 0.0, 0.8, 0.7])
    offers = Offers(partial(weakness, np.array([0.9, 0.8, 0.1, 0.1, 0.2, 0.9])), stock, Limits(4), doubts)
    assert ask(offers).size == 0, "all are judged"
    found = offers.result()
    assert {pick.row for pick in found.picks} == {1, 2, 3}
    assert {pick.row for pick in found.review} == {0, 4}, "row 5 is suspect too, but nobody wanted it"


def test_a_pool_whose_offers_are_all_suspect_is_not_asked_for_ever() -> None:
    rows = 4000
    stock = Stock(np.array([PASS, "bridge"] * (rows // 2)), np.ones(rows, bool))
    doubts = np.full(rows, np.nan)
    offers = Offers(partial(weakness, np.linspace(0, 1, rows)), stock, Limits(20), doubts)
    blocks = 0
    while (block := ask(offers)).size:
        doubts[block] = np.where(stock.labels[block] == PASS, 0.0, 0.9)
        blocks += 1
    found = offers.result()
    assert (found.stopped, found.asked) == (True, MOST_ASKED * 20)
    assert found.suspect > found.asked / 2
    assert {stock.labels[pick.row] for pick in found.picks} == {PASS}
    assert blocks > 2


def test_a_pool_whose_defects_are_nearly_all_errors_is_not_asked() -> None:
    offers, flip = mined(20_000, 0.005, 0.05)
    found = offers.result()
    assert flip[offers.stock.labels != PASS].mean() > 0.9
    assert (found.stopped, found.asked) == (True, 0)
    assert found.faulty is not None
    assert 0.8 < found.faulty < 1
    rows = [pick.row for pick in found.picks]
    assert rows
    assert flip[rows].sum() <= 3
    assert int(flip[[pick.row for pick in offers.wanted]].sum()) > 50, "what the policy wants"
    (said,) = stopped_asking(found)
    assert f"{len(rows)} clean rows of those drawn by chance were taken" in said
    assert f"{100 * found.faulty:.0f} % of the pool's defect labels are suspect" in said


@pytest.mark.parametrize(("suspect", "faulty"), [(80, None), (90, 0.9)])
def test_nearly_all_defect_labels_must_be_suspect(suspect: int, faulty: float | None) -> None:
    stock = Stock(np.array([PASS, "bridge"] * 500), np.ones(1000, bool))
    doubts = np.full(1000, np.nan)
    doubts[:200] = 0.0
    doubts[1 : 2 * suspect : 2] = 0.9
    offers = Offers(partial(weakness, np.linspace(0, 1, 1000)), stock, Limits(20), doubts)
    assert offers.faulty == faulty
    assert bool(ask(offers).size) == (faulty is None)
    assert bool(stopped_asking(offers.result())) == (faulty is not None)


def test_judges_fill_what_the_offers_lack() -> None:
    rows = 4000
    stock = Stock(np.array([PASS, "bridge"] * (rows // 2)), np.ones(rows, bool))
    doubts = np.full(rows, np.nan)
    doubts[-200:] = 0.0
    offers = Offers(partial(weakness, np.linspace(0, 1, rows)), stock, Limits(20), doubts)
    while (block := ask(offers)).size:
        doubts[block] = np.where(stock.labels[block] == PASS, 0.0, 0.9)
    found = offers.result()
    assert found.stopped
    picked = stock.labels[[pick.row for pick in found.picks]]
    assert (picked == PASS).sum() == (picked == "bridge").sum() == 10
    assert all(pick.row >= rows - 200 for pick in found.picks if stock.labels[pick.row] == "bridge")


def test_true_defects_are_called_pass_as_often_as_good_parts_are_called_defect() -> None:
    good, bad, rate = 99_500, 500, 0.05
    defect = np.arange(good + bad) < round(good * rate + bad * (1 - rate))
    wrong = good * rate / defect.sum()
    assert jury._mirrored(wrong, defect) == pytest.approx(bad * rate / (~defect).sum(), rel=0.06)
    assert jury._mirrored(0.0, defect) == 0


def test_only_the_class_that_is_lacking_is_asked_for_again() -> None:
    stock = Stock(np.array([PASS, "bridge"] * 200), np.ones(400, bool))
    doubts = np.full(400, np.nan)
    offers = Offers(partial(weakness, np.linspace(0, 1, 400)), stock, Limits(20), doubts)
    first = ask(offers)
    doubts[first] = np.where(stock.labels[first] == PASS, 0.0, 0.9)
    assert set(stock.labels[ask(offers)]) == {"bridge"}


def test_rows_that_agree_teach_each_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, counts = jury.fitted, []
    monkeypatch.setattr(jury, "_ROUNDS", 3)
    monkeypatch.setattr(jury, "fitted", lambda *asked: (counts.append(len(asked[1])), fitted(*asked))[1])
    for wrong in (0, 6):
        generator = np.random.default_rng(1)
        value = generator.standard_normal((260, WIDTH)).astype(np.float32)
        defect = np.arange(260) % 4 == 0
        value[defect] += 6
        label = defect.copy()
        label[60 : 60 + wrong] ^= True
        known, pool = (jury.Rows(value[part], label[part], [str(n) for n in range(260)[part]])
                       for part in (slice(0, 60), slice(60, None)))  # fmt: skip
        counts.clear()
        jury.form(known, pool)
        if not wrong:
            assert len(counts) == 6, "one for the first guess, one for each of five folds"
        else:
            assert len(counts) > 6, "without the rows that were dropped, their folds are fitted again"
