"""Leakage between two tables and the checks that a training CSV must pass before anyone trains on it."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.csv_text import line_of
from deft_aoi.base.errors import InputError
from deft_aoi.base.names import means_good, names_nothing
from deft_aoi.base.near_files import forget, near_image
from deft_aoi.base.paths import image_root
from deft_aoi.base.rows import (
    IDENTITY,
    LEAK_KEYS,
    PASS,
    csv_bytes,
    label_problems,
    normalise_label,
    parse_as_tao,
    read_rows,
    reading_problems,
    training_repeats,
)

SHOWN = 3


@dataclass(frozen=True)
class Leak:
    """A row of the second table that the first holds too; lines are row + 2 until :meth:`Leaks.at` looks them up."""

    first_line: int
    second_line: int
    image: str
    by: str


@dataclass(frozen=True)
class Leaks:
    """All leaks of the second table, in its row order, and the boards that both tables name."""

    rows: tuple[Leak, ...]
    shared_boards: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.rows)

    def at(self, first: Path, second: Path) -> Leaks:
        """The same with the lines that the rows have in these files."""
        found = (
            replace(
                leak, first_line=line_of(first, leak.first_line - 2), second_line=line_of(second, leak.second_line - 2)
            )
            for leak in self.rows
        )
        return Leaks(tuple(found), self.shared_boards)

    def sentence(self, first: str, second: str) -> str:
        """One line for a refusal: how many, and the first of them."""
        shown = "; ".join(
            f"{first} line {r.first_line} = {second} line {r.second_line} ({r.image})" for r in self.rows[:SHOWN]
        )
        more = f" and {len(self.rows) - SHOWN} more" if len(self.rows) > SHOWN else ""
        return f"{len(self.rows)} rows of {second} are also in {first}: {shown}{more}; remove them from {first}"


@dataclass
class Report:
    """What :func:`validate_training_csv` found; `problems` refuse the CSV, `warnings` do not."""

    csv: str
    rows: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    distinct_files: int = 0
    missing_files: int = 0
    leaks: list[dict[str, Any]] = field(default_factory=list)
    shared_boards: int = 0
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """JSON-ready copy with `ok`, and three counts under the names of NVIDIA's script too."""
        bank = {
            "rows_checked": self.rows,
            "missing_file_count": self.missing_files,
            "train_val_leakage_overlap_count": len(self.leaks),
        }
        return {"ok": self.ok, **asdict(self), **bank}


def find_leaks(
    first: pd.DataFrame, second: pd.DataFrame, *, images_first: Path = Path(), images_second: Path = Path()
) -> Leaks:
    """Rows of `second` whose image, or whose contract key, is also in `first`.

    The image is `images_*`/input_path/object_name after normalisation (`in` equals `in/` and `./in`), whatever the
    label says. The contract key is equality on the columns of LEAK_KEYS that both tables have.
    """
    return leaks_between(first, second, image_keys(first, images_first), image_keys(second, images_second))


def leaks_between(first: pd.DataFrame, second: pd.DataFrame, keys_first: list[str], keys_second: list[str]) -> Leaks:
    """:func:`find_leaks` for image keys that the caller has made."""
    line_of: dict[str, int] = {}
    for line, key in enumerate(keys_first, start=2):
        line_of.setdefault(key, line)
    shared = [name for name in LEAK_KEYS if name in first.columns and name in second.columns]
    row_of: dict[tuple[str, ...], int] = {}
    for line, row in enumerate(_key_rows(first, shared), start=2):
        row_of.setdefault(row, line)
    found = []
    for line, (key, row) in enumerate(zip(keys_second, _key_rows(second, shared)), start=2):
        if key in line_of:
            found.append(Leak(line_of[key], line, key, "image"))
        elif row in row_of:
            found.append(Leak(row_of[row], line, key, "row"))
    return Leaks(tuple(found), tuple(sorted(_boards(first) & _boards(second))))


