"""What TAO would trip over in the rows of a CSV, and images that are not there, every kind of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from deft_aoi.base.csv_text import line_of
from deft_aoi.base.finding import BLOCK, NOTE, Finding
from deft_aoi.base.rows import image_problems, label_problems, reading_problems
from deft_aoi.base.safe_paths import check_cells
from deft_aoi.data.sets import POOL
from deft_aoi.preflight.inputs import Table
from deft_aoi.spec.tree import Optics

PATHS = ("input_path", "golden_path", "object_name")


def row_findings(table: Table, number: int) -> list[Finding]:
    """Blanks, labels that are flags, and cells that TAO does not read as the text that the file holds.

    The loop rewrites a pool's rows before TAO sees them: paths stripped, absent labels and names filled in.
    """
    csv, rows, pool = table.csv, table.rows, table.name == POOL
    columns = ("object_name", "label") if pool else (*PATHS, "label")
    seen = table.as_tao([name for name in columns if name in rows.columns])
    problems = [*label_problems(rows, csv, unlabelled=pool), *reading_problems(csv, rows, seen, empty_too=not pool)]
    if not pool:
        problems = [*blank_problems(csv, rows), *problems]
    found = [Finding(number, BLOCK, problem) for problem in problems]
    if number_like(rows, "boardname"):
        text = "boardname is all digits; TAO's inference.csv drops leading zeros, so rows go by their order"
        found.append(Finding(number, NOTE, text, where=csv.name))
    return found


def blank_problems(csv: Path, rows: pd.DataFrame) -> Iterator[str]:
    """A path with a blank at either end names a folder that is not there."""
    for column in (name for name in PATHS if name in rows.columns):
        blank = rows[column] != rows[column].str.strip()
        if blank.any():
            row = int(blank.to_numpy().argmax())
            yield (
                f"{csv}, line {line_of(csv, row)}: {column} {rows[column].iloc[row]!r} begins or ends with a blank, "
                f"which TAO takes as part of the name; remove it ({int(blank.sum())} such rows)"
            )


def number_like(rows: pd.DataFrame, column: str) -> bool:
    return column in rows.columns and bool(rows[column].str.fullmatch(r"\d+").all())


def image_findings(
    csv: Path, rows: pd.DataFrame, images: Path, optics: Optics, root: Path, number: int
) -> list[Finding]:
    """Images of any light that are missing or lead out of `root` (the workspace), all kinds of it at once."""
    check_cells(rows, csv, images, root)
    problems = image_problems(rows, csv, images, optics.lights, optics.ext, root)
    return [Finding(number, BLOCK, problem) for problem in problems]
