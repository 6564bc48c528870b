"""Tables as spreadsheets write them: what differs from the CSV that TAO reads, by cause, and the rows without it.

Only looked at where the plain reading fails. Standard library only.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.names import PASS, means_good
from deft_aoi.base.safe_paths import shown

#: Every column that a table of ours may name; two of them make a header.
KNOWN = (
    "input_path", "golden_path", "label", "object_name", "project", "boardname", "comp_type_2", "mpass_mfail",
    "is_valid", "comp_name", "part_type", "number_of_pins", "description", "comp_type_1",
    "siamese_score", "light", "filepath", "image_path", "image", "golden", "board",
)  # fmt: skip
_PATHS = ("input_path", "golden_path", "filepath", "image_path", "image", "golden")
_SEPARATORS = {",": "a comma", ";": "semicolons", "\t": "tabs", "|": "bars", "，": "full-width commas"}
_MAGIC = {
    b"PK\x03\x04": "an Excel or LibreOffice workbook", b"\xd0\xcf\x11\xe0": "an old Excel workbook", b"PAR1": "Parquet",
    b"%PDF": "a PDF", b"<html": "a web page", b"<!DOC": "a web page", b"<?xml": "XML",
}  # fmt: skip
_ENCODINGS = (
    "cp1252",
    "cp932",
    "gb18030",
    "euc_jp",
    "euc_kr",
    "big5",
    "cp1251",
)  # of spreadsheets, as people have them
_HEADER_WITHIN = 20  # lines in which a header is looked for
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_FORMULA = re.compile(r'="(.*)"')
_INVISIBLE = "\ufeff\u200b\u200e\u200f"


@dataclass
class Sheet:
    """A table read with all that people's programs do to it.

    `causes`: what keeps TAO from reading the file, each in words; `notes`: cells that would be changed besides;
    `trouble`: why the rows cannot be determined without a person, None where they can.
    """

    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    trouble: str | None = None


def refuse_sheet(path: Path) -> None:
    """Raise InputError with the one cause and the one remedy where `path` is a spreadsheet's table."""
    if (text := sheet_words(path)) is not None:
        raise InputError(f"{path}: {text}")


def sheet_words(path: Path) -> str | None:
    """Cause and remedy for a file that is no plain CSV; None where it is one, or no table that is known here."""
    sheet = read_dialect(path)
    if sheet is None or (not sheet.causes and sheet.trouble is None):
        return None
    causes = "; ".join(sheet.causes)
    if sheet.trouble is not None:
        return f"{causes}; {sheet.trouble}" if causes else sheet.trouble
    return f"{causes}; TAO would not read it so: deft fix-csv {path} --accept rewrites it and keeps the original"


def read_dialect(path: Path, encoding: str | None = None) -> Sheet | None:
    """The table of a file; None where no header with two known columns is found. Raises OSError."""
    data, sheet = path.read_bytes(), Sheet()
    kind = next((words for magic, words in _MAGIC.items() if data[: len(magic)].lower() == magic.lower()), None)
    if kind is not None:
        return Sheet(trouble=f"this is {kind}, no CSV; save it as CSV UTF-8 (comma delimited)")
    text = _text(data, encoding, sheet)
    if sheet.trouble is not None:
        return sheet
    records = _records(text, sheet)
    if records is None:
        return None
    _take(records, sheet)
    return sheet


def _text(data: bytes, encoding: str | None, sheet: Sheet) -> str:
    wide = _wide(data)
    if wide is not None:
        sheet.causes.append(f"{wide.upper()} text; expected UTF-8")
        return data.decode(wide, "replace").lstrip("\ufeff")
    lines = data.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True)
    odd = [number for number, line in enumerate(lines) if not _decodes(line, "utf-8")]
    if not odd:
        return b"".join(lines).decode("utf-8")
    where = ", ".join(str(number + 1) for number in odd[:3]) + (", ..." if len(odd) > 3 else "")
    mixed = any(not line.isascii() for number, line in enumerate(lines) if number not in set(odd))
    cause = f"{len(odd)} lines are not UTF-8 (line {where})" + (
        ", others are: two encodings in one file" if mixed else ""
    )
    sheet.causes.append(cause)
    if encoding is None:
        sheet.trouble = _ask_encoding([lines[number] for number in odd])
        return ""
    return "".join(_decoded(line, encoding, number in set(odd)) for number, line in enumerate(lines))


