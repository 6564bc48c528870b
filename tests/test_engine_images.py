"""Registration and distances of single pairs, and the trunk's file."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.engine.features.distances import (
    Scratch,
    feature_names,
    local_minima,
    map_names,
    pair_features,
    pixel_maps,
    pool,
)
from deft_aoi.engine.features.trunk import EMBEDDING_SIZE, MODEL, STRIDES, Trunk
from deft_aoi.engine.images import Pair, decode, make_pair, register, translate


def scene(seed: int = 0, side: int = 96) -> np.ndarray:
    """Grey uint8 blocks on a plain ground."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side), 60, np.uint8)
    for _ in range(6):
        x, y = rng.integers(10, side - 30, 2)
        image[y : y + rng.integers(6, 20), x : x + rng.integers(6, 20)] = rng.integers(120, 250)
    return image


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, -5), (-11, 9), (14, 0)])
def test_registration_finds_whole_shifts(dx: int, dy: int) -> None:
    golden = scene().astype(np.float32)
    assert register(golden, translate(golden, dx, dy)) == (dx, dy)


def test_registration_stays_within_reach_and_finds_nothing_in_a_blank() -> None:
    blank = np.full((96, 96), 90, np.float32)
    assert register(blank, blank) == (0, 0)
    first, second = scene(1).astype(np.float32), scene(2).astype(np.float32)
    assert max(map(abs, register(first, second))) <= 14


def test_registration_ignores_a_change_of_brightness() -> None:
    golden = scene(3).astype(np.float32)
    assert register(golden, translate(golden, 4, 2) * 0.8 + 20) == (4, 2)


@pytest.mark.parametrize("missing", [False, True], ids=["extra in test", "missing from test"])
def test_a_defect_at_the_rim_is_not_pushed_out_of_sight(missing: bool) -> None:
    """Found on DeepPCB: extra copper at the rim of a blank window was registered away, and its score was zero."""
    blank, damaged = np.full((96, 96), 230, np.uint8), np.full((96, 96), 230, np.uint8)
    damaged[0:12, 20:50] = 10
    test, golden = (blank, damaged) if missing else (damaged, blank)
    pair = make_pair(test, golden, 96, 96)
    assert max(map(abs, pair.shift)) <= 0.5
    assert np.abs(pair.test - pair.golden)[pair.rows, pair.columns].max() > 200


def test_a_pair_of_one_image_has_no_difference() -> None:
    pair = make_pair(scene(), scene(), 96, 96)
    features = pair_features([pair], Trunk())[0]
    assert features.shape == (len(feature_names()),)
    assert np.abs(features).max() < 1e-3


def test_a_defect_raises_the_numbers_that_look_at_it() -> None:
    damaged = scene()
    damaged[40:50, 5:90] = 255
    trunk = Trunk()
    plain, worse = pair_features([make_pair(scene(), scene(), 96, 96), make_pair(damaged, scene(), 96, 96)], trunk)
    assert (worse > plain).mean() > 0.95


def test_numbers_do_not_depend_on_who_shares_the_batch() -> None:
    trunk = Trunk()
    pairs = [make_pair(scene(n), scene(n + 1), 96, 96) for n in range(5)]
    together = pair_features(pairs, trunk)
    alone = np.concatenate([pair_features([pair], trunk) for pair in pairs])
    np.testing.assert_array_equal(together, alone)


def test_colour_grey_and_odd_sizes() -> None:
    colour = cv2.cvtColor(scene(side=100), cv2.COLOR_GRAY2RGB)
    pair = make_pair(colour, scene(side=90), 70, 50)
    assert pair.test.shape == pair.golden.shape == (50, 70, 3)
    assert np.isfinite(pair_features([pair], Trunk())).all()


def test_a_displacement_within_tolerance_is_no_difference() -> None:
    image = scene().astype(np.float32)[..., None]
    at = map_names().index("tol1_box1")
    moved, far = np.roll(image, 1, axis=1), np.roll(image, 5, axis=1)
    whole = slice(0, 96)
    assert pixel_maps(Pair(moved, image, whole, whole, (0, 0)), Scratch())[at].max() == 0
    assert pixel_maps(Pair(far, image, whole, whole, (0, 0)), Scratch())[at].max() > 0


