"""ChangeNet CSV rows, labels and image paths: the contract of every table that the loop reads or writes."""

from __future__ import annotations

import csv as csv_module
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write
from deft_aoi.base.names import label_problem
from deft_aoi.base.paths import image_root
from deft_aoi.base.pool_paths import PoolFolders, first_filled, from_folder
from deft_aoi.base.safe_paths import check_cells, check_files, inside, printable, shown

PASS = "PASS"
COLUMNS = (
    "input_path", "golden_path", "label", "object_name", "project", "boardname", "comp_type_2",
    "mpass_mfail", "is_valid", "comp_name", "part_type", "number_of_pins", "description", "comp_type_1",
)  # fmt: skip
REQUIRED = COLUMNS[:4]
POOL_REQUIRED = ("golden_path", "label")  # and one of pool_paths.NAMES
IDENTITY = ("input_path", "golden_path", "object_name")
LEAK_KEYS = ("input_path", "golden_path", "label", "object_name", "boardname")
SCORE = "siamese_score"
MAX_CSV_BYTES = 1 << 30
MAX_CELL = 32_767  # characters, as in a spreadsheet's cell
_SHOWN_COLUMNS = 20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def normalise_label(label: str) -> str:
    """`PASS` stays as it is; every other label is stripped and lower-cased."""
    return PASS if label == PASS else label.strip().lower()


def is_defect(labels: pd.Series) -> pd.Series:
    """Boolean column: true where the label is anything but `PASS`."""
    return labels != PASS


def read_rows(path: Path, *, required: Sequence[str] = REQUIRED, content: bytes | None = None) -> pd.DataFrame:
    """Read a CSV with every cell as text (leading zeros and the word NA survive); `content` where it is known.

    Raises InputError when the file is absent, unreadable, lacks a required column or has no rows.
    """
    if content is None and not path.is_file():
        raise InputError(f"{path}: no such CSV; expected columns {', '.join(required)}")
    rows = parse_csv(path, content)
    missing = [name for name in required if name not in rows.columns]
    if missing:
        found = ", ".join(str(name)[:40] for name in rows.columns[:_SHOWN_COLUMNS])
        raise InputError(f"{path}: column {', '.join(missing)} missing; found {printable(found)}")
    if rows.empty:
        raise InputError(f"{path}: no rows below the header")
    _check_cell_sizes(rows, path)
    return rows


def csv_bytes(path: Path) -> bytes:
    """The bytes of a CSV that is there. Raises InputError where they are too many."""
    _check_size(path)
    return path.read_bytes()


def _check_size(path: Path) -> None:
    if (size := path.stat().st_size) > MAX_CSV_BYTES:
        raise InputError(f"{path}: {size:,} bytes; expected at most {MAX_CSV_BYTES:,}")


def parse_csv(path: Path, content: bytes | None = None, **options: Any) -> pd.DataFrame:
    """A CSV of UTF-8 text (BOM, CRLF and quotes welcome) with every cell as text; `content` where it is known,
    `options` go to pandas.

    Raises InputError where it is no such file: other encodings, unclosed quotes, surplus cells, a header twice.
    """
    if content is None:
        _check_size(path)
    source = path if content is None else io.BytesIO(content)
    try:
        rows = pd.read_csv(source, dtype=str, keep_default_na=False, encoding="utf-8-sig", **options)
    except (ValueError, OverflowError, csv_module.Error) as error:  # pandas' own errors and UnicodeDecodeError too
        said = printable(" ".join(str(error).split())[:200])
        raise InputError(f"{path}: not a readable UTF-8 CSV ({said}); save it as CSV UTF-8") from error
    if not isinstance(rows.index, pd.RangeIndex):  # pandas takes a surplus first cell as row name and shifts the rest
        raise InputError(f"{path}: rows have more cells than the header; quote cells that hold a comma")
    twice = sorted(name for name in COLUMNS if f"{name}.1" in rows.columns and name in rows.columns)
    if twice:
        raise InputError(f"{path}: column {twice[0]} stands twice in the header; which one counts?")
    return rows


def parse_as_tao(path: Path, content: bytes, columns: Sequence[str]) -> pd.DataFrame:
    """Columns with the types that pandas guesses, as TAO's loader asks it; for a file that :func:`read_rows` took."""
    source = io.BytesIO(content)
    try:
        return pd.read_csv(
            source, dtype={"object_name": str}, usecols=list(columns), encoding="utf-8-sig", low_memory=False
        )
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}: pandas cannot read it ({printable(str(error))[:200]})") from error


def _check_cell_sizes(rows: pd.DataFrame, path: Path) -> None:
    for name in rows.columns:
        lengths = [len(cell) for cell in rows[name].tolist()]
        if lengths and max(lengths) > MAX_CELL:
            row = lengths.index(max(lengths))
            raise InputError(
                f"{path}, line {row + 2}: {printable(str(name)[:40])} has {lengths[row]:,} characters; "
                f"expected at most {MAX_CELL:,}"
            )


