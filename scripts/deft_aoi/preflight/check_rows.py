"""What TAO would trip over in the rows of a CSV, and images that are not there, every kind of it at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from deft_aoi.base.finding import BLOCK, NOTE, Finding
from deft_aoi.base.rows import image_problems
from deft_aoi.base.safe_paths import check_cells
from deft_aoi.data.sets import POOL
from deft_aoi.preflight.inputs import Table
from deft_aoi.spec.tree import Optics

PATHS = ("input_path", "golden_path", "object_name")
Problem = tuple[int, str, str, int]  # line of the first such row, what it has, what to do, number of such rows
FLAGS = ("0", "1", "true", "false", "nan", "none")


def row_findings(table: Table, number: int) -> list[Finding]:
    """Blanks, labels that are flags, and cells that TAO does not read as the text that the file holds.

    The loop rewrites a pool's rows before TAO sees them: paths stripped, absent labels and names filled in.
    """
    csv, rows, pool = table.csv, table.rows, table.name == POOL
    columns = ("object_name", "label") if pool else (*PATHS, "label")
    problems = [*label_problems(rows), *reading_problems(table, columns, empty_too=not pool)]
    if not pool:
        problems = [*blank_problems(rows), *problems]
    found = [
        Finding(number, BLOCK, what, where=f"{csv}, line {line}", next=f"{remedy} ({count} such rows)")
        for line, what, remedy, count in problems
    ]
    if number_like(rows, "boardname"):
        text = "boardname is all digits; TAO's inference.csv drops leading zeros, so rows go by their order"
        found.append(Finding(number, NOTE, text, where=csv.name))
    return found


def blank_problems(rows: pd.DataFrame) -> Iterator[Problem]:
    """A path with a blank at either end names a folder that is not there."""
    for column in (name for name in PATHS if name in rows.columns):
        blank = rows[column] != rows[column].str.strip()
        if blank.any():
            what = f"{column} {rows[column][blank].iloc[0]!r} begins or ends with a blank"
            yield _line(blank), f"{what}, which TAO takes as part of the name", "remove it", int(blank.sum())


def label_problems(rows: pd.DataFrame) -> Iterator[Problem]:
    """TAO takes every label but PASS as a defect, so a flag that means good would be one."""
    flag = rows["label"].str.strip().str.lower().isin(FLAGS)
    if flag.any():
        what = f"label {rows['label'][flag].iloc[0]!r} is a defect for TAO"
        yield _line(flag), what, "write exactly PASS or the defect's name", int(flag.sum())


def reading_problems(table: Table, columns: Sequence[str], *, empty_too: bool) -> Iterator[Problem]:
    """Cells that pandas, asked as TAO asks it, takes for numbers or for missing."""
    rows = table.rows
    columns = [name for name in columns if name in rows.columns]
    seen = table.as_tao(columns)
    for column in columns:
        pairs = zip(seen[column], rows[column], strict=True)
        other = pd.Series([value != text and (empty_too or text != "") for value, text in pairs])
        if other.any():
            at = int(other.to_numpy().argmax())
            what = f"{column} {rows[column].iloc[at]!r} is {seen[column].iloc[at]} for TAO, not text"
            yield at + 2, what, "give it a name with a letter", int(other.sum())


def number_like(rows: pd.DataFrame, column: str) -> bool:
    return column in rows.columns and bool(rows[column].str.fullmatch(r"\d+").all())


def image_findings(
    csv: Path, rows: pd.DataFrame, images: Path, optics: Optics, root: Path, number: int
) -> list[Finding]:
    """Images of any light that are missing or lead out of `root` (the workspace), all kinds of it at once."""
    check_cells(rows, csv, images, root)
    problems = image_problems(rows, csv, images, optics.lights, optics.ext, root)
    return [Finding(number, BLOCK, problem) for problem in problems]


def _line(flags: pd.Series) -> int:
    return int(flags.to_numpy().argmax()) + 2