def test_the_local_minimum_forgives_one_cell() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    moved = np.roll(maps, 1, axis=2)
    strict, _, forgiving, both = local_minima(moved, maps, (0, 1), Scratch())
    assert forgiving[:, 1:].max() == 0
    assert strict.max() > 0
    assert (both >= forgiving).all()


def test_the_local_minimum_is_that_of_every_pair_of_cells() -> None:
    rng = np.random.default_rng(1)
    test, golden = (rng.normal(size=(5, 6, 9)).astype(np.float32) for _ in range(2))
    found = local_minima(test, golden, (1, 2), Scratch())
    for number, reach in enumerate((1, 2)):
        ways = [_nearest(*pair, reach) for pair in ((test, golden), (golden, test))]
        np.testing.assert_allclose(found[2 * number], ways[0], rtol=1e-5)
        np.testing.assert_allclose(found[2 * number + 1], np.maximum(*ways), rtol=1e-5)


def _nearest(features: np.ndarray, others: np.ndarray, reach: int) -> np.ndarray:
    _, height, width = features.shape
    found = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            around = others[:, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            found[y, x] = np.sqrt(((around - features[:, y, x, None, None]) ** 2).sum(0).min())
    return found


#: (width, height, channels of test, of golden) of the stored pairs.
STORED = ((96, 96, 3, 3), (70, 50, 3, 1), (33, 17, 1, 1), (16, 16, 1, 1), (48, 112, 1, 1))


def stored_pairs(number: int) -> list[Pair]:
    """Noise with a defect, moved by some pixels; golden on test, test on golden, test on itself."""
    width, height, *channels = STORED[number]
    blocks = [
        np.random.default_rng(number).integers(0, 256, ((height + 20) // 4 + 1, (width + 20) // 4 + 1, n))
        for n in channels
    ]
    pictures = [block.astype(np.uint8).repeat(4, 0).repeat(4, 1) for block in blocks]
    test, golden = (
        picture[step : step + height, 2 * step : 2 * step + width].squeeze().copy()
        for picture, step in zip(pictures, (3, number % 2 * 2 + 1), strict=True)
    )
    test[height // 3 : height // 2, width // 4 : width // 2] = 250
    return [make_pair(*sides, width, height) for sides in ((test, golden), (golden, test), (test, test))]


@pytest.mark.parametrize("number", range(len(STORED)))
def test_the_numbers_are_those_that_checkpoints_were_trained_on(number: int) -> None:
    """Stored at commit 0de081c; on the machine that stored them the numbers are still equal to the bit."""
    stored = np.load(SKILL_ROOT / "tests/golden/pair_features.npz")[f"pair{number}"]
    found = pair_features(stored_pairs(number), Trunk())
    np.testing.assert_allclose(np.log1p(found), np.log1p(stored), atol=1e-4)


def test_pairs_of_many_sizes_share_the_work_space() -> None:
    trunk = Trunk()
    every = [stored_pairs(number) for number in range(len(STORED))]
    first = [pair_features(pairs, trunk) for pairs in every]
    again = [pair_features(pairs, trunk) for pairs in reversed(every)]
    for one, other in zip(first, reversed(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_pooling_takes_the_largest_parts() -> None:
    plane = np.arange(1000, dtype=np.float32).reshape(1, 20, 50)
    np.testing.assert_allclose(pool(plane), [[999, 998, 989.5, 949.5, 499.5]])


def test_bytes_that_are_no_image() -> None:
    assert decode(b"") is None
    assert decode(b"not an image") is None


def test_the_trunk_is_the_file_its_readme_names_and_has_a_licence() -> None:
    folder = SKILL_ROOT / "assets/trunk"
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() in (folder / "README.md").read_text()
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert MODEL.stat().st_size < 4_000_000
    maps, embedding = Trunk()([np.zeros((48, 64, 1), np.float32)] * 2)
    assert [tuple(m.shape[2:]) for m in maps] == [(48 // s, 64 // s) for s in STRIDES]
    assert embedding.shape == (2, EMBEDDING_SIZE)