def read_parquet(path: Path, columns: Mapping[str, str], *, only: bool = False) -> pd.DataFrame:
    """A Parquet file with at least `columns` (name to kind: text, number or vector); `only` reads no others.

    Raises InputError where it is no Parquet file, lacks a column or holds another kind of value.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such Parquet file; expected columns {', '.join(columns)}")
    try:
        rows = pd.read_parquet(path, columns=list(columns) if only else None)
    except Exception as error:  # Arrow has a dozen kinds of errors for a damaged file
        said = printable(" ".join(str(error).split())[:200])
        raise InputError(f"{path}: not a readable Parquet file ({type(error).__name__}: {said})") from error
    for name, kind in columns.items():
        if name not in rows.columns:
            raise InputError(
                f"{path}: column {name} missing; found {printable(', '.join(map(str, rows.columns))[:200])}"
            )
        if not all(_KINDS[kind](value) for value in rows[name].tolist()):
            raise InputError(f"{path}: column {name} holds values of another kind; expected {kind}")
    return rows


def _is_vector(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"


_KINDS: dict[str, Callable[[object], bool]] = {
    "text": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "vector": _is_vector,
}


def scores_of(csv: Path, column: pd.Series) -> pd.Series:
    """A column of text as float64. Raises InputError with the line of the first that is no finite number."""
    scores = pd.to_numeric(column, errors="coerce").astype(float)
    bad = ~np.isfinite(scores.to_numpy())
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"{csv}, line {row + 2}: {column.name} is {shown(column.iloc[row])}; expected a number. Run the inference "
            "again"
        )
    return scores


def write_sheet(path: Path, rows: pd.DataFrame) -> None:
    """Write a CSV that people open in a spreadsheet: text that it would take for a formula (=, +, -, @ or a tab first)
    gets an apostrophe in front, which :func:`read_sheet` takes away. The contract's CSVs keep every value as it is."""
    write_rows(path, rows.map(lambda cell: f"'{cell}" if _is_formula(cell) else cell))


def read_sheet(path: Path) -> pd.DataFrame:
    """The rows that :func:`write_sheet` wrote, every cell as text, after a person may have changed some."""
    rows = parse_csv(path)
    _check_cell_sizes(rows, path)
    return rows.map(lambda cell: cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell)


def _is_formula(cell: Any) -> bool:
    bare = cell.lstrip("' ") if isinstance(cell, str) else ""
    return bare.startswith(("=", "+", "-", "@", "\t", "\r")) and _NUMBER.fullmatch(bare) is None


def pad_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """The 14 contract columns first, absent ones as empty text, then any extra columns in their order."""
    padded = rows.copy()
    for name in COLUMNS:
        if name not in padded.columns:
            padded[name] = ""
    extra = [name for name in padded.columns if name not in COLUMNS]
    return padded[[*COLUMNS, *extra]]


def write_rows(path: Path, rows: pd.DataFrame) -> None:
    """Write a CSV atomically (UTF-8, LF, quoted where needed)."""
    # The writer quotes LF and not CR, which every reader takes for the end of a row: then all cells are quoted.
    returns = any("\r" in cell for name in rows.columns for cell in rows[name].tolist() if isinstance(cell, str))
    quoting: Literal[0, 1] = csv_module.QUOTE_ALL if returns else csv_module.QUOTE_MINIMAL
    atomic_write(path, lambda stream: rows.to_csv(stream, index=False, lineterminator="\n", quoting=quoting))


def write_parquet(path: Path, rows: pd.DataFrame) -> None:
    """Write a Parquet file atomically."""
    atomic_write(path, lambda stream: rows.to_parquet(stream, index=False))


def image_path(images_dir: Path, folder: str, object_name: str, light: str, ext: str) -> Path:
    """`{images_dir}/{folder}/{object_name}_{light}{ext}`."""
    return images_dir / folder / f"{object_name}_{light}{ext}"


def image_paths(rows: pd.DataFrame, column: str, images_dir: Path, light: str, ext: str) -> list[str]:
    """Image file per row for `input_path` or `golden_path`, as text (fast enough for 100,000 rows)."""
    root = str(images_dir)
    pairs = zip(rows[column], rows["object_name"], strict=True)
    return [f"{root}/{folder}/{name}_{light}{ext}" for folder, name in pairs]


def check_labels(rows: pd.DataFrame, path: Path, *, unlabelled: bool = False) -> None:
    """Refuse empty labels (unless rows may be `unlabelled`) and every spelling of PASS that TAO reads as a defect."""
    labels = rows["label"]
    if unlabelled:
        labels = labels[labels.str.strip() != ""]
    stripped = labels.str.strip()
    odd = (stripped == "") | ((stripped.str.upper() == PASS) & (labels != PASS))
    if odd.any():
        row = int(labels.index[odd.to_numpy()][0])
        raise InputError(
            f"{path}, line {row + 2}: label {shown(labels[row])}; TAO reads everything but 'PASS' as a defect, "
            f"so write exactly PASS or the defect's name ({int(odd.sum())} such rows)"
        )
    bad = {label: problem for label in labels.unique() if (problem := label_problem(label)) is not None}
    if bad:
        row = int(labels.index[labels.isin(bad).to_numpy()][0])
        raise InputError(f"{path}, line {row + 2}: label {shown(labels[row])}: {bad[labels[row]]}")


