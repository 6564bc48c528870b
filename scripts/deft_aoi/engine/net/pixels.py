"""Decoded, registered pairs as one memory-mapped uint8 file: what was decoded once is never decoded again.

The archive only grows, under a lock; pixels are durable before the keys that name them, so a reader sees whole records
and a torn tail is cut off by the next writer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.base.cache_folder import kind_folder, touch, trim_now_and_then
from deft_aoi.base.files import locked, sha256_json
from deft_aoi.base.rows import image_paths
from deft_aoi.base.safe_images import DECODER, problem
from deft_aoi.engine.cache import content_key
from deft_aoi.engine.features.table import in_parallel, read_bytes
from deft_aoi.engine.images import decode, make_pair
from deft_aoi.engine.refusal import TaskError
from deft_aoi.spec.tree import Optics

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
KEYS = "keys.bin"
_KEY_BYTES = 32
_FLUSH_BYTES = 64 << 20
_PROBED_ROWS = 8

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PixelTable:
    """Pixels of CSV rows: `index` (rows, lights) names records of `archive`; `hits` counts pairs found there.

    `stored`: shape of the archive, (records, 2, channels, height, width). Small to send to another process.
    """

    archive: Path
    stored: tuple[int, ...]
    index: npt.NDArray[np.int64]
    hits: int
    digest: str

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(2, planes, height, width) of one row; planes = lights x channels; [0] is the test image, [1] the golden."""
        channels, height, width = self.stored[2:]
        return 2, self.index.shape[1] * channels, height, width

    def read(self, rows: npt.NDArray[np.int64] | slice) -> Bytes:
        """uint8 (n, 2, planes, height, width)."""
        touch(self.archive.with_name(KEYS))
        records = np.memmap(self.archive, np.uint8, "r", shape=self.stored)
        pixels = records[self.index[rows]]  # (n, lights, 2, channels, h, w)
        return np.ascontiguousarray(np.moveaxis(pixels, 1, 2)).reshape(len(pixels), *self.shape)


class Archive:
    """Records (2, channels, height, width) uint8 by content hash, for one image size."""

    def __init__(self, optics: Optics, channels: int) -> None:
        self.shape = (2, channels, optics.height, optics.width)
        self.record = int(np.prod(self.shape))
        sides = {"width": optics.width, "height": optics.height}
        parameters = {"version": VERSION, "decoder": DECODER, "channels": channels, **sides}
        self.folder = kind_folder("pixels") / sha256_json(parameters)[:16]
        self.pixels, self.keys = self.folder / "pixels.bin", self.folder / KEYS
        self._places: dict[bytes, int] = {}
        self._new: dict[bytes, Bytes] = {}
        self._lock = threading.Lock()
        self.refresh()

    def refresh(self) -> None:
        """Learn what other processes added."""
        touch(self.keys)
        try:
            names = self.keys.read_bytes()
        except FileNotFoundError:
            return
        count = min(len(names) // _KEY_BYTES, self.pixels.stat().st_size // self.record)
        for place in range(len(self._places), count):
            self._places[names[place * _KEY_BYTES : (place + 1) * _KEY_BYTES]] = place

    def has(self, key: bytes) -> bool:
        return key in self._places or key in self._new

    def put(self, key: bytes, record: Bytes) -> None:
        with self._lock:
            self._new[key] = record
        if len(self._new) * self.record >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Append what `put` added. Raises TaskError where the cache folder cannot be written."""
        with self._lock:
            fresh, self._new = self._new, {}
            if not fresh:
                return
            try:
                with locked(self.folder / "write.lock"):
                    self.refresh()
                    self._append({key: record for key, record in fresh.items() if key not in self._places})
                trim_now_and_then()
            except OSError as error:
                raise TaskError(
                    f"{self.folder}: cannot keep decoded images ({error.strerror}); set DEFT_CACHE_DIR to a folder "
                    "with free space"
                ) from error

    def _append(self, fresh: dict[bytes, Bytes]) -> None:
        start = len(self._places)
        for path, size, parts in (
            (self.pixels, self.record, [record.tobytes() for record in fresh.values()]),
            (self.keys, _KEY_BYTES, list(fresh)),
        ):
            with open(path, "ab") as stream:
                stream.truncate(start * size)
                stream.write(b"".join(parts))
                stream.flush()
                os.fsync(stream.fileno())
        self._places |= {key: start + offset for offset, key in enumerate(fresh)}

    def __len__(self) -> int:
        return len(self._places)

    def places(self, keys: Sequence[bytes]) -> npt.NDArray[np.int64]:
        return np.array([self._places[key] for key in keys], np.int64)


def pixel_table(rows: pd.DataFrame, images_dir: Path, optics: Optics, channels: int, what: str) -> PixelTable:
    """Pixels of every row under every light, `channels` 1 (grey) or 3 (RGB).

    Raises TaskError naming the first image that is missing or unreadable.
    """
    archive = Archive(optics, channels)

    def work(chunk: Sequence[tuple[str, str]]) -> tuple[list[bytes], int]:
        return _take_in(chunk, archive, optics, channels)

    keys: list[bytes] = []
    hits = 0
    try:
        for found, known in in_parallel(work, _pairs(rows, images_dir, optics), what):
            keys += found
            hits += known
    finally:
        archive.flush()
    index = archive.places(keys).reshape(len(optics.lights), len(rows)).T
    stored = (len(archive), *archive.shape)
    return PixelTable(archive.pixels, stored, np.ascontiguousarray(index), hits, content_key(*keys).hex())


def _pairs(rows: pd.DataFrame, images_dir: Path, optics: Optics) -> list[tuple[str, str]]:
    files: list[tuple[str, str]] = []
    for light in optics.lights:
        columns = (image_paths(rows, column, images_dir, light, optics.ext) for column in ("input_path", "golden_path"))
        files += zip(*columns, strict=True)
    return files


def count_channels(rows: pd.DataFrame, images_dir: Path, optics: Optics) -> int:
    """3 where one of the first rows has a colour image, else 1."""
    for pair in _pairs(rows.head(_PROBED_ROWS), images_dir, optics):
        for name in pair:
            image = decode(read_bytes(name))
            if image is not None and image.ndim == 3:
                return 3
    return 1


def _take_in(
    chunk: Sequence[tuple[str, str]], archive: Archive, optics: Optics, channels: int
) -> tuple[list[bytes], int]:
    keys, hits = [], 0
    for names in chunk:
        data = [read_bytes(name) for name in names]
        keys.append(content_key(*data))
        if archive.has(keys[-1]):
            hits += 1
            continue
        images = [_with_channels(part, name, channels) for part, name in zip(data, names, strict=True)]
        archive.put(keys[-1], pair_pixels(images[0], images[1], optics))
    return keys, hits


def pair_pixels(test: Bytes, golden: Bytes, optics: Optics) -> Bytes:
    """(2, channels, height, width): test, and golden registered onto it, both of the same channels."""
    pair = make_pair(test, golden, optics.width, optics.height)
    record = np.stack([pair.test, pair.golden]).reshape(2, optics.height, optics.width, -1)
    return np.rint(record.transpose(0, 3, 1, 2)).clip(0, 255).astype(np.uint8)


def _with_channels(data: bytes, name: str, channels: int) -> Bytes:
    image = decode(data)
    if image is None:
        raise TaskError(f"{name}: {problem(data) or 'not a readable image'}; replace or remove its row")
    return as_channels(image, channels)


def as_channels(image: Bytes, channels: int) -> Bytes:
    """A decoded image as grey (h, w) or RGB (h, w, 3)."""
    if channels == 3:
        return image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
