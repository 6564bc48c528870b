"""ChangeNet CSV rows, labels and image paths: the contract of every table that the loop reads or writes."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from deft_aoi.errors import InputError
from deft_aoi.fsio import atomic_write

PASS = "PASS"
COLUMNS = (
    "input_path", "golden_path", "label", "object_name", "project", "boardname", "comp_type_2",
    "mpass_mfail", "is_valid", "comp_name", "part_type", "number_of_pins", "description", "comp_type_1",
)  # fmt: skip
REQUIRED = COLUMNS[:4]
IDENTITY = ("input_path", "golden_path", "object_name")
LEAK_KEYS = ("input_path", "golden_path", "label", "object_name", "boardname")
SCORE = "siamese_score"


def normalise_label(label: str) -> str:
    """`PASS` stays as it is; every other label is stripped and lower-cased."""
    return PASS if label == PASS else label.strip().lower()


def is_defect(labels: pd.Series) -> pd.Series:
    """Boolean column: true where the label is anything but `PASS`."""
    return labels != PASS


def read_rows(path: Path, *, required: Sequence[str] = REQUIRED) -> pd.DataFrame:
    """Read a CSV with every cell as text (leading zeros and the word NA survive).

    Raises InputError when the file is absent, unreadable, lacks a required column or has no rows.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such CSV; expected columns {', '.join(required)}")
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable UTF-8 CSV ({error})") from error
    if not isinstance(rows.index, pd.RangeIndex):  # pandas takes a surplus first cell as row name and shifts the rest
        raise InputError(f"{path}: rows have more cells than the header; quote cells that hold a comma")
    missing = [name for name in required if name not in rows.columns]
    if missing:
        raise InputError(f"{path}: column {', '.join(missing)} missing; found {', '.join(rows.columns)}")
    if rows.empty:
        raise InputError(f"{path}: no rows below the header")
    return rows


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
    atomic_write(path, lambda stream: rows.to_csv(stream, index=False, lineterminator="\n"))


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


def check_labels(rows: pd.DataFrame, path: Path) -> None:
    """Refuse empty labels and every spelling of PASS that TAO would read as a defect."""
    labels = rows["label"]
    stripped = labels.str.strip()
    odd = (stripped == "") | ((stripped.str.upper() == PASS) & (labels != PASS))
    if odd.any():
        row = int(odd.to_numpy().argmax())
        found = labels.iloc[row]
        raise InputError(
            f"{path}, line {row + 2}: label {found!r}; TAO reads everything but 'PASS' as a defect, "
            f"so write exactly PASS or the defect's name ({int(odd.sum())} such rows)"
        )


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


def check_images(rows: pd.DataFrame, path: Path, images_dir: Path, lights: Iterable[str], ext: str) -> None:
    """Refuse a table that names an image which is not there: one stat for each distinct file."""
    lights = list(lights)
    for column in ("input_path", "golden_path"):
        for light in lights:
            files = image_paths(rows, column, images_dir, light, ext)
            absent = {name for name in set(files) if not os.path.isfile(name)}
            if absent:
                row = next(i for i, name in enumerate(files) if name in absent)
                raise InputError(
                    f"{path}, line {row + 2}: image {files[row]} is missing ({len(absent)} files of {column} "
                    f"and light {light}); expected <images_dir>/<{column}>/<object_name>_{light}{ext}"
                )


def read_pool(csv: Path, root: Path, lights: Sequence[str], ext: str) -> pd.DataFrame:
    """Rows of a mining pool with paths relative to `root` (the workspace) and labels normalised.

    `input_path` may name a file (`images/R821@1_SolderLight.jpg`): it is cut to its folder and `object_name`
    is derived from it where it is empty. Paths in the file are relative to the CSV's own folder.
    """
    rows = read_rows(csv, required=("input_path", "golden_path", "label"))
    if "object_name" not in rows.columns:
        rows["object_name"] = ""
    rows = pad_columns(rows)
    prefix = csv.parent.resolve().relative_to(root.resolve()).as_posix()
    tails = tuple(f"_{light}{ext}" for light in lights)
    split = [split_image_path(value, tails) for value in rows["input_path"]]
    rows["object_name"] = [name or derived for name, (_, derived) in zip(rows["object_name"], split, strict=True)]
    rows["input_path"] = [posixpath.normpath(f"{prefix}/{folder}") for folder, _ in split]
    rows["golden_path"] = [
        posixpath.normpath(f"{prefix}/{split_image_path(value, tails)[0]}") for value in rows["golden_path"]
    ]
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
