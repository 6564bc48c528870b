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
    found = [Finding(number, BLOCK, f"{csv}, {problem}") for problem in problems]
    if number_like(rows, "boardname"):
        text = (
            f"{csv.name}: boardname is all digits; TAO's inference.csv drops leading zeros, so rows go by their order"
        )
        found.append(Finding(number, NOTE, text))
    return found


def blank_problems(rows: pd.DataFrame) -> Iterator[str]:
    """A path with a blank at either end names a folder that is not there."""
    for column in (name for name in PATHS if name in rows.columns):
        blank = rows[column] != rows[column].str.strip()
        if blank.any():
            yield (
                f"line {_line(blank)}: {column} {rows[column][blank].iloc[0]!r} begins or ends with a blank, which TAO "
                f"takes as part of the name; remove it ({int(blank.sum())} such rows)"
            )


def label_problems(rows: pd.DataFrame) -> Iterator[str]:
    """TAO takes every label but PASS as a defect, so a flag that means good would be one."""
    flag = rows["label"].str.strip().str.lower().isin(FLAGS)
    if flag.any():
        yield (
            f"line {_line(flag)}: label {rows['label'][flag].iloc[0]!r} is a defect for TAO; write exactly PASS or the "
            f"defect's name ({int(flag.sum())} such rows)"
        )


def reading_problems(table: Table, columns: Sequence[str], *, empty_too: bool) -> Iterator[str]:
    """Cells that pandas, asked as TAO asks it, takes for numbers or for missing."""
    rows = table.rows
    columns = [name for name in columns if name in rows.columns]
    seen = table.as_tao(columns)
    for column in columns:
        pairs = zip(seen[column], rows[column], strict=True)
        other = pd.Series([value != text and (empty_too or text != "") for value, text in pairs])
        if other.any():
            at = int(other.to_numpy().argmax())
            yield (
                f"line {at + 2}: {column} {rows[column].iloc[at]!r} is {seen[column].iloc[at]} for TAO, not text; "
                f"give it a name with a letter ({int(other.sum())} such rows)"
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


def _line(flags: pd.Series) -> int:
    return int(flags.to_numpy().argmax()) + 2
