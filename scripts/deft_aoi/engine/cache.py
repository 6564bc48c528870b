"""Vectors by content hash, on disk: what was computed once is never computed again.

A store is a folder of shards that are only ever added (written whole, then renamed), so any number of processes may
read and write at once. Many small shards are merged under a lock; a reader that loses one to a merge computes again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from deft_aoi.fsio import atomic_write, locked, sha256_json

_MERGE_ABOVE = 32
_HASH_BYTES = 32

Vector = npt.NDArray[np.float32]


def cache_root() -> Path:
    """`$DEFT_CACHE_DIR`, else `~/.cache/deft-aoi`; the engine keeps its stores in `features` there."""
    configured = os.environ.get("DEFT_CACHE_DIR")
    return Path(configured).expanduser() if configured else Path.home() / ".cache/deft-aoi"


def content_key(*parts: bytes) -> bytes:
    """SHA-256 over the SHA-256 of each part: the key of what is computed from these bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.digest()


class Store:
    """Vectors of one length, all computed by the same code with the same `parameters`."""

    def __init__(self, kind: str, parameters: Mapping[str, object], length: int) -> None:
        self.folder = cache_root() / "features" / f"{kind}-{sha256_json(dict(parameters))[:16]}"
        self.length = length
        self._found: dict[bytes, Vector] = {}
        self._new: dict[bytes, Vector] = {}
        self._lock = threading.Lock()
        shards = self._shards()
        for shard in shards:
            self._found.update(self._read(shard))
        if len(shards) > _MERGE_ABOVE:
            self._merge()

    def get(self, key: bytes) -> Vector | None:
        return self._found.get(key)

    def put(self, key: bytes, vector: Vector) -> None:
        with self._lock:
            self._found[key] = self._new[key] = vector

    def flush(self) -> None:
        """Write what `put` added since the last flush as one shard. A full or read-only disk only costs speed."""
        with self._lock:
            vectors, self._new = self._new, {}
        if vectors:
            with contextlib.suppress(OSError):
                self._write(vectors)

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("*.safetensors")) if self.folder.is_dir() else []

    def _read(self, shard: Path) -> dict[bytes, Vector]:
        try:
            tensors = load_file(shard)
            keys, values = tensors["keys"], tensors["values"]
        except (OSError, SafetensorError, KeyError):
            return {}
        if keys.shape != (len(values), _HASH_BYTES) or values.shape[1:] != (self.length,):
            return {}
        return dict(zip((key.tobytes() for key in keys), values, strict=True))

    def _write(self, vectors: Mapping[bytes, Vector]) -> None:
        keys = np.frombuffer(b"".join(vectors), np.uint8).reshape(-1, _HASH_BYTES)
        data = save({"keys": keys.copy(), "values": np.stack(list(vectors.values())).astype(np.float32)})
        atomic_write(self.folder / f"{uuid.uuid4().hex}.safetensors", lambda stream: stream.write(data))

    def _merge(self) -> None:
        """Replace all shards by one, unless another process is at it or the folder is read-only."""
        with contextlib.suppress(OSError), locked(self.folder / "merge.lock", wait=False):
            shards = self._shards()
            merged: dict[bytes, Vector] = {}
            for shard in shards:
                merged.update(self._read(shard))
            if merged:
                self._write(merged)
            for shard in shards:
                shard.unlink(missing_ok=True)
