"""ChangeNet CSV rows, labels and image paths: the contract of every table that the loop reads or writes."""

from __future__ import annotations

import csv as csv_module
import io
import itertools
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from deft_aoi.base.csv_dialect import refuse_sheet
from deft_aoi.base.csv_text import header, hold, line_of
from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write
from deft_aoi.base.names import PASS as PASS
from deft_aoi.base.names import label_problem, means_good, names_nothing
from deft_aoi.base.near_files import forget, near_image
from deft_aoi.base.paths import image_root
from deft_aoi.base.pool_paths import PoolFolders, first_filled, from_folder
from deft_aoi.base.safe_paths import check_cells, check_files, inside, printable, shown

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
_MOST = 0.5
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
    try:
        rows = parse_csv(path, content)
    except InputError:
        refuse_sheet(path)
        raise
    missing = [name for name in required if name not in rows.columns]
    if missing or _looks_like_a_sheet(rows, required):
        refuse_sheet(path)
    if missing:
        found = ", ".join(str(name)[:40] for name in rows.columns[:_SHOWN_COLUMNS])
        raise InputError(f"{path}: column {', '.join(missing)} missing; found {printable(found)}")
    if rows.empty:
        raise InputError(f"{path}: no rows below the header")
    _check_cell_sizes(rows, path)
    return rows


def _looks_like_a_sheet(rows: pd.DataFrame, required: Sequence[str]) -> bool:
    """Empty rows, or blanks around the cells of most rows: what a spreadsheet's export leaves."""
    some = rows[list(required)]
    if (some == "").all(axis=1).any():
        return True
    blank = np.logical_or.reduce([(some[name].str.strip() != some[name]).to_numpy() for name in some])
    return bool(blank.mean() > _MOST) if len(rows) else False


def csv_bytes(path: Path) -> bytes:
    """The bytes of a CSV that is there. Raises InputError where they are too many."""
    _check_size(path)
    content = path.read_bytes()
    hold(path, content)
    return content


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
        raise InputError(f"{path}: column {twice[0]} appears twice in the header; which one counts?")
    return rows


def read_columns(path: Path, columns: Sequence[str], *, numbers: Sequence[str] = (), absent: bool = False) -> pa.Table:
    """Some columns of a large CSV as text, `numbers` as float64; every line is a row, an empty one too.

    Raises pyarrow's ArrowInvalid or KeyError where the file has another shape; `absent` columns are then null instead.
    """
    from pyarrow import csv as arrow_csv

    types = dict.fromkeys(columns, pa.string()) | dict.fromkeys(numbers, pa.float64())
    convert = arrow_csv.ConvertOptions(
        include_columns=list(columns), include_missing_columns=absent, column_types=types, strings_can_be_null=False
    )
    parse = arrow_csv.ParseOptions(ignore_empty_lines=False, newlines_in_values=True)
    return arrow_csv.read_csv(path, parse_options=parse, convert_options=convert)


def read_some(path: Path, wanted: npt.NDArray[np.intp]) -> pd.DataFrame:
    """Some rows of a large CSV, every cell as text; read in blocks, so that the rest is never in memory."""
    from pyarrow import csv as arrow_csv

    convert = arrow_csv.ConvertOptions(column_types=dict.fromkeys(header(path), pa.string()), strings_can_be_null=False)
    found, start = [], 0
    with arrow_csv.open_csv(
        path, parse_options=arrow_csv.ParseOptions(newlines_in_values=True), convert_options=convert
    ) as reader:
        for batch in reader:
            mine = wanted[(wanted >= start) & (wanted < start + batch.num_rows)] - start
            found.append(batch.take(pa.array(mine)))
            start += batch.num_rows
    return pa.Table.from_batches(found).to_pandas()


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
                f"{path}, line {line_of(path, row)}: {printable(str(name)[:40])} has {lengths[row]:,} characters; "
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
            f"{csv}, line {line_of(csv, row)}: {column.name} is {shown(column.iloc[row])}; expected a number. "
            "Run the inference again"
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
    """Refuse the first of :func:`label_problems`."""
    for problem in label_problems(rows, path, unlabelled=unlabelled):
        raise InputError(problem)