def image_keys(rows: pd.DataFrame, images_dir: Path) -> list[str]:
    """One text per row that is equal exactly where the inspected image is the same; no disk access."""
    root = str(images_dir)
    normal = {
        folder: posixpath.normpath(posixpath.join(root, folder.strip())) for folder in rows["input_path"].unique()
    }
    return [
        f"{normal[folder]}/{name}" for folder, name in zip(rows["input_path"].tolist(), rows["object_name"].tolist())
    ]


def validate_training_csv(
    csv: Path, workspace: Path, *, validation_csv: Path | None = None, lights: Sequence[str] = ("SolderLight",),
    ext: str = ".jpg",
) -> Report:  # fmt: skip
    """Check labels, paths, images and leakage of a training CSV.

    Paths of either CSV may be relative to the workspace or to its images folder (as merged and as base CSVs are);
    each row is looked up in that order, with one stat for each distinct file. Raises InputError where a CSV cannot be
    read at all; everything else is collected in the report.
    """
    rows = read_rows(csv)
    report = Report(str(csv), len(rows), {str(k): int(v) for k, v in rows["label"].value_counts().items()})
    report.problems += label_problems(rows, csv)
    report.problems += reading_problems(csv, rows, parse_as_tao(csv, csv_bytes(csv), (*IDENTITY, "label")))
    _check_classes(report, rows)
    _check_blanks(report, rows, csv)
    _check_written(report, rows, csv)
    bases = _Bases(workspace)
    found = bases.files(rows, lights, ext)
    report.distinct_files, report.missing_files = bases.looked_up, len(found.missing)
    if found.missing:
        line, name = found.missing[0]
        near = bases.near(rows, line - 2, name, lights, ext)
        report.problems.append(
            f"{csv}, line {line_of(csv, line - 2)}: image {name} is missing under {workspace} and {bases.images} "
            f"({len(found.missing)} files)"
            + (f", but {near}" if near else f"; expected <input_path or golden_path>/<object_name>_{lights[0]}{ext}")
        )
    _check_repeats(report, rows, found.keys, csv)
    if validation_csv is not None:
        held = read_rows(validation_csv)
        other = bases.files(held, lights[:1], ext)
        if other.missing:
            line, name = other.missing[0]
            where = f"{validation_csv}, line {line_of(validation_csv, line - 2)}"
            report.problems.append(
                f"{where}: image {name} is missing under {workspace} and {bases.images} ({len(other.missing)} files), "
                "so leakage cannot be ruled out; is --workspace-root right?"
            )
        leaks = leaks_between(rows, held, found.keys, other.keys).at(csv, validation_csv)
        report.leaks = [asdict(leak) for leak in leaks.rows]
        report.shared_boards = len(leaks.shared_boards)
        if leaks:
            report.problems.append("leakage: " + leaks.sentence(str(csv), str(validation_csv)))
        elif leaks.shared_boards:
            names = ", ".join(leaks.shared_boards[:SHOWN])
            report.warnings.append(
                f"{len(leaks.shared_boards)} boards have rows in training and in validation ({names}): "
                "different images, but validation looks better than a new board would"
            )
    return report


@dataclass(frozen=True)
class _Found:
    keys: list[str]
    missing: list[tuple[int, str]]


