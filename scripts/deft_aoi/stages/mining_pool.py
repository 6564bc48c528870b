"""The source pool as mining sees it: rows, weak samples, what was taken before, what can be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.base.errors import HardStop
from deft_aoi.base.paths import iter_label, iter_number
from deft_aoi.base.rows import IDENTITY, image_paths, no_pool, read_parquet, read_pool, read_rows, split_image_path
from deft_aoi.data.fingerprints import READABLE, Prints, by_light, content_keys
from deft_aoi.mining.index import unit
from deft_aoi.mining.select import UNLABELLED
from deft_aoi.record.facts import Mined, Routed
from deft_aoi.record.order import OFF
from deft_aoi.record.run import Run
from deft_aoi.stages.leaks import near_copies
from deft_aoi.stages.merge import earlier_rows
from deft_aoi.synthetic.pregenerated import MODE as PREGEN

_BLOCK = 20_000  # rows that are compared at a time


def without_copies(run: Run, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """(the rows but near-duplicates of rows that judge, how many are left out by the set that they copy)."""
    copies = pd.Series(near_copies(run, rows), index=rows.index, dtype=object)
    counts = copies[copies != ""].value_counts().sort_index()
    return rows[copies == ""].reset_index(drop=True), {str(name): int(count) for name, count in counts.items()}


def real_pool(run: Run) -> pd.DataFrame:
    """Rows of the mining pool as they are now; none where the plan has no pool."""
    if run.plan.pool == OFF:
        return no_pool()
    return read_pool(run.workspace.pool_csv, run.workspace.root, run.optics.lights, run.optics.ext)


def source_pool(run: Run) -> pd.DataFrame:
    """Real pool plus staged synthetic pairs as they are now; paths relative to the workspace, `origin` says which is
    which. A row that an append-only pool names twice counts once."""
    frames = [real_pool(run).assign(origin="real")]
    synthetic = run.paths.synth_pool / "sdg_rows.csv"
    if run.plan.synthetic == PREGEN and synthetic.is_file():
        frames.append(read_rows(synthetic).assign(origin="synthetic"))
    rows = pd.concat(frames, ignore_index=True).fillna("")
    return rows.drop_duplicates(list(IDENTITY), ignore_index=True)


def target_rows(run: Run, label: str) -> pd.DataFrame:
    """Weak samples routed to mining, one row each, the weakest first within a label."""
    gaps = read_parquet(run.left(label, Routed).routing_mining_parquet, {"label": "text"})
    gaps = with_parts(run, gaps)
    if missing := [name for name in ("input_path", "object_name", "weakness") if name not in gaps.columns]:
        raise HardStop(
            "old_routing",
            f"the routing of {label} has no {', '.join(missing)}: a run of 7.0.x, left within an iteration",
            evidence=str(run.left(label, Routed).routing_mining_parquet),
            remedy="deft resolve --stop --reason TEXT delivers the best model; a new run does the rest",
        )
    first_light = gaps.drop_duplicates(["input_path", "object_name"])
    return first_light.sort_values("weakness", ascending=False, kind="stable").reset_index(drop=True)


def with_parts(run: Run, gaps: pd.DataFrame) -> pd.DataFrame:
    """Weak samples with folder and name of the part, which NVIDIA's gap analysis gives in `filepath` alone."""
    if "filepath" not in gaps.columns or "input_path" in gaps.columns:
        return gaps
    images = run.workspace.images
    tails = tuple(f"_{light}{run.optics.ext}" for light in run.optics.lights)
    parts = [split_image_path(str(path), tails) for path in gaps["filepath"]]
    folders = [Path(folder).relative_to(images).as_posix() if Path(folder).is_relative_to(images) else folder
               for folder, _ in parts]  # fmt: skip
    return gaps.assign(input_path=folders, object_name=[name for _, name in parts])


def mined_before(run: Run, label: str) -> pd.DataFrame:
    """Rows that earlier iterations took: input_path, object_name."""
    found = [pd.DataFrame(columns=["input_path", "object_name"])]
    for number in range(1, iter_number(label)):
        earlier = read_parquet(run.left(iter_label(number), Mined).mining_mined_parquet, {})
        if "input_path" not in earlier.columns:  # 7.0.x: the rows are in the CSV next to it
            earlier = read_rows(run.paths.mining(iter_label(number)) / "mining_pool.csv")
        found.append(earlier[["input_path", "object_name"]])
    return pd.concat(found, ignore_index=True)


def used_rows(run: Run, label: str, pool: pd.DataFrame) -> NDArray[np.bool_]:
    """(n,): pool rows that an earlier iteration took, by name. Content identifies copies under another name."""
    before = mined_before(run, label)
    keys = set(zip(before["input_path"], before["object_name"], strict=True))
    pairs = zip(pool["input_path"], pool["object_name"], strict=True)
    return np.fromiter((pair in keys for pair in pairs), bool, len(pool))


@dataclass(frozen=True)
class Look:
    """What the pool's images say of its rows: `content` hash of the test images (empty where one cannot be read),
    `readable` test and golden, `coarse` picture of the test images as unit vectors, and how far these differ from their
    goldens (`unlike`, the light that differs most)."""

    content: list[str]
    readable: NDArray[np.bool_]
    coarse: NDArray[np.float32]
    unlike: NDArray[np.float32]


def look_at(run: Run, pool: pd.DataFrame) -> Look:
    """Every image is opened once in its life; afterwards a look costs one stat a file."""
    tests, goldens = (_prints(run, pool, column) for column in ("input_path", "golden_path"))
    readable = np.logical_and.reduce([prints.state == READABLE for prints in (*tests, *goldens)])
    coarse = np.hstack([prints.records["coarse"] for prints in tests]).astype(np.float32)
    unlike = np.max([_unlike(test, golden) for test, golden in zip(tests, goldens, strict=True)], axis=0)
    return Look([key.hex() for key in content_keys(tests)], np.asarray(readable), unit(coarse), unlike)


def _unlike(tests: Prints, goldens: Prints) -> NDArray[np.float32]:
    """(n,) distance of the coarse pictures, in blocks: a million rows are 2 GB as floats."""
    found = np.zeros(len(tests.records), np.float32)
    for start in range(0, len(found), _BLOCK):
        part = slice(start, start + _BLOCK)
        pair = (prints.records["coarse"][part].astype(np.float32) for prints in (tests, goldens))
        found[part] = np.linalg.norm(next(pair) - next(pair), axis=1)
    return found


def taken_contents(run: Run, label: str) -> frozenset[str]:
    """Contents of everything that the next training already has: seed rows and what earlier iterations took."""
    return frozenset(key.hex() for key in content_keys(_prints(run, earlier_rows(run, label)[0], "input_path"))) - {""}


def _prints(run: Run, rows: pd.DataFrame, column: str) -> list[Prints]:
    return by_light(
        [image_paths(rows, column, run.workspace.root, light, run.optics.ext) for light in run.optics.lights]
    )


def has_labels(pool: pd.DataFrame) -> bool:
    """Whether any pool row has a label."""
    return bool((pool["label"] != UNLABELLED).any())
