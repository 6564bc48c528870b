"""Vectors by content hash, on disk: what was computed once is never computed again.

A store is a folder of Parquet shards that are only ever added (written whole, then renamed), so any number of processes
may read and write at once. Opening one reads keys alone; vectors are read from the mapped file a row group at a time.
Many small shards are merged under a lock; a reader that loses one to a merge looks again, or computes again.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deft_aoi.base.cache_folder import kind_folder, touch, trim_now_and_then
from deft_aoi.base.files import atomic_write, locked, sha256_json
from deft_aoi.base.safe_images import DECODER

PAIRS, IMAGES = "pairs", "images"  # kinds of stores
_MERGE_ABOVE = 32  # small shards
_SMALL = 1 << 15  # vectors of a shard that is worth merging
_GROUP = 4096  # vectors that are read together
_GROUPS_KEPT = 64  # in memory, for readers of single vectors
_HASH_BYTES = 32

Vector = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


def content_key(*parts: bytes) -> bytes:
    """SHA-256 over the SHA-256 of each part: the key of what is computed from these bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.digest()


@dataclass(frozen=True)
class Shards:
    """The keys of every readable shard: `prefix` (n,) uint64, sorted; `keys` (n, 32) bytes and `place` (n, 2), shard
    number and row, in the same order."""

    files: tuple[Path, ...]
    sizes: tuple[int, ...]
    prefix: npt.NDArray[np.uint64]
    keys: npt.NDArray[np.uint8]
    place: Places

    def find(self, wanted: npt.NDArray[np.uint8]) -> Places:
        """(k, 2) places of keys (k, 32); -1 where there is none."""
        found = np.full((len(wanted), 2), -1, np.int64)
        if len(self.prefix):
            at = np.minimum(np.searchsorted(self.prefix, prefixes(wanted)), len(self.prefix) - 1)
            same = (self.keys[at] == wanted).all(1)  # of two keys with one prefix the second is computed again
            found[same] = self.place[at[same]]
        return found


