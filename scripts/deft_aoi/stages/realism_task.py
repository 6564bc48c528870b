"""The realism screen of synthetic pairs as a task of the stages that make or stage them, and what it reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.rows import PASS, image_paths, parse_csv, write_rows
from deft_aoi.executors.base import Task
from deft_aoi.record.run import Run
from deft_aoi.spec.tree import Optics

NAME = "realism"
_REAL_ROWS = 300  # good parts, and as many defects, that the screen compares with


def pictures_of(rows: pd.DataFrame, root: Path, optics: Optics) -> pd.DataFrame:
    """Rows (paths relative to `root`) as one line a picture: name, label, light, test, golden."""
    names = [f"{folder}/{name}" for folder, name in zip(rows["input_path"], rows["object_name"])]
    frames = [
        pd.DataFrame(
            {
                "name": names, "label": rows["label"].to_numpy(), "light": light,
                "test": image_paths(rows, "input_path", root, light, optics.ext),
                "golden": image_paths(rows, "golden_path", root, light, optics.ext),
            }
        )
        for light in optics.lights
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def task(run: Run, home: Path, pairs: pd.DataFrame, real: pd.DataFrame) -> Task:
    """Screen the pairs against real parts, on this host whatever the platform."""
    known = pictures_of(thinned(real), run.workspace.root, run.optics)
    for name, table in (("realism_pairs.csv", pairs), ("realism_real.csv", known)):
        write_rows(home / name, table)
    output = home / NAME
    command = ("realism_screen", "--pairs", str(home / "realism_pairs.csv"), "--real", str(home / "realism_real.csv"))
    return Task(NAME, (*command, "--output", str(output)), output, expects=(output / "realism.csv",))


def thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """As many rows as the screen compares with, evenly: good parts, then defects."""
    good = (rows["label"] == PASS).to_numpy()
    return pd.concat([part.iloc[:: max(1, -(-len(part) // _REAL_ROWS))] for part in (rows[good], rows[~good])])


def flagged_words(run: Run, found: Mapping[str, Any]) -> str:
    """What the realism screen reported, and that a flag keeps no pair out of training."""
    if not found["checked"]:
        return ""
    if not found["flagged"]:
        return ", none looks unlike real parts"
    return (
        f", {found['flagged']} flagged (they look unlike real parts: {run.paths.relative(Path(found['csv']))}); "
        "they are used anyway, and go first where synthetic rows are too many"
    )


def facts(home: Path) -> dict[str, Any]:
    """How many pairs were screened and flagged, and for what."""
    csv = home / NAME / "realism.csv"
    if not csv.is_file():
        return {"csv": None, "checked": 0, "flagged": 0, "by_flag": {}}
    table = parse_csv(csv)
    flags = Counter(flag for text in table["flags"] for flag in text.split("; ") if flag)
    flagged = int((table["flags"] != "").sum())
    return {"csv": str(csv), "checked": len(table), "flagged": flagged, "by_flag": dict(sorted(flags.items()))}