def label_problems(rows: pd.DataFrame, path: Path, *, unlabelled: bool = False) -> Iterator[str]:
    """Labels that TAO would read as a defect though they mean none: words for a good part, empty cells (unless rows may
    be `unlabelled`), words that name nothing, and text that is no name. One line for each kind."""
    distinct = {label: kind for label in rows["label"].unique() if (kind := _label_kind(label, unlabelled))}
    kinds = rows["label"].map(distinct)
    for kind in dict.fromkeys(distinct.values()):
        found = (kinds == kind).to_numpy()
        row = int(found.argmax())
        label = rows["label"].iloc[row]
        yield f"{path}, line {line_of(path, row)}: label {shown(label)}{kind.format(count=int(found.sum()), path=path)}"


def _label_kind(label: str, unlabelled: bool) -> str | None:
    """What is wrong with a label, `{count}` and `{path}` to be filled in; None where it may stay."""
    if not label.strip():
        return None if unlabelled else "; write exactly PASS or the defect's name ({count} such rows)"
    if label != PASS and means_good(label):
        return (
            " means a good part, and TAO reads everything but 'PASS' as a defect, so write exactly PASS ({count} such "
            "rows): deft fix-csv {path} --accept"
        )
    if names_nothing(label):
        instead = "leave the cell empty" if unlabelled else "remove the row"
        advice = f"write exactly PASS or the defect's name, or {instead}"
        return f" is a defect for TAO and names none; {advice} ({{count}} such rows)"
    problem = label_problem(label)
    return None if problem is None else f": {problem.replace('{', '{{').replace('}', '}}')} ({{count}} such rows)"


def check_repeats(csv: Path, rows: pd.DataFrame) -> None:
    """Refuse a table that judges and names a part twice: it would count twice."""
    if found := _repeat(csv, rows, rows.duplicated(list(IDENTITY)).to_numpy()):
        raise InputError(f"{found} repeated rows); each would count twice, so remove them")


def training_repeats(csv: Path, rows: pd.DataFrame) -> str | None:
    """Words about a part that a training table names more than once, as people oversample; None where none is.

    Raises InputError where the copies of a part have different labels.
    """
    parts = _clean(rows)
    torn = parts.assign(label=rows["label"].map(normalise_label)).drop_duplicates()
    if (split := torn.duplicated(list(IDENTITY))).any():
        at = np.zeros(len(rows), bool)
        at[torn.index[split.to_numpy()].to_numpy()] = True
        raise InputError(f"{_repeat(csv, rows, at)} parts) and another label; one of them is wrong: remove that row")
    found = _repeat(csv, rows, parts.duplicated().to_numpy())
    return f"{found} repeated rows); each copy weighs in training as one more row" if found else None