class Store:
    """Vectors of one length, all computed by the same code with the same `parameters`."""

    def __init__(self, kind: str, parameters: Mapping[str, object], length: int) -> None:
        made_by = {**parameters, "decoder": DECODER}
        self.folder = kind_folder("vectors") / f"{kind}-{sha256_json(made_by)[:16]}"
        self.length = length
        self.added = 0  # vectors that were put in
        self._new: dict[bytes, Vector] = {}
        self._unwritten: dict[bytes, Vector] = {}
        self._groups: dict[tuple[Path, int], npt.NDArray[np.float32]] = {}
        self._lock = threading.Lock()
        self._shards = self._open()
        if sum(size < _SMALL for size in self._shards.sizes) > _MERGE_ABOVE:
            self._merge()
            self._shards = self._open()

    def get(self, key: bytes) -> Vector | None:
        found = self._new.get(key)
        return found if found is not None else self._stored(key)

    def has(self, key: bytes) -> bool:
        return key in self._new or bool(self._shards.find(_array([key]))[0, 0] >= 0)

    def filled(self) -> bool:
        """Whether there is any vector at all."""
        return bool(self._new) or bool(len(self._shards.keys))

    def put(self, key: bytes, vector: Vector) -> None:
        with self._lock:
            self._new[key] = self._unwritten[key] = vector
            self.added += 1

    def flush(self) -> None:
        """Write what `put` added since the last flush as one shard. A full or read-only disk only costs speed."""
        with self._lock:
            vectors, self._unwritten = self._unwritten, {}
        if vectors:
            with contextlib.suppress(OSError):
                self._write(_array(vectors), np.stack(list(vectors.values())))
            trim_now_and_then()
        if len(self._new) > _SMALL:  # what is on disk need not stay in memory
            self.refresh()

    def refresh(self) -> None:
        """Learn what other processes added; what this one flushed is read from disk from now on."""
        with self._lock:
            self._shards = self._open()
            places = self._shards.find(_array(self._new))
            self._new = {
                key: vector
                for (key, vector), (shard, _) in zip(self._new.items(), places, strict=True)
                if shard < 0 or key in self._unwritten
            }

    def matrix(self, keys: Sequence[bytes]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """(vectors (k, length), there (k,)): every row group is read once, whatever the order of the keys."""
        vectors, there = np.zeros((len(keys), self.length), np.float32), np.zeros(len(keys), bool)
        for number, key in enumerate(keys):
            if (vector := self._new.get(key)) is not None:
                vectors[number], there[number] = vector, True
        places = self._shards.find(_array(keys))
        wanted = np.flatnonzero((places[:, 0] >= 0) & ~there)
        groups = places[wanted] // (1, _GROUP)
        for shard, group in np.unique(groups, axis=0):
            mine = wanted[(groups == (shard, group)).all(1)]
            block = self._group(self._shards.files[shard], int(group))
            if block is not None:
                vectors[mine], there[mine] = block[places[mine, 1] % _GROUP], True
        return vectors, there

    def _stored(self, key: bytes) -> Vector | None:
        shard, row = self._shards.find(_array([key]))[0]
        if shard < 0:
            return None
        file, group = self._shards.files[shard], int(row) // _GROUP
        with self._lock:
            block = self._groups.get((file, group))
            if block is None:
                block = self._group(file, group)
                if block is None:
                    return None
                if len(self._groups) >= _GROUPS_KEPT:
                    self._groups.pop(next(iter(self._groups)))
                self._groups[file, group] = block
        return np.asarray(block[row % _GROUP])

    def _group(self, file: Path, group: int) -> npt.NDArray[np.float32] | None:
        """Vectors of one row group; None where the shard is gone or damaged."""
        import pyarrow as arrow
        from pyarrow import parquet

        try:
            with parquet.ParquetFile(file, memory_map=True) as opened:
                column = opened.read_row_group(group, columns=["vector"])["vector"].combine_chunks()
        except (OSError, ValueError, arrow.ArrowException):
            return None
        touch(file)
        return _fixed(column, np.float32).reshape(-1, self.length)

    def _open(self) -> Shards:
        files: list[Path] = []
        keys, places = [np.zeros((0, _HASH_BYTES), np.uint8)], [np.zeros((0, 2), np.int64)]
        for file in sorted(self.folder.glob("*.parquet")) if self.folder.is_dir() else []:
            found = self._keys(file)
            if found is not None:
                places.append(np.stack([np.full(len(found), len(files)), np.arange(len(found))], 1))
                files.append(file)
                keys.append(found)
        every = np.concatenate(keys)
        order = np.argsort(prefixes(every), kind="stable")
        sizes = tuple(len(part) for part in keys[1:])
        return Shards(tuple(files), sizes, prefixes(every)[order], every[order], np.concatenate(places)[order])

    def _keys(self, file: Path) -> npt.NDArray[np.uint8] | None:
        """Keys of a shard; None where it is damaged or of another length."""
        import pyarrow as arrow
        from pyarrow import parquet

        try:
            with parquet.ParquetFile(file, memory_map=True) as opened:
                if opened.schema_arrow.field("vector").type.byte_width != 4 * self.length:
                    return None
                column = opened.read(columns=["key"])["key"].combine_chunks()
        except (OSError, ValueError, KeyError, AttributeError, arrow.ArrowException):
            return None
        return _fixed(column, np.uint8).reshape(-1, _HASH_BYTES)

    def _write(self, keys: npt.NDArray[np.uint8], vectors: npt.NDArray[np.float32]) -> None:
        import pyarrow as arrow
        from pyarrow import parquet

        columns = {
            name: arrow.FixedSizeBinaryArray.from_buffers(
                arrow.binary(values.shape[1] * values.itemsize), len(values), [None, arrow.py_buffer(values.tobytes())]
            )
            for name, values in (("key", keys), ("vector", np.asarray(vectors, np.float32)))
        }
        atomic_write(
            self.folder / f"{uuid.uuid4().hex}.parquet",
            lambda stream: parquet.write_table(
                arrow.table(columns), stream, compression="none", use_dictionary=False, write_statistics=False,
                row_group_size=_GROUP,
            ),
        )  # fmt: skip

    def _merge(self) -> None:
        """Make fewer of the small shards, unless another process is at it or the folder is read-only."""
        with contextlib.suppress(OSError), locked(self.folder / "merge.lock", wait=False):
            shards = self._open()
            waiting: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]] = []
            replaced: list[Path] = []
            for number, (file, size) in enumerate(zip(shards.files, shards.sizes, strict=True)):
                if size >= _SMALL:
                    continue
                groups = [self._group(file, group) for group in range(-(-size // _GROUP))]
                keys = self._keys(file)
                whole = [group for group in groups if group is not None]
                if keys is None or len(whole) < len(groups):
                    continue
                waiting.append((keys, np.concatenate(whole)))
                replaced.append(file)
                last = number + 1 == len(shards.files)
                if last or sum(len(part[0]) for part in waiting) >= _SMALL:
                    self._write(*(np.concatenate(part) for part in zip(*waiting)))
                    for old in replaced:
                        old.unlink(missing_ok=True)
                    waiting, replaced = [], []
            if waiting:
                self._write(*(np.concatenate(part) for part in zip(*waiting)))
                for old in replaced:
                    old.unlink(missing_ok=True)


def prefixes(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """The first eight bytes of every key as a number."""
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64)[:, 0]


def _array(keys: Sequence[bytes] | Mapping[bytes, object]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, _HASH_BYTES)


def _fixed(column: Any, dtype: type) -> npt.NDArray[Any]:
    """Bytes of a fixed-size binary column as numbers."""
    width = column.type.byte_width
    start = column.offset * width
    return np.frombuffer(column.buffers()[1], np.uint8)[start : start + len(column) * width].view(dtype)
