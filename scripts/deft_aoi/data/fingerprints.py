"""What an image is, whatever its name: hash of its bytes, a coarse picture of it, whether it can be read at all.

A file is opened once; afterwards size and time of change find its record in the cache, so that a second look at a pool
costs one stat a file.
"""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deft_aoi.base import safe_images
from deft_aoi.base.cache_folder import kind_folder, touch, trim_now_and_then
from deft_aoi.base.console import aside
from deft_aoi.base.progress import Progress
from deft_aoi.base.rows import image_paths
from deft_aoi.base.safe_paths import leaves_workspace
from deft_aoi.base.threads import cores

if TYPE_CHECKING:
    import pandas as pd

    from deft_aoi.spec.tree import Optics

VERSION = 2
READABLE, UNREADABLE, MISSING, UNREAD = 0, 1, 2, 3
_SIDE = 24  # pixels of the coarse picture
_FLAT = 3.0  # grey levels of spread below which a picture shows nothing that could be distinguished
_CHUNK, _ASKED, _KEPT = 64, 800, 1024

#: One image. `sha` of its bytes; `bits` difference hash of 16 x 16 cells; `coarse` its edges at 24 x 24 as int8, of
#: about equal length; `spread` standard deviation of its grey levels; `state` one of the four above; `largest` value of
#: a file with more than 8 bits a value, else 0; `turned` its orientation tag, 0 for none.
RECORD = np.dtype(
    [
        ("sha", "u1", 32), ("bits", "u1", 32), ("coarse", "i1", _SIDE * _SIDE), ("spread", "f4"), ("state", "u1"),
        ("largest", "f4"), ("turned", "u1"),
    ]
)  # fmt: skip
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Prints:
    """Records (n,) of RECORD, one for each asked file in order; `read` files were opened, the rest was known."""

    records: NDArray[Any]
    read: int

    @property
    def state(self) -> Bytes:
        return np.asarray(self.records["state"])

    @property
    def largest(self) -> NDArray[np.float32]:
        """Largest value of each file with more than 8 bits a value, else 0."""
        return np.asarray(self.records["largest"])

    @property
    def turned(self) -> NDArray[np.bool_]:
        """Files whose orientation tag asks a viewer to turn them."""
        return np.asarray(self.records["turned"] > 1)

    @property
    def flat(self) -> NDArray[np.bool_]:
        return np.asarray(self.records["spread"] < _FLAT)

    def keys(self) -> list[bytes]:
        """Content hash of each file; empty where there is none."""
        shas = np.ascontiguousarray(self.records["sha"])
        return [sha.tobytes() if state == READABLE else b"" for sha, state in zip(shas, self.state, strict=True)]


def fingerprints(files: Sequence[str], *, limit: int | None = None, seconds: float = math.inf) -> Prints:
    """Fingerprint of every file. At most `limit` files are opened, the first ones, and none after that many `seconds`;
    the others have state UNREAD.

    A cache that cannot be written only costs time.
    """
    distinct = list(dict.fromkeys(files))
    stamps = [_stamp(name) for name in distinct]
    table = np.zeros(len(distinct), RECORD)
    table["state"] = [MISSING if stamp is None else UNREAD for stamp in stamps]
    with _Cache() as cache:
        known = cache.find(distinct, stamps)
        for place, record in known:
            table[place] = record
        new = np.flatnonzero(table["state"] == UNREAD)
        todo = new[:limit].tolist()
        if 0 < len(todo) < len(new):
            aside(f"fingerprints: {len(todo):,} of {len(new):,} new images are opened in this call")
        opened = 0
        for places, records in _read_all([distinct[place] for place in todo], todo, seconds):
            opened += len(places)
            table[places] = records
            cache.keep([(distinct[p], stamps[p], r) for p, r in zip(places, records, strict=True)])
    where = {name: place for place, name in enumerate(distinct)}
    return Prints(table[[where[name] for name in files]], opened)


def content_keys(lights: Sequence[Prints]) -> list[bytes]:
    """Hash of a row over all lights; empty where one of its images has none."""
    columns = [light.keys() for light in lights]
    return [b"".join(row) if all(row) else b"" for row in zip(*columns, strict=True)]


def all_flat(lights: Sequence[Prints]) -> NDArray[np.bool_]:
    """Rows that show nothing under any light: equal bytes there are no sign of a copy."""
    return np.asarray(np.logical_and.reduce([light.flat for light in lights]))


def by_light(files: Sequence[Sequence[str]]) -> list[Prints]:
    """Fingerprints of `files` (lights, rows), one entry a light."""
    flat = fingerprints([name for names in files for name in names]).records
    return [Prints(part, 0) for part in flat.reshape(len(files), -1)]


