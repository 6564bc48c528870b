"""The hard stop on leakage: no row that is trained on may be in a set that judges."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from deft_aoi.base.errors import HardStop
from deft_aoi.base.rows import image_paths, read_rows
from deft_aoi.data.duplicates import copy_limit, near_pairs, together
from deft_aoi.data.fingerprints import all_flat, by_light, content_keys
from deft_aoi.data.leakage import Leak, Leaks, find_leaks
from deft_aoi.record.order import SEALED
from deft_aoi.record.run import Run


def stop_on_leaks(run: Run, rows: pd.DataFrame, csv: Path) -> dict[str, int]:
    """Compare `rows` (paths relative to the workspace) with every set that judges (validation, KPI, acceptance): by
    path, by the contract's key, and by the bytes of the images, whatever they are called.

    Returns the number of compared rows for each set; raises HardStop naming the first shared row.
    """
    compared = {}
    for name, judge in judging(run).items():
        held = read_rows(judge)
        leaks = find_leaks(rows, held, images_first=run.workspace.root, images_second=run.workspace.images)
        leaks = leaks or copies(run, rows, held)
        if leaks:
            raise HardStop(
                "leakage",
                leaks.at(csv, judge).sentence(str(csv), str(judge)),
                evidence=str(csv),
                remedy=f"take these rows out of the mining pool; a change of {judge.name} needs a new run",
            )
        compared[f"{name}_rows_compared"] = len(held)
    return compared


def judging(run: Run) -> dict[str, Path]:
    """The sets that judge, by name."""
    found = {"validation": run.workspace.validation_csv, "kpi": run.workspace.kpi_csv}
    return found | ({"acceptance": run.workspace.acceptance_csv} if run.plan.acceptance == SEALED else {})


def near_copies(run: Run, rows: pd.DataFrame) -> list[str]:
    """For each row (paths relative to the workspace) the set of which it shows a picture again, re-encoded, brightened
    or moved by a few pixels; empty where it shows none. On a line whose pictures are all alike only copies count
    (:func:`copy_limit`).

    Equal bytes are no near-duplicate but leakage, which stops the loop.
    """
    files = _files(run, rows, run.workspace.root)
    held = {name: _files(run, read_rows(csv), run.workspace.images) for name, csv in judging(run).items()}
    prints, keys, found = by_light(files), None, [""] * len(rows)
    limit = copy_limit(*together([(by_light(some), some) for some in held.values()]))
    for name, some in held.items():
        other = by_light(some)
        known = set(content_keys(other))
        for near in near_pairs(prints, other, files, some, each_of_first=True):
            if near.likeness >= limit:
                keys = keys or content_keys(prints)
                found[near.first] = found[near.first] or ("" if keys[near.first] in known else name)
    return found


def _files(run: Run, rows: pd.DataFrame, root: Path) -> list[list[str]]:
    return [image_paths(rows, "input_path", root, light, run.optics.ext) for light in run.optics.lights]


def copies(run: Run, rows: pd.DataFrame, held: pd.DataFrame) -> Leaks:
    """Rows of `held` whose images have the bytes of a row of `rows` under every light; pictures of nothing are left
    out. Files that were looked at before cost one stat."""
    prints = [by_light(_files(run, *one)) for one in ((rows, run.workspace.root), (held, run.workspace.images))]
    known = {key: line for line, key in reversed(list(enumerate(content_keys(prints[0]), start=2))) if key}
    flat = all_flat(prints[1])
    found = [
        Leak(known[key], line, f"{held['input_path'].iloc[line - 2]}/{held['object_name'].iloc[line - 2]}", "content")
        for line, key in enumerate(content_keys(prints[1]), start=2)
        if key in known and not flat[line - 2]
    ]
    return Leaks(tuple(found), ())
