"""Neighbours: exact whatever block size, precision and filter; large pools by an index whose recall is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as arrow
import pytest
from pyarrow import parquet

from deft_aoi.base.errors import InputError
from deft_aoi.mining import index
from deft_aoi.mining import neighbours as neighbours_module
from deft_aoi.mining.big_index import open_big
from deft_aoi.mining.embed import component_matrix
from deft_aoi.mining.index import nearest, scale_of, unit
from deft_aoi.mining.neighbours import neighbours

LABELS = ("PASS", "bridge", "missing")


def clustered(rows: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(40, width))
    return unit((centres[rng.integers(0, 40, rows)] + 0.6 * rng.normal(size=(rows, width))).astype(np.float32))


def test_blocks_filters_and_half_precision_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = clustered(900, 24).astype(np.float16)
    np.save(tmp_path / "pool.npy", pool)
    asked, rows = clustered(30, 24, seed=1), np.sort(np.random.default_rng(2).permutation(900)[:500])
    exact = asked @ pool[rows].astype(np.float32).T
    order = np.argsort(-exact, axis=1, kind="stable")[:, :7]
    for block, scored in ((64, 7), (10_000, 512)):
        monkeypatch.setattr(index, "BLOCK", block)
        monkeypatch.setattr(index, "_SCORED", scored)
        found = nearest(asked, np.load(tmp_path / "pool.npy", mmap_mode="r"), 7, rows=rows)
        np.testing.assert_array_equal(found.index, rows[order])
        np.testing.assert_allclose(found.similarity, np.take_along_axis(exact, order, 1), atol=1e-6)


def test_fewer_rows_than_asked_for_and_equal_scores() -> None:
    pool = np.tile(np.array([[1, 0]], np.float32), (3, 1))
    found = nearest(pool[:1], pool, 5)
    assert found.index.tolist() == [[0, 1, 2, -1, -1]]


def test_neighbours_are_exact_unused_and_of_the_same_label() -> None:
    pool = clustered(300, 16)
    labels = np.array([LABELS[i] for i in np.random.default_rng(0).integers(0, 3, 300)])
    free = np.ones(300, bool)
    free[:4] = False
    asked, wanted = unit(pool[:4] + 0.01), ["PASS", "bridge", "Missing", "absent"]
    found = neighbours(asked, wanted, pool, labels, free, 7, same_label=True)
    any_label = neighbours(asked, wanted, pool, labels, free, 7, same_label=False)
    scale = scale_of(pool)
    order = scale(asked) @ scale(pool).T
    for number, label in enumerate(wanted):
        same = [i for i in range(4, 300) if labels[i].casefold() == label.casefold()]
        assert found.index[number].tolist() == (sorted(same, key=lambda i: -order[number, i])[:7] or [-1] * 7)
        assert any_label.index[number].tolist() == sorted(range(4, 300), key=lambda i: -order[number, i])[:7]
    np.testing.assert_allclose(found.similarity[0], pool[found.index[0]] @ asked[0], atol=1e-6)
    assert (found.similarity[3] == -1).all()


def test_a_large_pool_goes_through_an_index_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, asked = clustered(6000, 32).astype(np.float16), clustered(20, 32, seed=3)
    labels, free = np.full(6000, "PASS"), np.arange(6000) % 2 == 0
    exact = neighbours(asked, ["PASS"] * 20, pool, labels, free, 10, same_label=True)
    monkeypatch.setattr(neighbours_module, "EXACT_ROWS", 5000)
    found = neighbours(asked, ["PASS"] * 20, pool, labels, free, 10, same_label=True, folder=tmp_path)
    assert (found.index % 2 == 0).all()
    hits = [len(set(a) & set(b)) for a, b in zip(exact.index.tolist(), found.index.tolist(), strict=True)]
    assert sum(hits) / 200 > 0.8
    assert open_big(pool, tmp_path).recall(asked, 10, np.flatnonzero(free)) == pytest.approx(sum(hits) / 200)
    assert len(list(tmp_path.glob("*.faiss"))) == 1, "made once"


def embeddings(path: Path, names: list[str], vectors: np.ndarray) -> Path:
    parquet.write_table(arrow.table({"filepath": names, "embedding": vectors.tolist()}), path)
    return path


def test_lights_are_joined_in_any_order_and_a_lost_image_costs_its_row(tmp_path: Path) -> None:
    vectors = clustered(5, 8)
    files = [["a_white", "b_white", "c_white"], ["a_solder", "b_solder", "c_solder"]]
    path = embeddings(tmp_path / "e.parquet", ["c_white", "a_solder", "b_solder", "a_white", "b_white"], vectors)
    joined, readable = component_matrix([path], files)
    assert readable.tolist() == [True, True, False]
    np.testing.assert_allclose(joined[0], unit(np.concatenate([vectors[3], vectors[1]])[None])[0], atol=1e-6)
    assert (joined[2] == 0).all()
    on_disk = np.asarray(component_matrix([path], files, tmp_path / "x.npy")[0])
    np.testing.assert_array_equal(on_disk, joined)


@pytest.mark.parametrize("damage", ["text", "lengths", "column"])
def test_what_is_no_file_of_embeddings_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "e.parquet"
    if damage == "text":
        path.write_text("no parquet")
    elif damage == "lengths":
        parquet.write_table(arrow.table({"filepath": ["a", "b"], "embedding": [[1.0], [1.0, 2.0]]}), path)
    else:
        parquet.write_table(arrow.table({"filepath": ["a"]}), path)
    with pytest.raises(InputError, match=r"e\.parquet"):
        component_matrix([path], [["a", "b"]])
