"""CSV files as text: the header, the records, and the line of the file at which a row is. Standard library only.

Every other reader of a CSV is in :mod:`deft_aoi.base.rows`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

Error = csv.Error


def header(path: Path) -> list[str]:
    """Cells of the first line that is not empty. Raises UnicodeDecodeError, :data:`Error` or OSError."""
    return next((cells for _, cells in numbered(path)), [])


def records(path: Path) -> list[dict[str, str]]:
    """Every row by the header's names; surplus cells are dropped, missing ones empty. Raises as :func:`header` does."""
    rows = (cells for _, cells in numbered(path))
    names = next(rows, [])
    return [dict(zip(names, [*cells, *[""] * (len(names) - len(cells))], strict=False)) for cells in rows]


def numbered(path: Path, *, empty_too: bool = False) -> Iterator[tuple[int, list[str]]]:
    """(line of the file, cells) of every record, the header among them; empty lines only where asked for."""
    with open(path, encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        for cells in reader:
            if empty_too or not _is_empty(cells):
                yield reader.line_num, cells


def _is_empty(cells: Sequence[str]) -> bool:
    """An empty line, or one of blanks, which pandas passes over too. A quoted empty cell is a record."""
    return not cells or (len(cells) == 1 and cells[0] != "" and not cells[0].strip())


def line_of(path: Path, row: int) -> int:
    """Line of the file at which data row `row` (from 0) ends, counted as an editor does; the header may be any line.

    Where the file cannot be read as it was, the row is counted below a header in line 1.
    """
    try:
        status = path.stat()
        lines = _lines(path, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError, Error):
        lines = ()
    return lines[row] if row < len(lines) else row + 2


@lru_cache(maxsize=16)
def _lines(path: Path, size: int, changed: int) -> Sequence[int]:
    lines = [line for line, _ in numbered(path)][1:]
    return range(2, 2 + len(lines)) if lines == list(range(2, 2 + len(lines))) else tuple(lines)
