"""The content-hash cache, with several processes and damaged shards; and the embedding command that uses it."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from deft_aoi.engine.cache import Store, content_key
from engine_set import engine


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEFT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def store() -> Store:
    return Store("test", {"version": 1}, 3)


def vector(number: int) -> np.ndarray:
    return np.full(3, number, np.float32)


def fill(first: int) -> None:
    mine = store()
    for number in range(first, first + 20):
        mine.put(content_key(b"%d" % number), vector(number))
        mine.flush()


def test_what_was_flushed_is_found_again() -> None:
    fill(0)
    np.testing.assert_array_equal(store().get(content_key(b"7")), vector(7))
    assert store().get(content_key(b"99")) is None


def test_other_parameters_are_another_store() -> None:
    fill(0)
    assert Store("test", {"version": 2}, 3).get(content_key(b"7")) is None


def test_writers_in_parallel_lose_nothing_and_shards_are_merged(own_cache: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(fill, range(0, 160, 20)))
    found = store()
    for number in range(160):
        np.testing.assert_array_equal(found.get(content_key(b"%d" % number)), vector(number))
    assert len(list(own_cache.rglob("*.parquet"))) <= 32


def test_a_damaged_shard_costs_only_its_own_vectors(own_cache: Path) -> None:
    fill(0)
    shards = sorted(own_cache.rglob("*.parquet"))
    shards[0].write_bytes(shards[0].read_bytes()[:50])
    found = store()
    assert sum(found.get(content_key(b"%d" % number)) is not None for number in range(20)) == 19


def test_keys_tell_test_and_golden_apart() -> None:
    assert content_key(b"a", b"b") != content_key(b"b", b"a")
    assert content_key(b"ab", b"") != content_key(b"a", b"b")


def make_images(root: Path) -> Path:
    rng = np.random.default_rng(0)
    names = []
    for number, side in enumerate((40, 64, 300)):
        path = root / f"i{number}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (side, side + 10, 3), dtype=np.uint8))
        names.append(str(path))
    (root / "broken.png").write_bytes(b"no image")
    names[1:1] = [str(root / "broken.png")]
    pd.DataFrame({"filepath": names, "label": list("abcd")}).to_parquet(root / "in.parquet")
    return root / "in.parquet"


def embedding(root: Path, cache: Path, **values: object):
    spec = {"input_parquet": str(root / "in.parquet"), "output_parquet": str(root / "out.parquet"), "model": "trunk"}
    (root / "embed.yaml").write_text(yaml.safe_dump(spec | values))
    return engine("embedding", "image_embeddings", "-e", str(root / "embed.yaml"), "batch_size=8", cache=cache)


def test_embeddings_skip_what_cannot_be_read(tmp_path: Path, own_cache: Path) -> None:
    make_images(tmp_path)
    done = embedding(tmp_path, own_cache)
    assert done.returncode == 0, done.stderr
    assert "1 unreadable images left out" in done.stderr
    assert "broken.png" in done.stderr
    listed = pd.read_csv(tmp_path / "out.unreadable.csv")
    assert [(Path(row.filepath).name, row.reason) for row in listed.itertuples()] == [("broken.png", "no image")]
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert list(table.columns) == ["filepath", "embedding", "label"]
    assert list(table["label"]) == ["a", "c", "d"]
    assert {len(vector) for vector in table["embedding"]} == {192}
    first = np.stack(table["embedding"])
    assert "3 embeddings, 3 computed" in done.stderr
    assert "3 embeddings, 0 computed" in embedding(tmp_path, own_cache).stderr
    np.testing.assert_array_equal(np.stack(pd.read_parquet(tmp_path / "out.parquet")["embedding"]), first)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"output_parquet": None}, "output_parquet is not set"),
        ({"pooling": "max"}, "Key 'pooling' not in 'ImageEmbeddingsConfig'"),
        ({"input_parquet": "/nowhere.parquet"}, "/nowhere.parquet: no such file"),
    ],
)
def test_embedding_refuses(tmp_path: Path, own_cache: Path, values: dict[str, object], message: str) -> None:
    make_images(tmp_path)
    done = embedding(tmp_path, own_cache, **values)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out.parquet").exists()
