"""Read a scored CSV: labels, scores and groups as arrays, every suspect row refused with its line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deft_aoi.base import csv_text
from deft_aoi.base.csv_dialect import refuse_sheet
from deft_aoi.base.errors import InputError
from deft_aoi.base.names import means_good, names_nothing
from deft_aoi.base.rows import IDENTITY, PASS, SCORE, read_columns

BOARD, LIGHT = "boardname", "light"
COMPONENT_COLUMNS = ("comp_type_1", "comp_type_2", "part_type")  # the first that tells components apart
_SHOWN = 5


@dataclass(frozen=True)
class Groups:
    """Rows by the value of one column: `code` (n,) indexes `names`."""

    column: str
    code: NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Scored:
    """A scored CSV: `label` (n,) text, `defect` (n,) bool, `score` (n,) float64, all in row order.

    `table` holds the text columns that were read: label, identity and those that group rows.
    """

    csv: Path
    label: NDArray[np.object_]
    defect: NDArray[np.bool_]
    score: NDArray[np.float64]
    table: pa.Table

    @cached_property
    def plain(self) -> bool:
        """True where each row is one line: no cell holds a line break."""
        with open(self.csv, "rb") as stream:
            breaks = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 22), b""))
        return breaks <= self.score.size + 1

    def line(self, row: int) -> int:
        """Line of the CSV at which a row ends; the header is line 1."""
        return row + 2 if self.plain else _line(self.csv, row)

    def groups(self, column: str) -> Groups | None:
        """Rows by a column; None where it is absent or empty everywhere."""
        if column not in self.table.column_names:
            return None
        code, names = _encoded(self.table[column])
        return Groups(column, code, names) if any(name.strip() for name in names) else None

    @property
    def boards(self) -> Groups | None:
        """Rows by board; None with fewer than two boards."""
        found = self.groups(BOARD)
        return found if found is not None and len(found.names) > 1 else None

    @property
    def components(self) -> Groups | None:
        """Rows by the first component column that holds more than one type."""
        found = (self.groups(column) for column in COMPONENT_COLUMNS)
        return next((groups for groups in found if groups is not None and len(groups.names) > 1), None)


def read_scored(
    path: Path, *, label_column: str = "label", score_column: str = SCORE, pass_label: str = PASS
) -> Scored:
    """Read labels and scores of a CSV.

    Raises InputError with line numbers for a missing column, a row with too few or too many cells, an
    empty or misspelt label, a score that is no finite number, and a row that repeats another (same input, golden,
    object name and light: it would count twice).
    """
    table = _read(path, (label_column, score_column))
    if table.num_rows == 0:
        raise InputError(f"{path}: no rows below the header")
    label_code, labels = _encoded(table[label_column])
    _check_labels(path, label_code, labels, pass_label)
    score = _scores(path, table[score_column], score_column)
    _check_repeats(path, table)
    names = np.asarray(labels, dtype=object)
    defect = np.asarray([name != pass_label for name in labels], dtype=bool)[label_code]
    return Scored(path, names[label_code], defect, score, table.drop_columns([score_column]))


def _read(path: Path, needed: Sequence[str]) -> pa.Table:
    if not path.is_file():
        raise InputError(f"{path}: no such CSV; expected columns {' and '.join(needed)}")
    try:
        header = csv_text.header(path)
    except (UnicodeDecodeError, csv_text.Error) as error:
        refuse_sheet(path)
        raise InputError(f"{path}: not a readable UTF-8 CSV ({error})") from error
    for name in needed:
        if name not in header:
            refuse_sheet(path)
            raise InputError(f"{path}: column {name} missing; name it with --label-column or --score-column")
    wanted = dict.fromkeys([*needed, *IDENTITY, BOARD, LIGHT, *COMPONENT_COLUMNS])
    columns = [name for name in wanted if name in header]
    try:
        return read_columns(path, columns)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        refuse_sheet(path)
        raise InputError(f"{path}{_bad_shape(path, len(header)) or f': not a readable UTF-8 CSV ({error})'}") from error


def _bad_shape(path: Path, width: int) -> str | None:
    """Which line has the wrong number of cells; None where all are right."""
    try:
        for line, cells in csv_text.numbered(path, empty_too=True):
            if len(cells) != width:
                what = f"{len(cells)} cells, the header has {width}"
                more = "; more cells than the header: quote cells that hold a comma" if len(cells) > width else ""
                return f", line {line}: {what}{more}"
    except (UnicodeDecodeError, csv_text.Error):
        return None
    return None


def _encoded(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """(code of each row, distinct values in the order of their first row)."""
    encoded = column.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), tuple(encoded.dictionary.to_pylist())


def _check_labels(path: Path, code: NDArray[np.int64], labels: Sequence[str], pass_label: str) -> None:
    good = [name != pass_label and means_good(name) for name in labels]
    bad = [mine or not name.strip() or names_nothing(name) for name, mine in zip(labels, good, strict=True)]
    wrong = np.flatnonzero(np.asarray(bad, dtype=bool)[code])
    if wrong.size:
        which = int(code[wrong[0]])
        means = "; the word means a good part" if good[which] else ""
        other = f"; or pass --pass-label {labels[which]}" if good[which] and pass_label not in labels else ""
        raise InputError(
            f"{path}, {_lines(path, wrong)}: label {labels[which]!r}; expected exactly {pass_label} or the "
            f"name of the defect ({wrong.size} such rows), anything else would count as a defect{means}{other}"
        )


def _scores(path: Path, column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    try:
        score = pc.cast(column, pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        wrong = np.array([row for row, text in enumerate(column.to_pylist()) if not _is_float(text)])
        if not wrong.size:  # blanks around numbers
            score = np.array([float(text) for text in column.to_pylist()])
        else:
            refuse_sheet(path)
            raise InputError(
                f"{path}, {_lines(path, wrong)}: {name} is {column[int(wrong[0])].as_py()!r}; expected a number. "
                "Run the inference again"
            ) from None
    wrong = np.flatnonzero(~np.isfinite(score))
    if wrong.size:
        raise InputError(
            f"{path}, {_lines(path, wrong)}: score {score[wrong[0]]} is not a finite number ({wrong.size} such rows); "
            "a row without a score would count as accepted. Run the inference again"
        )
    return np.asarray(score, dtype=np.float64)


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _check_repeats(path: Path, table: pa.Table) -> None:
    if not set(IDENTITY) <= set(table.column_names):
        return
    key = row_codes(table, [*IDENTITY, *([LIGHT] if LIGHT in table.column_names else [])])
    repeated = np.flatnonzero(pd.Series(key).duplicated().to_numpy())
    if repeated.size:
        first = int(np.flatnonzero(key == key[repeated[0]])[0])
        raise InputError(
            f"{path}, {_lines(path, repeated)}: same input_path, golden_path and object_name as "
            f"{_lines(path, np.array([first]))} ({repeated.size} repeated rows); each would count twice, so remove them"
        )


def row_codes(table: pa.Table, columns: Sequence[str]) -> NDArray[np.int64]:
    """One number for each distinct combination of the columns."""
    key = np.zeros(table.num_rows, dtype=np.int64)
    for name in columns:
        code, values = _encoded(table[name])
        key = pd.factorize(key * len(values) + code)[0].astype(np.int64)
    return key


def _lines(path: Path, rows: NDArray[np.int64]) -> str:
    """`line 3`, or `lines 3, 7, 9`: the first few."""
    found = ", ".join(str(_line(path, int(row))) for row in rows[:_SHOWN])
    tail = ", ..." if rows.size > _SHOWN else ""
    return f"line{'s' if rows.size > 1 else ''} {found}{tail}"


def _line(path: Path, row: int) -> int:
    """Line at which a row ends; an empty line is a row here."""
    lines = csv_text.numbered(path, empty_too=True)
    return next(line for place, (line, _) in enumerate(lines) if place == row + 1)