class _Bases:
    """Looks relative images up under the workspace, then under its images folder; remembers every answer."""

    def __init__(self, workspace: Path) -> None:
        self.root = workspace.expanduser().resolve()
        self.images = image_root(self.root)
        self._base: dict[str, str | None] = {}

    @property
    def looked_up(self) -> int:
        return len(self._base)

    def files(self, rows: pd.DataFrame, lights: Sequence[str], ext: str) -> _Found:
        """Image key of every row (a missing one is keyed under the workspace) and the missing files with line."""
        missing: list[tuple[int, str]] = []
        keys: list[str] = []
        for column in ("golden_path", "input_path"):
            clean = {folder: posixpath.normpath(folder.strip()) for folder in rows[column].unique()}
            names = [
                f"{clean[folder]}/{name}" for folder, name in zip(rows[column].tolist(), rows["object_name"].tolist())
            ]
            for light in lights:
                tail = f"_{light}{ext}"
                absent = {name for name in dict.fromkeys(names) if self._find(name + tail) is None}
                if absent:
                    first = {name: line for line, name in reversed(list(enumerate(names, start=2))) if name in absent}
                    missing += [(line, name + tail) for name, line in first.items()]
            keys = [
                name if name.startswith("/") else f"{self._base.get(f'{name}_{lights[0]}{ext}') or self.root}/{name}"
                for name in names
            ]
        return _Found(keys, sorted(missing))

    def near(self, rows: pd.DataFrame, row: int, file: str, lights: Sequence[str], ext: str) -> str | None:
        """What is nearly there in place of a missing file of a row."""
        forget()
        light = next((light for light in lights if file.endswith(f"_{light}{ext}")), lights[0])
        folder, name = posixpath.dirname(file), rows["object_name"].iloc[row]
        found = (near_image(base, folder, name, light, ext, lights) for base in (self.root, self.images))
        return next((text for text in found if text), None)

    def _find(self, name: str) -> str | None:
        if name not in self._base:
            candidates = (str(self.root), str(self.images))
            if name.startswith(f"{self.root}/"):  # an absolute folder of the workspace
                self._base[name] = "" if os.path.isfile(name) else None
            else:
                self._base[name] = next((base for base in candidates if os.path.isfile(f"{base}/{name}")), None)
        return self._base[name]


def _key_rows(rows: pd.DataFrame, columns: list[str]) -> Any:
    return zip(*(rows[name].tolist() for name in columns))


def _boards(rows: pd.DataFrame) -> set[str]:
    return set(rows["boardname"].unique()) - {""} if "boardname" in rows.columns else set()


def _collect(report: Report, check: Any) -> None:
    try:
        check()
    except InputError as error:
        report.problems.append(str(error))


def _check_classes(report: Report, rows: pd.DataFrame) -> None:
    passes = int((rows["label"] == PASS).sum())
    if passes in (0, len(rows)):
        what = "no PASS row" if passes == 0 else "no defect"
        report.problems.append(
            f"{report.csv}: {what} among {len(rows)} rows; training needs both (TAO stops otherwise)"
        )


def _check_blanks(report: Report, rows: pd.DataFrame, csv: Path) -> None:
    for column in ("input_path", "golden_path", "object_name"):
        bad = (rows[column] != rows[column].str.strip()) | (rows[column] == "")
        if bad.any():
            row = int(bad.to_numpy().argmax())
            found = f"{csv}, line {line_of(csv, row)}: {column} is {rows[column].iloc[row]!r}"
            report.problems.append(f"{found}; expected text without blanks around it ({int(bad.sum())} such rows)")


def _check_written(report: Report, rows: pd.DataFrame, csv: Path) -> None:
    """Spellings of one defect's name that the loop would unite and a training by this CSV would not."""
    named = ~rows["label"].map(means_good) & ~rows["label"].map(names_nothing)  # those have a finding of their own
    odd = (rows["label"] != rows["label"].map(normalise_label)) & named
    if odd.any():
        at = int(odd.to_numpy().argmax())
        label = rows["label"].iloc[at]
        report.problems.append(
            f"{csv}, line {line_of(csv, at)}: label {label!r}; expected {normalise_label(label)!r}: a second spelling "
            f"would be a defect of its own ({int(odd.sum())} such rows)"
        )


def _check_repeats(report: Report, rows: pd.DataFrame, keys: list[str], csv: Path) -> None:
    _collect(report, lambda: training_repeats(csv, rows))
    repeated = sum(count - 1 for count in Counter(zip(keys, rows["label"].tolist())).values())
    if repeated:
        report.warnings.append(f"{repeated} rows repeat an image with the same label: they weigh more in training")
    by_image = pd.DataFrame({"key": keys, "label": rows["label"].to_numpy(), "line": range(2, len(keys) + 2)})
    kinds = by_image.groupby("key")["label"].nunique()
    torn = by_image[by_image["key"].isin(kinds.index[kinds > 1])]
    if not torn.empty:
        same = torn[torn["key"] == torn["key"].iloc[0]]
        pairs = ", ".join(f"line {line_of(csv, line - 2)}: {label}" for line, label in zip(same["line"], same["label"]))
        report.warnings.append(f"{torn['key'].nunique()} images have two labels, the first at {pairs}")
