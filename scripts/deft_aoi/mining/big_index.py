"""Neighbours in a pool of more than a million rows: FAISS IVF-PQ on disk, candidates compared again exactly."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deft_aoi.base.files import atomic_write
from deft_aoi.mining.index import Matrix, Rows, Scale, Stored, blocks, nearest, scale_of
from deft_aoi.mining.select import Neighbours

_TRAINED_ON = 40  # rows for each list
_MOST_LISTS = 8192
_BITS = 8
_PER_CODE = 4  # numbers that one code stands for
_AGAIN = 8  # candidates that are compared exactly, for each neighbour
_PROBED = 64  # lists that a search looks into, of about a thousand or more
_SAMPLED = 50  # targets that recall is measured on


@dataclass(frozen=True)
class BigIndex:
    """An index file that stays on disk, the vectors it was made of, and how they are compared."""

    path: Path
    pool: Stored
    scale: Scale

    def nearest(self, asked: Matrix, depth: int, rows: Rows) -> Neighbours:
        """Up to `depth` of `rows` for each target, the largest standardised cosine first."""
        faiss = _faiss()
        index = faiss.read_index(str(self.path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        bitmap = np.zeros(-(-len(self.pool) // 8), np.uint8)
        np.bitwise_or.at(bitmap, rows >> 3, (1 << (rows & 7)).astype(np.uint8))
        chosen = faiss.IDSelectorBitmap(bitmap)
        wanted = faiss.SearchParametersIVF(sel=chosen, nprobe=min(_PROBED, index.nlist))
        targets = self.scale(np.asarray(asked, np.float32))
        _, found = index.search(targets, min(_AGAIN * depth, len(rows)), params=wanted)
        similarity = np.full((len(asked), depth), -np.inf, np.float32)
        best = np.full((len(asked), depth), -1, np.int64)
        for target, candidates in enumerate(found):
            there = candidates[candidates >= 0]
            exact = self.scale(np.asarray(self.pool[there], np.float32)) @ targets[target]
            order = np.lexsort((there, -exact))[:depth]
            best[target, : len(order)], similarity[target, : len(order)] = there[order], exact[order]
        return Neighbours(best, similarity)

    def recall(self, asked: Matrix, depth: int, rows: Rows) -> float:
        """Share of the exact neighbours that the index finds, on up to 50 of the targets."""
        some = asked[:: max(1, len(asked) // _SAMPLED)][:_SAMPLED]
        exact = nearest(some, self.pool, depth, rows=rows, scale=self.scale).index
        found = self.nearest(some, depth, rows).index
        hits = [len(set(a[a >= 0].tolist()) & set(b.tolist())) for a, b in zip(exact, found, strict=True)]
        return sum(hits) / max(int((exact >= 0).sum()), 1)


def open_big(pool: Stored, folder: Path) -> BigIndex:
    """The index of these vectors in `folder`, made where it is not there yet; a block is in memory at a time."""
    scale = scale_of(pool)
    path = folder / f"{_digest(pool)}.faiss"
    if not path.is_file():
        _build(pool, scale, path)
    return BigIndex(path, pool, scale)


def _build(pool: Stored, scale: Scale, path: Path) -> None:
    faiss = _faiss()
    rows, width = pool.shape
    lists = int(min(_MOST_LISTS, max(1, 4 * rows**0.5), max(1, rows // _TRAINED_ON)))
    codes = max(part for part in range(1, max(1, width // _PER_CODE) + 1) if width % part == 0)
    index: Any = faiss.index_factory(width, f"IVF{lists},PQ{codes}x{_BITS}", faiss.METRIC_INNER_PRODUCT)
    sample = np.sort(np.random.default_rng(0).permutation(rows)[: _TRAINED_ON * lists])
    index.train(scale(np.asarray(pool[sample], np.float32)))
    for _, block in blocks(pool):
        index.add(scale(block))

    def write(stream: Any) -> None:
        writer = faiss.PyCallbackIOWriter(stream.write)
        faiss.write_index(index, writer)

    atomic_write(path, write)


def _digest(pool: Stored) -> str:
    """Names the vectors: their number, width, and a thousand of them."""
    some = np.ascontiguousarray(pool[:: max(1, len(pool) // 1000)])
    return hashlib.sha256(repr(pool.shape).encode() + some.tobytes()).hexdigest()[:16]


def _faiss() -> Any:
    """The library; its type stubs know a part of it only."""
    return importlib.import_module("faiss")
