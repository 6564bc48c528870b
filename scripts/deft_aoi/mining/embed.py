"""From image embeddings to one vector for each component."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import image_paths
from deft_aoi.mining.index import Matrix, Stored, unit
from deft_aoi.spec.tree import Optics

_IN_MEMORY = 1 << 28  # bytes of float32 from which on vectors are in a float16 file
_BATCH = 8192


def light_files(rows: pd.DataFrame, root: Path, optics: Optics) -> list[list[str]]:
    """Test image of every row for each light: (lights, rows) paths."""
    return [image_paths(rows, "input_path", root, light, optics.ext) for light in optics.lights]


def component_matrix(
    parquets: Sequence[Path], files: Sequence[Sequence[str]], store: Path | None = None
) -> tuple[Stored, NDArray[np.bool_]]:
    """(vectors, readable): the unit embeddings of a row's lights side by side, (rows, lights x d), scaled to length 1.

    Where several of the files hold an image, the last of them counts. A row with an unreadable image has a zero vector
    and `readable` false. Float32 in memory; where that would be more than 256 MB and `store` is given, float16 in that
    file, mapped, and only a batch is in memory at a time.
    """
    rows, lights = len(files[0]), len(files)
    joined, filled = None, np.zeros((lights, rows), bool)
    for light, places, vectors in (found for parquet in parquets for found in placed(parquet, files)):
        size = vectors.shape[1]
        if joined is None:
            joined = _room((rows, lights * size), store)
        joined[places, light * size : (light + 1) * size] = unit(vectors) / np.sqrt(lights)
        filled[light, places] = True
    if joined is None:
        joined = np.zeros((rows, 1), np.float32)
    readable = np.asarray(filled.all(0))
    joined[np.flatnonzero(~readable)] = 0
    return joined, readable


def placed(parquet: Path, files: Sequence[Sequence[str]]) -> Iterator[tuple[int, NDArray[np.int64], Matrix]]:
    """(light, rows, vectors) of a file of embeddings, a batch at a time, whatever its order.

    Raises InputError where it is no such file.
    """
    places: dict[str, list[tuple[int, int]]] = {}
    for light, names in enumerate(files):
        for row, name in enumerate(names):
            places.setdefault(name, []).append((light, row))
    for names, vectors in batches(parquet):
        found: dict[int, tuple[list[int], list[int]]] = {}
        for number, name in enumerate(names):
            for light, row in places.get(name, ()):
                rows, numbers = found.setdefault(light, ([], []))
                rows.append(row)
                numbers.append(number)
        for light, (rows, numbers) in sorted(found.items()):
            yield light, np.array(rows, np.int64), vectors[numbers]


def batches(parquet: Path) -> Iterator[tuple[list[str], Matrix]]:
    """(paths, vectors) of a file of embeddings, a batch at a time; raises InputError where it is no such file."""
    from pyarrow import ArrowException
    from pyarrow.compute import list_value_length
    from pyarrow.parquet import ParquetFile

    size = None
    try:
        with ParquetFile(parquet, memory_map=True) as opened:
            for batch in opened.iter_batches(_BATCH, columns=["filepath", "embedding"]):
                lengths = set(list_value_length(batch.column("embedding")).to_pylist())
                size = size or next(iter(lengths), None)
                if lengths - {size}:
                    raise InputError(f"{parquet}: embeddings of different lengths; run the embedding again")
                flat = np.asarray(batch.column("embedding").flatten(), np.float32)
                yield batch.column("filepath").to_pylist(), flat.reshape(batch.num_rows, -1)
    except (ArrowException, KeyError, OSError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{parquet}: no file of embeddings (filepath, embedding): {said}") from error


def _room(shape: tuple[int, int], store: Path | None) -> Stored:
    if store is None or shape[0] * shape[1] * 4 <= _IN_MEMORY:
        return np.zeros(shape, np.float32)
    store.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(store, "w+", np.float16, shape)
