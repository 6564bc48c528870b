"""Every row of all sets of a run as one table with vectors that exist: what the map draws.

Vectors are those of the pairs' difference, found by content in the cache of the features engine, or the image
embeddings that mining wrote; the one that covers more rows is taken. Nothing is computed here but the plane, once
for the same rows and vectors. The sealed acceptance set is never read.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write, atomic_write_json, sha256_json
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.base.rows import (
    IDENTITY,
    SCORE,
    image_paths,
    normalise_label,
    pad_columns,
    parse_csv,
    read_parquet,
    read_pool,
    read_rows,
    write_parquet,
)
from deft_aoi.data.fingerprints import fingerprints
from deft_aoi.data.sets import KPI, POOL, TRAINING, VALIDATION
from deft_aoi.engine.cache import Store
from deft_aoi.mining.embed import component_matrix, light_files
from deft_aoi.mining.index import Stored
from deft_aoi.mining.landscape import plane
from deft_aoi.record.order import DATA_MERGE, DATA_MINING, EVALUATE
from deft_aoi.record.run import read_json
from deft_aoi.report.source import Source
from deft_aoi.spec.tree import Optics
from deft_aoi.web.site import stamp

SHOWN_SETS = (TRAINING, VALIDATION, KPI, POOL)
TYPES = ("comp_type_1", "comp_type_2", "part_type")
PAIR, IMAGE = "differences of test and golden", "image embeddings"
_VERSION, _KEPT = 1, 4  # maps of a workspace that stay in its cache
_PROBED = 500  # rows that say whether any pair was measured


@dataclass(frozen=True)
class MapRows:
    """`table`, one line a row: set, identity, label, board, type, score, provenance, mined (iteration), asked_by (row
    number, -1: none), line (place in its CSV). `vectors` (n, d); `there` (n,): rows that have one; `points` (n, 2)."""

    table: pd.DataFrame
    vectors: Stored
    there: NDArray[np.bool_]
    points: NDArray[np.float32]
    kind: str


def map_rows(source: Source, paths: RunPaths, workspace: Workspace) -> MapRows:
    """The map of a run, from the workspace's cache where its files are as they were.

    Raises InputError where the spec or every CSV is gone.
    """
    view = source.optics
    if view is None:
        raise InputError(f"{workspace.spec}: gone, and it names the lights of the pictures")
    folder = workspace.cache / "map" / _key(paths, workspace, view)
    kept = _load(folder)
    if kept is not None:
        return kept
    table = _table(source, workspace, view)
    vectors, there, kind = _vectors(table, paths, workspace, view)
    points = np.zeros((len(there), 2), np.float32)
    if there.any():
        points[there] = plane(np.ascontiguousarray(vectors[there], np.float32))
    found = MapRows(table, vectors, there, points, kind)
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        _save(found, folder)
    return found


def _key(paths: RunPaths, workspace: Workspace, view: Optics) -> str:
    """Changes with every file that the map is made of."""
    from deft_aoi.engine.features.table import pair_store

    files = (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv, workspace.pool_csv, workspace.spec,
             paths.log, *_embeddings(paths))  # fmt: skip
    shards = pair_store(view).folder.glob("*.parquet")  # reading one changes its time
    return sha256_json([_VERSION, str(paths.root), stamp(*files), sorted(one.name for one in shards)])[:24]


def _save(found: MapRows, folder: Path) -> None:
    """`about.json` comes last: a folder without it is none. Older maps of the workspace leave."""
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(folder / "table.parquet", found.table.assign(there=found.there))
    for name, values in (("vectors", np.asarray(found.vectors)), ("points", found.points)):
        atomic_write(folder / f"{name}.npy", partial(np.save, arr=values))
    atomic_write_json(folder / "about.json", {"kind": found.kind})
    others = sorted((one for one in folder.parent.iterdir() if one != folder), key=lambda one: one.stat().st_mtime)
    for old in others[: -_KEPT + 1]:
        shutil.rmtree(old, ignore_errors=True)


def _load(folder: Path) -> MapRows | None:
    """A map as it was saved, its vectors mapped and not read; None where there is none."""
    try:
        kind = str(read_json(folder / "about.json")["kind"])
        table = read_parquet(folder / "table.parquet", {"set": "text", "name": "text"})
        vectors, points = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "points.npy")
        return MapRows(table.drop(columns="there"), vectors, table["there"].to_numpy(bool), points, kind)
    except (InputError, OSError, ValueError, KeyError):
        return None


def _embeddings(paths: RunPaths) -> list[Path]:
    """Files of image embeddings that mining wrote, of any iteration."""
    mined = paths.root.glob("*/mining_filter/**/*_embeddings.parquet")
    return sorted({*mined, *paths.synth_pool.glob("*_embeddings.parquet")})


def _table(source: Source, workspace: Workspace, view: Optics) -> pd.DataFrame:
    csvs = {TRAINING: workspace.training_csv, VALIDATION: workspace.validation_csv, KPI: workspace.kpi_csv,
            POOL: workspace.pool_csv}  # fmt: skip
    parts = []
    for name, csv in csvs.items():
        if not csv.is_file():
            continue
        pool = name == POOL
        rows = read_pool(csv, workspace.root, view.lights, view.ext) if pool else pad_columns(parse_csv(csv))
        kept = rows[[*IDENTITY, "label", "boardname", *TYPES]].assign(set=name, line=np.arange(len(rows)))
        parts.append(kept)
    if not parts:
        raise InputError(f"{workspace.root}: none of the CSVs is there")
    table = pd.concat(parts, ignore_index=True)
    table["label"] = table["label"].map({text: normalise_label(text) for text in table["label"].unique()})
    table["type"] = _first_filled(table)
    table = table.drop(columns=list(TYPES)).rename(columns={"boardname": "board"})
    table["score"] = _scores(source, table)
    table["provenance"], table["mined"], table["asked_by"] = _origins(source, table)
    return table


def _first_filled(table: pd.DataFrame) -> pd.Series:
    """The component type by the first column that tells types apart."""
    named = next((name for name in TYPES if table[name].nunique() > 1), None)
    return table[named] if named else pd.Series("", index=table.index)


def _keys(table: pd.DataFrame) -> pd.Series:
    """What a row is known by in every file of a run: the last two folders and the name."""
    folder = table["input_path"].str.rstrip("/")
    return folder + "\0" + table["object_name"]


def _scores(source: Source, table: pd.DataFrame) -> NDArray[np.float32]:
    """Newest score of each KPI and pool row; NaN where there is none."""
    found = np.full(len(table), np.nan, np.float32)
    keys = _keys(table)
    champion = next((e["facts"].get("champion_label") for e in reversed(source.entries)
                     if (e["stage"], e["status"]) == (EVALUATE, "ok") and e.get("facts")), None)  # fmt: skip
    files = [source.locate(source.facts(str(champion), EVALUATE).get("inference_csv"))] if champion else []
    pools = (source.paths.mining(label) / "score_pool/inference.csv" for label in source.labels)
    files += [path for path in pools if path.is_file()]
    for path in files:
        if path is None:
            continue
        name = POOL if "score_pool" in path.parts else KPI
        with contextlib.suppress(InputError):
            rows = read_rows(path, required=(*IDENTITY, SCORE))
            known = dict(zip(_keys(rows), pd.to_numeric(rows[SCORE], errors="coerce")))
            mine = (table["set"] == name).to_numpy()
            fresh = keys[mine].map(known).to_numpy(np.float32)
            found[mine] = np.where(np.isnan(fresh), found[mine], fresh)
    return found


def _origins(source: Source, table: pd.DataFrame) -> tuple[pd.Series, pd.Series, NDArray[np.int64]]:
    """(provenance in the last training set, iteration that mined the row, the row that asked for it)."""
    keys = _keys(table)
    provenance = pd.Series("", index=table.index)
    provenance[table["set"] == TRAINING] = "base_train"
    mined = pd.Series("", index=table.index)
    asked = np.full(len(table), -1, np.int64)
    place = {key: row for row, key in reversed(list(enumerate(keys)))}
    pool = (table["set"] == POOL).to_numpy()
    pool_place = {key: int(row) for row, key in zip(np.flatnonzero(pool), keys[pool])}
    for label in source.labels:
        csv = source.locate(source.facts(label, DATA_MINING).get("mining_mined_parquet"))
        if csv is None:
            continue
        with contextlib.suppress(InputError):
            rows = read_parquet(csv, dict.fromkeys(("input_path", "object_name", "target_filepath"), "text"))
            for row in rows.to_dict("records"):
                at = pool_place.get(f"{str(row['input_path']).rstrip('/')}\0{row['object_name']}")
                if at is not None:
                    mined.iloc[at], provenance.iloc[at] = label, "mining_pool"
                    asked[at] = _target(str(row["target_filepath"]), place)
    if last := next((label for label in reversed(source.labels) if source.facts(label, DATA_MERGE)), None):
        provenance[(provenance == "mining_pool") & (mined != last)] = "previous_iter_train"
    return provenance, mined, asked


def _target(file: str, place: dict[str, int]) -> int:
    """The row whose picture this is, whichever root the path starts from; -1 where none is."""
    folder, _, name = file.rpartition("/")
    stem = Path(name).stem
    parts = folder.split("/")
    for start in range(len(parts)):
        for cut in (stem, stem.rpartition("_")[0]):
            if cut and (found := place.get("/".join(parts[start:]) + "\0" + cut)) is not None:
                return found
    return -1


def _roots(table: pd.DataFrame, workspace: Workspace) -> list[tuple[NDArray[np.int64], Path]]:
    pool = (table["set"] == POOL).to_numpy()
    return [(np.flatnonzero(~pool), workspace.images), (np.flatnonzero(pool), workspace.root)]


def _vectors(
    table: pd.DataFrame, paths: RunPaths, workspace: Workspace, view: Optics
) -> tuple[Stored, NDArray[np.bool_], str]:
    pairs, have_pair = _pair_vectors(table, workspace, view)
    if have_pair.all():
        return pairs, have_pair, PAIR
    images, have_image = _image_vectors(table, paths, workspace, view)
    if have_image.sum() > have_pair.sum():
        return images, have_image, IMAGE
    return pairs, have_pair, PAIR


def _pair_vectors(table: pd.DataFrame, workspace: Workspace, view: Optics) -> tuple[Stored, NDArray[np.bool_]]:
    """Mean over the lights of what the features engine has measured of each pair; no picture is opened for it."""
    from deft_aoi.engine.features.table import pair_store

    store = pair_store(view)
    sample = table.iloc[np.unique(np.linspace(0, len(table) - 1, min(len(table), _PROBED)).astype(int))]
    if not store.filled() or not _measured(sample, workspace, view, store)[1].any():  # of another engine: not one is
        return np.zeros((len(table), 1), np.float32), np.zeros(len(table), bool)
    return _measured(table, workspace, view, store)


def _measured(
    table: pd.DataFrame, workspace: Workspace, view: Optics, store: Store
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    total, there = np.zeros((len(table), store.length), np.float32), np.ones(len(table), bool)
    for light in view.lights:
        for rows, root in _roots(table, workspace):
            some = table.iloc[rows]
            tests, goldens = (
                fingerprints(image_paths(some, column, root, light, view.ext), limit=0).keys()
                for column in ("input_path", "golden_path")
            )
            keys = [hashlib.sha256(one + other).digest() for one, other in zip(tests, goldens, strict=True)]
            values, known = store.matrix(keys)
            total[rows] += values / len(view.lights)
            there[rows] &= known
    return total, there


def _image_vectors(
    table: pd.DataFrame, paths: RunPaths, workspace: Workspace, view: Optics
) -> tuple[Stored, NDArray[np.bool_]]:
    """Embeddings of the test pictures that mining wrote, of any iteration."""
    held = _embeddings(paths)
    if not held:
        return np.zeros((len(table), 1), np.float32), np.zeros(len(table), bool)
    files: list[list[str]] = [[""] * len(table) for _ in view.lights]
    for rows, root in _roots(table, workspace):
        for light, names in zip(files, light_files(table.iloc[rows], root, view)):
            for row, name in zip(rows, names):
                light[row] = name
    return component_matrix(held, files)


def codes(column: pd.Series, most: int = 250) -> tuple[NDArray[np.uint8], list[str]]:
    """(code of each row, names by code), the most frequent first; what is beyond `most` names shares the last code."""
    counts = column.value_counts()
    names: list[Any] = list(counts.index[:most])
    index = pd.Index(names).get_indexer(column)
    rest = index < 0
    listed = [str(name) for name in names] + ([f"{len(counts) - most} others"] if rest.any() else [])
    return np.where(rest, len(names), index).astype(np.uint8), listed