def _clean(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that name a part, folders normalised (`in` equals `in/` and `./in`); rows numbered from 0."""
    clean = rows[list(IDENTITY)].reset_index(drop=True)
    for column in IDENTITY[:2]:
        clean[column] = clean[column].map({text: posixpath.normpath(text.strip()) for text in clean[column].unique()})
    return clean


def _repeat(csv: Path, rows: pd.DataFrame, repeated: npt.NDArray[np.bool_]) -> str:
    """Up to the count of repeated rows; empty without any."""
    if not repeated.any():
        return ""
    row = int(repeated.argmax())
    parts = _clean(rows)
    same = int((parts == parts.iloc[row]).all(axis=1).to_numpy().argmax())
    return (
        f"{csv}, line {line_of(csv, row)}: same input_path, golden_path and object_name as line {line_of(csv, same)} "
        f"({int(repeated.sum())}"
    )


def reading_problems(csv: Path, rows: pd.DataFrame, seen: pd.DataFrame, *, empty_too: bool = True) -> Iterator[str]:
    """Cells that `seen`, what :func:`parse_as_tao` made of the same file, has as numbers or as missing; words that name
    no label are :func:`label_problems`' matter."""
    for column in seen.columns:
        pairs = zip(seen[column], rows[column], strict=True)
        other = np.array([value != text and (empty_too or text != "") for value, text in pairs], bool)
        if column == "label":
            other &= np.array([bool(text.strip()) and not names_nothing(text) for text in rows[column]], bool)
        if other.any():
            row = int(other.argmax())
            value, text = seen[column].iloc[row], rows[column].iloc[row]
            absent = isinstance(value, float) and np.isnan(value)
            why = f"{value} for TAO, not text" + (
                ": its CSV reader takes it for an empty cell" if absent and text else ""
            )
            what = "the part and its image files" if column == "object_name" else "it"
            name = "label" if column == "label" else "name"
            advice = f"rename {what}, as {text + '_'!r}" if absent and text else f"give it a {name} with a letter"
            advice += f" ({int(other.sum())} such rows)"
            yield f"{csv}, line {line_of(csv, row)}: {column} {text!r} is {why}; {advice}"


def check_images(
    rows: pd.DataFrame, path: Path, images_dir: Path, lights: Iterable[str], ext: str, *, root: Path | None = None
) -> None:
    """Refuse a table that names an image which is not there or is outside `root` (the workspace, resolved; default:
    the images folder): one look-up for each distinct file."""
    home = (root or images_dir).resolve()
    check_cells(rows, path, images_dir, home)
    for problem in image_problems(rows, path, images_dir, lights, ext, home):
        raise InputError(problem)


def image_problems(
    rows: pd.DataFrame, path: Path, images_dir: Path, lights: Iterable[str], ext: str, home: Path
) -> Iterator[str]:
    """What :func:`check_images` refuses of the files, one line for each column and light, or for each cause that is
    seen in the folders."""
    from deft_aoi.base.progress import Progress

    lights = list(lights)
    forget()
    causes: dict[str, list[str]] = {}  # cause: its first line, then the files
    wanted = list(itertools.product(("input_path", "golden_path"), lights))
    with Progress(f"{path.name}, images looked up", len(wanted) * len(rows), "file") as progress:
        for column, light in wanted:
            files = image_paths(rows, column, images_dir, light, ext)
            absent, outside = check_files(set(files), home)
            progress.update(len(rows))
            if outside:
                row = next(i for i, name in enumerate(files) if name in outside)
                yield (
                    f"{path}, line {line_of(path, row)}: image {files[row]} is a link that leads out of {home} "
                    f"({len(outside)} such files); links inside are fine, so copy the image inside"
                )
            if absent:
                row = next(i for i, name in enumerate(files) if name in absent)
                near = near_image(images_dir, rows[column].iloc[row], rows["object_name"].iloc[row], light, ext, lights)
                what = f"{path}, line {line_of(path, row)}: image {files[row]} is missing"
                if near is None:
                    yield (
                        f"{what} ({len(absent)} files of {column} and light {light}); expected "
                        f"<images_dir>/<{column}>/<object_name>_{light}{ext}, where images_dir is {images_dir}"
                    )
                else:
                    found = causes.setdefault(near.rpartition(": ")[2], [f"{what} ({{count}} files), but {near}"])
                    found += absent
    for first, *missing in causes.values():
        yield first.replace("{count}", str(len(set(missing))))


def read_pool(csv: Path, root: Path, lights: Sequence[str], ext: str) -> pd.DataFrame:
    """Rows of a mining pool as :func:`pool_rows` gives them."""
    return pool_rows(read_rows(csv, required=POOL_REQUIRED), csv, root, lights, ext)


def no_pool() -> pd.DataFrame:
    """A mining pool without rows."""
    return pd.DataFrame({name: pd.Series(dtype=object) for name in COLUMNS})


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
        seen = {folder: from_folder(folder, home / prefix, home) for folder in rows[column].unique()}
        rows[column] = rows[column].map(seen)
    check_cells(rows, csv, csv.parent, home)
    folders = PoolFolders(csv, home / prefix, image_root(home), tails[0], home)
    for column in ("input_path", "golden_path"):
        rows[column] = folders.folders(rows[column], rows["object_name"], column)
    rows["label"] = rows["label"].map(normalise_label)
    unnamed = rows["object_name"] == ""
    if unnamed.any():
        row = int(unnamed.to_numpy().argmax())
        raise InputError(f"{csv}, line {line_of(csv, row)}: object_name is empty and not derivable")
    return rows


def split_image_path(value: str, tails: Sequence[str]) -> tuple[str, str]:
    """(folder, object_name) of a file-style path; (value, '') when it already is a folder."""
    value = value.strip().rstrip("/")
    folder, _, name = value.rpartition("/")
    for tail in tails:
        if name.endswith(tail):
            return folder, name[: -len(tail)]
    return value, ""
