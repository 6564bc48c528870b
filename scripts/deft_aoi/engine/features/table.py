"""Feature tables of CSV rows: read, hash, look up, compute only what is new; parallel over pairs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from deft_aoi.base import safe_images
from deft_aoi.base.progress import Progress
from deft_aoi.base.rows import image_paths
from deft_aoi.base.safe_paths import leaves_workspace
from deft_aoi.base.threads import cores
from deft_aoi.engine.cache import IMAGES, PAIRS, Store, content_key
from deft_aoi.engine.features import distances
from deft_aoi.engine.features.trunk import EMBEDDING_SIZE, LARGEST_SIDE, Trunk, embedding_parameters, trunk_hash
from deft_aoi.engine.images import Pair, decode, make_pair
from deft_aoi.engine.refusal import TaskError
from deft_aoi.spec.tree import Optics

if TYPE_CHECKING:
    import pandas as pd

_CHUNK = 16  # pairs that go through the trunk together
_FLUSH_SECONDS = 3.0  # work that a kill may cost

_T = TypeVar("_T")


@dataclass(frozen=True)
class PairTable:
    """`values`: float32 (rows, lights, features); `hits`: pairs that came from the cache."""

    values: npt.NDArray[np.float32]
    hits: int


class LazyTrunk:
    """Loads the model at the first call: a run that finds everything in the cache never does."""

    def __init__(self) -> None:
        self._trunk: Trunk | None = None
        self._lock = threading.Lock()

    def get(self) -> Trunk:
        with self._lock:
            if self._trunk is None:
                self._trunk = Trunk()
            return self._trunk


def pair_store(optics: Optics) -> Store:
    parameters = {
        "version": distances.VERSION,
        "trunk": trunk_hash(),
        "width": optics.width,
        "height": optics.height,
    }
    return Store(PAIRS, parameters, len(distances.feature_names()))


def embedding_store() -> Store:
    return Store(IMAGES, embedding_parameters(), EMBEDDING_SIZE)


def feature_table(rows: pd.DataFrame, images_dir: Path, optics: Optics, what: str = "images") -> PairTable:
    """Features of every row under every light.

    Raises TaskError naming the first image that is missing or unreadable.
    """
    files: list[tuple[str, str]] = []
    for light in optics.lights:
        columns = (image_paths(rows, column, images_dir, light, optics.ext) for column in ("input_path", "golden_path"))
        files += zip(*columns, strict=True)
    stores, trunk = (pair_store(optics), embedding_store()), LazyTrunk()

    def work(chunk: Sequence[tuple[str, str]]) -> tuple[npt.NDArray[np.float32], int]:
        return _chunk_features(chunk, *stores, trunk, optics)

    def flush() -> None:
        for store in stores:
            store.flush()

    parts: list[npt.NDArray[np.float32]] = []
    hits, flushed = 0, monotonic()
    try:
        for values, found in in_parallel(work, files, what):
            parts.append(values)
            hits += found
            if monotonic() - flushed > _FLUSH_SECONDS:
                flush()
                flushed = monotonic()
    finally:
        flush()
    table = np.concatenate(parts).reshape(len(optics.lights), len(rows), -1)
    return PairTable(np.ascontiguousarray(table.transpose(1, 0, 2)), hits)


def in_parallel(work: Callable[[Sequence[_T]], object], items: Sequence[_T], what: str) -> Iterator:
    """Results of `work` on chunks of `items`, in order, with progress on stderr and at most 2 chunks a core ahead."""
    workers = cores()
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    with ThreadPoolExecutor(workers) as pool, Progress(what, len(items), "image") as bar:
        waiting = []
        try:
            for chunk in chunks:
                waiting.append((pool.submit(work, chunk), len(chunk)))
                if len(waiting) >= 2 * workers:
                    future, size = waiting.pop(0)
                    yield future.result()
                    bar.update(size)
            for future, size in waiting:
                yield future.result()
                bar.update(size)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _chunk_features(
    chunk: Sequence[tuple[str, str]], store: Store, embeddings: Store, trunk: LazyTrunk, optics: Optics
) -> tuple[npt.NDArray[np.float32], int]:
    """Features of some pairs; the embedding of a test image, which comes with them, is kept for whoever asks."""
    vectors: list[npt.NDArray[np.float32] | None] = []
    keys: list[bytes] = []
    fresh: list[Pair] = []
    seen: list[bytes | None] = []  # key of each fresh test image, None where the trunk sees another than is embedded
    for test, golden in chunk:
        first, second = read_bytes(test), read_bytes(golden)
        keys.append(content_key(first, second))
        vectors.append(store.get(keys[-1]))
        if vectors[-1] is None:
            pair, as_it_is = _decode_pair(first, second, (test, golden), optics)
            fresh.append(pair)
            seen.append(content_key(first) if as_it_is else None)
    if fresh:
        values, embedded = distances.measure(fresh, trunk.get())
        for key, vector in zip(seen, embedded, strict=True):
            if key is not None and not embeddings.has(key):
                embeddings.put(key, vector)
        computed = iter(values)
        for index, vector in enumerate(vectors):
            if vector is None:
                vectors[index] = value = next(computed)
                store.put(keys[index], value)
    return np.stack([vector for vector in vectors if vector is not None]), len(chunk) - len(fresh)


def _decode_pair(first: bytes, second: bytes, names: tuple[str, str], optics: Optics) -> tuple[Pair, bool]:
    """The pair, and whether its test image is what would be embedded: neither resized nor given colours."""
    images = decode(first), decode(second)
    test, golden = images
    if test is None or golden is None:
        bad = 0 if test is None else 1
        why = safe_images.problem((first, second)[bad]) or "not a readable image"
        raise TaskError(f"{names[bad]}: {why}; replace or remove its row")
    pair = make_pair(test, golden, optics.width, optics.height)
    as_it_is = pair.test.size == test.size and test.shape[:2] == pair.test.shape[:2] and max(test.shape) <= LARGEST_SIDE
    return pair, as_it_is


def read_bytes(name: str) -> bytes:
    """Bytes of an image. Raises TaskError where it is missing, or a link leads out of the workspace."""
    if leaves_workspace(name):
        raise TaskError(f"{name}: is outside the workspace; move the image inside")
    try:
        return Path(name).read_bytes()
    except (OSError, ValueError) as error:
        raise TaskError(f"Image file wasn't found at {name} ({getattr(error, 'strerror', error)})") from error


CLASSICAL = "abs_box5.max"


def classical_scores(rows: pd.DataFrame, images_dir: Path, optics: Optics) -> npt.NDArray[np.float64]:
    """(n,), 0..1: aligned absolute difference, box mean 5 x 5, largest over pixels and lights; nothing learned."""
    column = distances.feature_names().index(CLASSICAL)
    values = feature_table(rows, images_dir, optics, "classical").values
    return np.asarray(values[:, :, column].max(1), np.float64) / 255