def _decoded(line: bytes, encoding: str, odd: bool) -> str:
    try:
        return line.decode(encoding if odd else "utf-8")
    except (UnicodeDecodeError, LookupError) as error:
        raise InputError(f"--encoding {encoding}: {error}; expected one of {', '.join(_ENCODINGS)}") from None


def _wide(data: bytes) -> str | None:
    """The encoding of text of two or four bytes a letter."""
    for mark, name in (
        (b"\xff\xfe\0\0", "utf-32"),
        (b"\0\0\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            return name
    start = data[:400]
    if start.count(0) * 4 < len(start) or not start:
        return None
    return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _ask_encoding(lines: Sequence[bytes]) -> str:
    """What to type, with what each possible encoding would make of the first word that tells them apart."""
    word = next(word for word in re.split(rb'[,;\t|"\r\n]', lines[0]) if not _decodes(word, "utf-8"))
    offers = [
        f"{name} reads {shown(word.decode(name))}" for name in _ENCODINGS if all(_decodes(one, name) for one in lines)
    ]
    name = offers[0].partition(" ")[0] if offers else "NAME"
    return f"say which encoding it is ({'; '.join(offers[:4])}): deft fix-csv CSV --encoding {name} --accept"


def _records(text: str, sheet: Sheet) -> list[tuple[int, list[str]]] | None:
    """(line, cells) of the header and of every record below it; None without a header."""
    lines = text.splitlines(keepends=True)
    separator, at, quoted = _header(lines)
    if separator is None:
        return None
    if separator != ",":
        sheet.causes.append(f"cells are separated by {_SEPARATORS[separator]}; expected commas")
    if quoted:
        sheet.causes.append("each line is one quoted cell")
        lines = [cells[0] + "\n" if (cells := next(csv.reader([line]), [])) else line for line in lines]
    above = [line for line in lines[:at] if line.strip()]
    if above:
        sheet.causes.append(f"{len(above)} lines stand above the header: {shown(above[0].strip())}")
    body = "".join(lines[at:])
    late = re.search(re.escape(separator) + r'[ \t]+"', body) is not None
    if late:
        sheet.causes.append("blanks before quoted cells")
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator, skipinitialspace=late)
    try:
        return [(at + reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        sheet.trouble = f"line {at + reader.line_num}: {error}"
        return []


def _header(lines: Sequence[str]) -> tuple[str | None, int, bool]:
    """(separator, place, whether each line is one quoted cell) of the line with the most known columns."""
    best: tuple[int, str | None, int, bool] = (1, None, 0, False)
    for place, line in enumerate(lines[:_HEADER_WITHIN]):
        for quoted in (False, True):
            bare = next(csv.reader([line]), [""]) if quoted else [line]
            if quoted and (len(bare) != 1 or not line.startswith('"')):
                continue
            for separator in _SEPARATORS:
                found = len({_name(cell) for cell in next(csv.reader(bare, delimiter=separator), [])} & set(KNOWN))
                if found > best[0]:
                    best = (found, separator, place, quoted)
    return best[1:]


def _name(cell: str) -> str:
    """A column's name without blanks, quotes, capitals, and with underscores where people write something else."""
    return re.sub(r"[\s\-.]+", "_", cell.strip().strip(_INVISIBLE).strip("\"'“”„").strip().casefold())


def _take(records: Sequence[tuple[int, list[str]]], sheet: Sheet) -> None:
    """Header and rows of the records, with what had to be changed."""
    if not records:
        return
    raw = [cell.strip(_INVISIBLE) for cell in records[0][1]]
    while raw and not raw[-1].strip() and all(not "".join(cells[len(raw) - 1 :]).strip() for _, cells in records[1:]):
        raw.pop()
    if len(raw) < len(records[0][1]):
        sheet.notes.append(f"{len(records[0][1]) - len(raw)} empty columns at the end")
    sheet.header = [_name(cell) if _name(cell) in KNOWN else cell.strip() for cell in raw]
    odd = [cell for cell, name in zip(raw, sheet.header, strict=True) if cell != name]
    if odd:
        sheet.causes.append(
            f"the header has {', '.join(shown(cell) for cell in odd[:3])}; expected {_name(odd[0])} and the like"
        )
    empty, blank, formulas, surplus = [], 0, 0, []
    for line, cells in records[1:]:
        if not any(cell.strip() for cell in cells):
            empty += [line] if len(cells) > 1 else []
            continue
        clean = [cell.strip().strip(_INVISIBLE) for cell in cells]
        blank += clean != cells
        formulas += any(_FORMULA.fullmatch(cell) for cell in clean)
        clean = [match[1] if (match := _FORMULA.fullmatch(cell)) else cell for cell in clean]
        width = len(sheet.header)
        surplus += [line] if len(clean) > width else []
        if any(clean[width:]) and sheet.trouble is None:
            sheet.trouble = _too_many(line, clean, width, sheet.header)
        sheet.rows.append([*clean[:width], *[""] * (width - len(clean))])
    if sheet.trouble is not None:
        return
    if surplus:
        sheet.causes.append(f"{len(surplus)} rows have more cells than the header ({_where(surplus)})")
    if empty:
        sheet.causes.append(f"{len(empty)} empty rows ({_where(empty)})")
    if blank:
        sheet.causes.append(f"blanks around cells in {blank} rows")
    if formulas:
        sheet.causes.append(f'formulas like ="001" in {formulas} rows')
    _cells(sheet)


def _too_many(line: int, cells: Sequence[str], width: int, header: Sequence[str]) -> str:
    what = f"line {line} has {len(cells)} cells, the header {width}"
    if any("score" in name for name in header) and cells[-1].isdigit() and re.fullmatch(r"[+-]?\d+", cells[-2]):
        return f"{what}: a decimal comma cannot be distinguished from a separator; use decimal points or semicolons"
    return f"{what}: more cells than the header; quote cells that hold a comma"


def _cells(sheet: Sheet) -> None:
    """Decimal commas, back-slashes and words for a good part, column by column."""
    for place, name in enumerate(sheet.header):
        column = [row[place] for row in sheet.rows]
        filled = [cell for cell in column if cell]
        if "score" in name and any(_DECIMAL_COMMA.fullmatch(cell) for cell in filled):
            _change(
                sheet, place, [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in column]
            )
            sheet.causes.append(f"decimal commas in {name}")
        if name in _PATHS and (count := sum("\\" in cell for cell in column)):
            _change(sheet, place, [cell.replace("\\", "/") for cell in column])
            sheet.notes.append(f"back-slashes in {name} ({count} rows)")
        if name == "label":
            words = {cell for cell in filled if cell != PASS and means_good(cell)}
            if words:
                count = sum(cell in words for cell in column)
                _change(sheet, place, [PASS if cell in words else cell for cell in column])
                sheet.notes.append(f"{', '.join(map(shown, sorted(words)))} for PASS ({count} rows)")


def _change(sheet: Sheet, place: int, column: Iterable[str]) -> None:
    for row, cell in zip(sheet.rows, column, strict=True):
        row[place] = cell


def _where(lines: Sequence[int]) -> str:
    shown_lines = ", ".join(map(str, lines[:5])) + (", ..." if len(lines) > 5 else "")
    return f"line{'s' if len(lines) > 1 else ''} {shown_lines}"


def plain_csv(sheet: Sheet) -> str:
    """The table as TAO reads it: commas, quotes where needed, LF."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(sheet.header)
    writer.writerows(sheet.rows)
    return stream.getvalue()


def changes(sheet: Sheet) -> Iterator[str]:
    """Everything that :func:`plain_csv` does not take over as it was."""
    yield from sheet.causes
    yield from sheet.notes