def readable(rows: pd.DataFrame, root: Path, optics: Optics) -> NDArray[np.bool_]:
    """Which rows have a readable test and golden image under every light."""
    columns = [
        image_paths(rows, column, root, light, optics.ext)
        for column in ("input_path", "golden_path")
        for light in optics.lights
    ]
    return np.asarray(np.logical_and.reduce([prints.state == READABLE for prints in by_light(columns)]))


def fingerprint(data: bytes) -> NDArray[Any]:
    """Record () of an image's bytes."""
    record = np.zeros((), RECORD)
    record["sha"] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
    grey = safe_images.decode(data, cv2.IMREAD_GRAYSCALE)
    if grey is None:
        record["state"] = UNREADABLE
        return record
    cells = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA).astype(np.int16)
    record["bits"] = np.packbits((cells[:, 1:] > cells[:, :-1]).ravel())
    small = edges(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)).ravel()
    record["coarse"] = np.rint(small * (127 / max(float(np.abs(small).max()), 1e-6)))
    record["spread"] = grey.std()
    record["largest"] = safe_images.largest_value(data)
    record["turned"] = safe_images.orientation(data) % 256
    return record


def edges(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a coarse blur leaves over: lamp and exposure are gone, edges and grain stay."""
    return np.asarray(image - cv2.GaussianBlur(image, (0, 0), 2), np.float32)


def _stamp(name: str) -> tuple[int, int] | None:
    try:
        status = os.stat(name)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _read_all(names: Sequence[str], places: Sequence[int], seconds: float) -> Iterator[tuple[list[int], NDArray[Any]]]:
    deadline = time.monotonic() + seconds
    starts = iter(range(0, len(names), _CHUNK))
    workers = cores()
    with ThreadPoolExecutor(workers) as pool, Progress("fingerprints", len(names), "image") as progress:
        waiting: deque[tuple[int, Future[NDArray[Any]]]] = deque()
        while True:
            while len(waiting) < 2 * workers and time.monotonic() < deadline and (start := next(starts, -1)) >= 0:
                waiting.append((start, pool.submit(_read, names[start : start + _CHUNK])))
            if not waiting:
                return
            start, future = waiting.popleft()
            records = future.result()
            progress.update(len(records))
            yield list(places[start : start + _CHUNK]), records


def _read(names: Iterable[str]) -> NDArray[Any]:
    records = []
    for name in names:
        try:
            records.append(fingerprint(b"" if leaves_workspace(name) else Path(name).read_bytes()))
        except OSError:
            record = np.zeros((), RECORD)
            record["state"] = UNREADABLE
            records.append(record)
    return np.stack(records)


class _Cache:
    """Records by absolute path, size and time of change. Any failure of the data base means: not known."""

    def __init__(self) -> None:
        self._base: sqlite3.Connection | None = None
        self._new: list[tuple[str, int, int, bytes]] = []

    def __enter__(self) -> _Cache:
        try:
            path = kind_folder("fingerprints") / f"v{VERSION}.sqlite"
            self._base = sqlite3.connect(path, timeout=30)
            touch(path)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INT, changed INT, record BLOB) "
                "WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error):
            self._base = None
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        if self._base is not None:
            self._base.close()

    def find(self, names: Sequence[str], stamps: Sequence[tuple[int, int] | None]) -> Iterator[tuple[int, Any]]:
        """(place, record) of the files that are as they were."""
        if self._base is None:
            return
        paths = [os.path.abspath(name) for name in names]
        place_of = {path: place for place, path in enumerate(paths)}
        try:
            for start in range(0, len(paths), _ASKED):
                some = paths[start : start + _ASKED]
                marks = ",".join("?" * len(some))
                query = f"SELECT path, size, changed, record FROM files WHERE path IN ({marks})"
                for path, size, changed, record in self._base.execute(query, some):
                    place = place_of[path]
                    if stamps[place] == (size, changed) and len(record) == RECORD.itemsize:
                        yield place, np.frombuffer(record, RECORD)[0]
        except sqlite3.Error:
            return

    def keep(self, rows: Sequence[tuple[str, tuple[int, int] | None, Any]]) -> None:
        self._new += [(os.path.abspath(name), *stamp, record.tobytes()) for name, stamp, record in rows if stamp]
        if len(self._new) >= _KEPT:
            self._flush()

    def _flush(self) -> None:
        rows, self._new = self._new, []
        if self._base is None or not rows:
            return
        try:
            with self._base:
                self._base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)
            trim_now_and_then()
        except sqlite3.Error:
            self._base = None
