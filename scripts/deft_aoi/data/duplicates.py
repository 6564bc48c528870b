"""The same picture under another name: by its bytes, or re-encoded, brightened or moved by a pixel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deft_aoi.base import safe_images
from deft_aoi.base.progress import Progress
from deft_aoi.data.fingerprints import READABLE, Prints, edges
from deft_aoi.engine.cache import Store, content_key

ALIKE = 0.94  # correlation of edges and grain; on the simulated line copies have >= 0.966, other boards <= 0.91
_LOOK_ALIKES = 0.2  # share of a set's rows from which on likeness alone tells no copy
_NEAREST = 3  # candidates of each picture in another set
_BITS = 72  # of 256 that candidates may differ in
_COARSE = 0.8  # cosine of the coarse pictures of a candidate
_REACH = 3  # pixels that a copy may be moved
_BLOCK = 4096


@dataclass(frozen=True)
class Near:
    """Row `first` of one set shows the same picture as row `second` of another; `likeness` is a correlation."""

    first: int
    second: int
    likeness: float


def near_pairs(
    first: Sequence[Prints], second: Sequence[Prints], files_first: Sequence[Sequence[str]],
    files_second: Sequence[Sequence[str]], *, each_of_first: bool = False,
) -> list[Near]:  # fmt: skip
    """Pairs of rows (one of each set) that show the same picture, their bytes equal or not.

    A row of the smaller set finds its few nearest in the other; `each_of_first` asks for every row of `first`, so that
    any number of copies of one picture is found there.

    `first` and `second` hold the prints of each light, `files_*` their files, (lights, rows): a pair counts where every
    light agrees. Nearest by difference hash of the first light, then by the coarse picture, then pixel by pixel; what
    two pictures have in common is kept by their content.
    """
    candidates = _candidates(first[0], second[0], _NEAREST, each_of_first=each_of_first)
    return _compared(candidates, first, second, files_first, files_second)


def near_within(prints: Sequence[Prints], files: Sequence[Sequence[str]]) -> list[Near]:
    """:func:`near_pairs` of one set's rows with each other, each pair once and no row with itself."""
    both_ways = _candidates(prints[0], prints[0], _NEAREST + 1)  # the nearest of a row is that row
    candidates = dict.fromkeys((min(pair), max(pair)) for pair in both_ways if pair[0] != pair[1])
    return _compared(candidates, prints, prints, files, files)


def copy_limit(prints: Sequence[Prints], files: Sequence[Sequence[str]]) -> float:
    """Likeness from which on a picture is a copy of one in this set: ALIKE, or more on a line where many pictures of
    different boards are as alike as that."""
    near = near_within(prints, files)
    rows = {row for pair in near for row in (pair.first, pair.second)}
    if len(rows) <= _LOOK_ALIKES * len(prints[0].records):
        return ALIKE
    return copies_from([pair.likeness for pair in near])


def together(sets: Sequence[tuple[Sequence[Prints], Sequence[Sequence[str]]]]) -> tuple[list[Prints], list[list[str]]]:
    """Prints and files (lights, rows) of several sets as one."""
    prints = [Prints(np.concatenate([one.records for one in light]), 0) for light in zip(*(some for some, _ in sets))]
    files = [[name for names in light for name in names] for light in zip(*(some for _, some in sets))]
    return prints, files


def copies_from(likenesses: Sequence[float]) -> float:
    """Likeness from which on a pair is a copy among these look-alikes: what it lacks to 1 is below their bulk by three
    times its width, on a logarithmic scale."""
    lacking = np.log(np.maximum(1 - np.array(likenesses), 1e-6))
    low, high = np.quantile(lacking, [0.25, 0.75])
    return max(ALIKE, float(1 - np.exp(low - 3 * (high - low))))


def _compared(
    candidates: Iterable[tuple[int, int]],
    first: Sequence[Prints],
    second: Sequence[Prints],
    files_first: Sequence[Sequence[str]],
    files_second: Sequence[Sequence[str]],
) -> list[Near]:
    """The candidates whose pictures agree under every light."""
    store = Store("alike", {"version": 1, "reach": _REACH}, 1)
    found = []
    with Progress("near-duplicates", None, "candidate") as progress:
        for one, other in candidates:
            likeness = min(
                _remembered(store, (prints.records[one], others.records[other]), (files[one], other_files[other]))
                for prints, others, files, other_files in zip(first, second, files_first, files_second)
            )
            progress.update()
            if likeness >= ALIKE:
                found.append(Near(one, other, likeness))
    store.flush()
    return found


def _remembered(store: Store, records: tuple[Any, Any], files: tuple[str, str]) -> float:
    """:func:`alike` of two files with these records."""
    if any(record["state"] != READABLE for record in records):  # no hash that would name its content
        return alike(*files)
    key = content_key(*(record["sha"].tobytes() for record in records))
    known = store.get(key)
    if known is None:
        known = np.array([alike(*files)], np.float32)
        store.put(key, known)
    return float(known[0])


def alike(first: str, second: str) -> float:
    """Correlation of the edges of two image files at the best shift within +-3 pixels; 1 for two flat ones, 0 where
    one cannot be read or only one is flat."""
    images = [safe_images.read(name, cv2.IMREAD_GRAYSCALE) for name in (first, second)]
    one, other = images
    if one is None or other is None or min(*one.shape, *other.shape) < 4 * _REACH:
        return 0.0
    if one.shape != other.shape:
        other = np.asarray(cv2.resize(other, one.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    sharp, inner = edges(one.astype(np.float32)), edges(other.astype(np.float32))[_REACH:-_REACH, _REACH:-_REACH]
    flat = [float(part.std()) < 1e-3 for part in (sharp, inner)]
    if any(flat):
        return float(all(flat))
    return float(cv2.matchTemplate(sharp, np.ascontiguousarray(inner), cv2.TM_CCOEFF_NORMED).max())


def _candidates(first: Prints, second: Prints, count: int, *, each_of_first: bool = False) -> Iterator[tuple[int, int]]:
    """(row of first, row of second) that may show the same picture, at most `count` for each of the smaller set, or for
    each of the first."""
    rows = [_usable(prints) for prints in (first, second)]
    if min(map(len, rows)) == 0:
        return
    swapped = not each_of_first and len(rows[0]) > len(rows[1])
    (asked_rows, asked), (stock_rows, stock) = (
        ((rows[1], second), (rows[0], first)) if swapped else ((rows[0], first), (rows[1], second))
    )
    import faiss

    index = faiss.IndexBinaryFlat(256)
    index.add(np.ascontiguousarray(stock.records["bits"][stock_rows]))
    for start in range(0, len(asked_rows), _BLOCK):
        block = asked_rows[start : start + _BLOCK]
        bits = np.ascontiguousarray(asked.records["bits"][block])
        distance, nearest = index.search(bits, min(count, len(stock_rows)))
        number, rank = np.nonzero(distance <= _BITS)
        mine, theirs = block[number], stock_rows[nearest[number, rank]]
        likely = _cosine(asked.records["coarse"][mine], stock.records["coarse"][theirs]) >= _COARSE
        for one, other in zip(mine[likely].tolist(), theirs[likely].tolist()):
            yield (other, one) if swapped else (one, other)


def _usable(prints: Prints) -> NDArray[np.int64]:
    return np.flatnonzero((prints.state == READABLE) & ~prints.flat)


def _cosine(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float32]:
    one, other = first.astype(np.float32), second.astype(np.float32)
    length = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray(np.einsum("nd,nd->n", one, other) / np.maximum(length, 1e-6), np.float32)