def check_repeats(csv: Path, rows: pd.DataFrame) -> None:
    """Refuse a table that judges and names a part twice: it would count twice."""
    if not set(IDENTITY) <= set(rows.columns):
        return
    repeated = rows.duplicated(list(IDENTITY)).to_numpy()
    if repeated.any():
        row = int(repeated.argmax())
        same = (rows[list(IDENTITY)] == rows.iloc[row][list(IDENTITY)]).all(axis=1).to_numpy()
        raise InputError(
            f"{csv}, line {row + 2}: same input_path, golden_path and object_name as line {int(same.argmax()) + 2} "
            f"({int(repeated.sum())} repeated rows); each would count twice, so remove them"
        )


def check_images(
    rows: pd.DataFrame, path: Path, images_dir: Path, lights: Iterable[str], ext: str, *, root: Path | None = None
) -> None:
    """Refuse a table that names an image which is not there or lies outside `root` (the workspace, resolved; default:
    the images folder): one look-up for each distinct file."""
    home = (root or images_dir).resolve()
    check_cells(rows, path, images_dir, home)
    for problem in image_problems(rows, path, images_dir, lights, ext, home):
        raise InputError(problem)


def image_problems(
    rows: pd.DataFrame, path: Path, images_dir: Path, lights: Iterable[str], ext: str, home: Path
) -> Iterator[str]:
    """What :func:`check_images` refuses of the files, one line for each column and light."""
    lights = list(lights)
    for column in ("input_path", "golden_path"):
        for light in lights:
            files = image_paths(rows, column, images_dir, light, ext)
            absent, outside = check_files(set(files), home)
            if outside:
                row = next(i for i, name in enumerate(files) if name in outside)
                yield (
                    f"{path}, line {row + 2}: image {files[row]} is a link that leads out of {home} ({len(outside)} "
                    "such files); copy the image inside"
                )
            if absent:
                row = next(i for i, name in enumerate(files) if name in absent)
                yield (
                    f"{path}, line {row + 2}: image {files[row]} is missing ({len(absent)} files of {column} "
                    f"and light {light}); expected <images_dir>/<{column}>/<object_name>_{light}{ext}"
                )


def read_pool(csv: Path, root: Path, lights: Sequence[str], ext: str) -> pd.DataFrame:
    """Rows of a mining pool as :func:`pool_rows` gives them."""
    return pool_rows(read_rows(csv, required=POOL_REQUIRED), csv, root, lights, ext)


def pool_rows(rows: pd.DataFrame, csv: Path, root: Path, lights: Sequence[str], ext: str) -> pd.DataFrame:
    """Rows of a mining pool with paths relative to `root` (the workspace) and labels normalised.

    The image is named by the first of filepath, input_path, image_path that is filled, as a folder or as a file
    (`images/R821@1_SolderLight.jpg`: cut to its folder, `object_name` derived from it where it is empty), absolute, or
    from the CSV's own folder or the images folder on; a label may be empty. Raises InputError where two files fit.
    """
    rows = rows.assign(input_path=first_filled(rows, csv))
    rows = pad_columns(rows)
    home = root.resolve()
    prefix = inside(home, csv.parent.resolve(), str(csv)).relative_to(home).as_posix()
    check_labels(rows, csv, unlabelled=True)
    tails = tuple(f"_{light}{ext}" for light in lights)
    split = [split_image_path(value, tails) for value in rows["input_path"]]
    rows["object_name"] = [name or derived for name, (_, derived) in zip(rows["object_name"], split, strict=True)]
    rows["input_path"] = [folder for folder, _ in split]
    rows["golden_path"] = [split_image_path(value, tails)[0] for value in rows["golden_path"]]
    for column in ("input_path", "golden_path"):
        rows[column] = [from_folder(folder, home / prefix, home) for folder in rows[column]]
    check_cells(rows, csv, csv.parent, home)
    folders = PoolFolders(csv, home / prefix, image_root(home), tails[0], home)
    for column in ("input_path", "golden_path"):
        named = zip(rows[column], rows["object_name"], strict=True)
        rows[column] = [folders.folder(value, name, line, column) for line, (value, name) in enumerate(named, start=2)]
    rows["label"] = rows["label"].map(normalise_label)
    unnamed = rows["object_name"] == ""
    if unnamed.any():
        raise InputError(f"{csv}, line {int(unnamed.to_numpy().argmax()) + 2}: object_name is empty and not derivable")
    return rows


def split_image_path(value: str, tails: Sequence[str]) -> tuple[str, str]:
    """(folder, object_name) of a file-style path; (value, '') when it already is a folder."""
    value = value.strip().rstrip("/")
    folder, _, name = value.rpartition("/")
    for tail in tails:
        if name.endswith(tail):
            return folder, name[: -len(tail)]
    return value, ""
