"""From image embeddings to one vector for each component."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.contracts import image_paths, read_parquet
from deft_aoi.errors import InputError
from deft_aoi.experiment import Optics

Matrix = NDArray[np.float32]


def light_files(rows: pd.DataFrame, root: Path, optics: Optics) -> list[list[str]]:
    """Test image of every row for each light: (lights, rows) paths."""
    return [image_paths(rows, "input_path", root, light, optics.ext) for light in optics.lights]


def component_matrix(parquet: Path, files: Sequence[Sequence[str]]) -> tuple[Matrix, NDArray[np.bool_]]:
    """(vectors, readable): the unit embeddings of a row's lights side by side, (rows, lights x d), scaled to length 1.

    A row with an unreadable image has a zero vector and `readable` false.
    """
    table = read_parquet(parquet, {"filepath": "text", "embedding": "vector"}, only=True)
    if table["embedding"].map(len).nunique() > 1:
        raise InputError(f"{parquet}: embeddings of different lengths; run the embedding again")
    vectors = (
        np.stack([np.asarray(v, np.float32) for v in table["embedding"]]) if len(table) else np.zeros((0, 1), "f4")
    )
    position = {name: number for number, name in enumerate(table["filepath"])}
    readable = np.ones(len(files[0]), bool)
    blocks: list[Matrix] = []
    for names in files:
        index = np.array([position.get(name, -1) for name in names])
        readable &= index >= 0
        blocks.append(unit(vectors[np.maximum(index, 0)]))
    joined = unit(np.hstack(blocks))
    joined[~readable] = 0
    return joined, readable


def unit(vectors: Matrix) -> Matrix:
    """Rows scaled to length 1; zero rows stay zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def standardise(vectors: Matrix, reference: Matrix) -> Matrix:
    """Vectors with the reference's mean and spread taken out, scaled to length 1.

    Pooled trunk features share a large common part: without this nearly every pair of crops has cosine 0.95.
    """
    mean, spread = reference.mean(axis=0), reference.std(axis=0) + 1e-6
    return unit(np.asarray((vectors - mean) / spread, np.float32))
