"""One audit over all sets: who shares an image, a picture or a board with whom; which image cannot be read."""

from __future__ import annotations

import itertools
import math
import os.path
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft_aoi.base.rows import write_sheet
from deft_aoi.data.duplicates import near_pairs
from deft_aoi.data.fingerprints import MISSING, UNREAD, UNREADABLE, Prints, all_flat, content_keys, fingerprints
from deft_aoi.data.leakage import leaks_between
from deft_aoi.data.sets import JUDGES, RowSet

SHARED_COLUMNS = (
    "kind", "stops", "first_set", "first_line", "first_label", "first_image",
    "second_set", "second_line", "second_label", "second_image", "same_label", "likeness",
)  # fmt: skip
BROKEN_COLUMNS = ("set", "line", "label", "part", "light", "file", "what")
DEEP, TURNED = "deep", "turned"
KINDS = ("path", "row", "content", "near", "blank")


@dataclass(frozen=True)
class SpecialFiles:
    """Files of one set that have more than 8 bits a value (`deep`; `largest` is their largest value) or an orientation
    tag (`turned`); `first` is the path of one of them."""

    set: str
    kind: str
    files: int
    first: str
    largest: float = 0.0


@dataclass(frozen=True)
class SetAudit:
    """What was found.

    `shared`: one row for each pair of rows that show the same image. `kind` says how that is known: path, row (the
    contract's key), content (equal bytes under every light), near (re-encoded, brightened or moved), blank (equal bytes
    of a picture that shows nothing); `stops` whether the loop must not start with it. `broken`: files that are missing
    or unreadable. `boards`: how many boards two sets share. `unread`: rows with a test image that nobody has looked
    at yet. `special`: files that do not look everywhere as they do here, one record a set and kind.
    """

    shared: pd.DataFrame
    broken: pd.DataFrame
    boards: pd.DataFrame
    rows: dict[str, int]
    boards_of: dict[str, int]
    unread: int
    special: tuple[SpecialFiles, ...] = ()

    def counts(self) -> dict[str, Any]:
        """JSON-ready: rows, boards, shared pairs by kind and pair of sets, two-label images, broken files."""
        pairs = self.shared.groupby(["kind", "first_set", "second_set"], sort=False).size().reset_index(name="pairs")
        hurt = self.broken.drop_duplicates(["set", "line"])["set"].value_counts()
        return {
            "rows": self.rows,
            "boards": self.boards_of,
            "shared": [{**row, "pairs": int(row["pairs"])} for row in pairs.to_dict("records")],
            "two_labels": int((~self.shared["same_label"].astype(bool)).sum()),
            "stopping": int(self.shared["stops"].astype(bool).sum()),
            "broken": {str(name): int(count) for name, count in hurt.items()},
            "shared_boards": [{**row, "boards": int(row["boards"])} for row in self.boards.to_dict("records")],
            "unread": self.unread,
            "special": [asdict(one) for one in self.special],
        }


def audit_sets(
    sets: Sequence[RowSet], *, limit: int | None = None, seconds: float = math.inf, near: bool = True
) -> SetAudit:
    """Compare all sets with each other and look into every image, at most `limit` that the cache does not know, and no
    new one after that many `seconds`. Without `near` only equal pictures are looked for."""
    ordered = sorted(sets, key=lambda one: one.name not in JUDGES)  # whoever judges is read first
    # Row by row: a row is compared once all its lights were opened, so a limit must not fall between them.
    names = [name for one in ordered for side in (one.files, one.goldens) for row in zip(*side) for name in row]
    prints = fingerprints(names, limit=limit, seconds=seconds)
    parts, start = {}, 0
    for one in ordered:
        count, lights = len(one.rows) * 2 * len(one.files), len(one.files)
        block = prints.records[start : start + count].reshape(2, len(one.rows), lights)
        parts[one.name] = [Prints(side[:, light], 0) for side in block for light in range(lights)]
        start += count
    shared = [row for pair in itertools.combinations(sets, 2) for row in _between(*pair, parts, near=near)]
    shared += [row for one in sets for row in _within(one, parts[one.name])]
    table = pd.DataFrame(shared, columns=list(SHARED_COLUMNS))
    broken = pd.DataFrame([row for one in sets for row in _broken(one, parts[one.name])], columns=list(BROKEN_COLUMNS))
    tests = [parts[one.name][: len(one.files)] for one in sets]
    unread = sum(int(np.logical_or.reduce([light.state == UNREAD for light in lights]).sum()) for lights in tests)
    boards = {one.name: set(one.boards) - {""} for one in sets}
    overlap = pd.DataFrame(
        [
            {"first_set": a.name, "second_set": b.name, "boards": len(both), "names": ", ".join(sorted(both)[:3])}
            for a, b in itertools.combinations(sets, 2)
            if (both := boards[a.name] & boards[b.name])
        ],
        columns=["first_set", "second_set", "boards", "names"],
    )
    return SetAudit(table, broken, overlap, {one.name: len(one.rows) for one in sets},
                    {name: len(found) for name, found in boards.items()}, unread,
                    tuple(entry for one in sets for entry in _special(one, parts[one.name])))  # fmt: skip


def write_audit(found: SetAudit, folder: Path) -> tuple[Path, ...]:
    """`shared_images.csv`, `broken_images.csv` and `shared_boards.csv`, with a header even where nothing was found."""
    tables = {
        "shared_images.csv": found.shared, "broken_images.csv": found.broken, "shared_boards.csv": found.boards,
    }  # fmt: skip
    for name, table in tables.items():
        write_sheet(folder / name, table)
    return tuple(folder / name for name in tables)


def _between(first: RowSet, second: RowSet, parts: dict[str, list[Prints]], *, near: bool) -> Iterable[tuple[Any, ...]]:
    stops = first.name in JUDGES or second.name in JUDGES
    seen = set()
    leaks = leaks_between(first.rows, second.rows, image_names(first), image_names(second))
    for leak in leaks.rows:
        rows = leak.first_line - 2, leak.second_line - 2
        seen.add(rows)
        yield _row("path" if leak.by == "image" else "row", stops, first, rows[0], second, rows[1], 1.0)
    one, other = parts[first.name], parts[second.name]
    lights = len(first.files)
    keys = content_keys(one[:lights])
    where = defaultdict(list)
    for row, key in enumerate(keys):
        if key:
            where[key].append(row)
    flat = all_flat(other[:lights])
    for row, key in enumerate(content_keys(other[:lights])):
        for known in where.get(key, ())[:1]:
            if (known, row) not in seen:
                seen.add((known, row))
                kind = "blank" if flat[row] else "content"
                yield _row(kind, stops and kind == "content", first, known, second, row, 1.0)
    for pair in near_pairs(one[:lights], other[:lights], first.files, second.files) if near else ():
        if (pair.first, pair.second) not in seen and keys[pair.first] != _key(other[:lights], pair.second):
            yield _row("near", False, first, pair.first, second, pair.second, pair.likeness)


def _within(one: RowSet, prints: list[Prints]) -> Iterable[tuple[Any, ...]]:
    """Equal content in rows of one set: it weighs more there, and under two labels one of them is wrong."""
    first: dict[bytes, int] = {}
    flat = all_flat(prints[: len(one.files)])
    for row, key in enumerate(content_keys(prints[: len(one.files)])):
        known = first.setdefault(key, row) if key else row
        if known != row and not flat[row]:
            yield _row("content", False, one, known, one, row, 1.0)


def _special(one: RowSet, prints: list[Prints]) -> Iterable[SpecialFiles]:
    names = [name for light in (*one.files, *one.goldens) for name in light]
    largest = np.concatenate([light.largest for light in prints])
    for kind, flags in ((DEEP, largest > 0), (TURNED, np.concatenate([light.turned for light in prints]))):
        found = sorted({names[place] for place in np.flatnonzero(flags)})
        if found:
            yield SpecialFiles(one.name, kind, len(found), found[0], float(largest.max()) if kind == DEEP else 0.0)


def image_names(one: RowSet) -> list[str]:
    """What is equal exactly where the file is: the normalised path of the first light."""
    clean: dict[str, str] = {}
    names = []
    for file in one.files[0]:
        folder, _, name = file.rpartition("/")
        if folder not in clean:
            clean[folder] = os.path.normpath(folder)
        names.append(f"{clean[folder]}/{name}")
    return names


def _key(lights: Sequence[Prints], row: int) -> bytes:
    return b"".join(light.records["sha"][row].tobytes() for light in lights)


def _row(
    kind: str, stops: bool, first: RowSet, one: int, second: RowSet, other: int, likeness: float
) -> tuple[Any, ...]:
    labels = first.label(one), second.label(other)
    return (
        kind, stops, first.name, first.line(one), labels[0], first.title(one), second.name, second.line(other),
        labels[1], second.title(other), labels[0] == labels[1], round(likeness, 4),
    )  # fmt: skip


def _broken(one: RowSet, prints: list[Prints]) -> Iterable[tuple[Any, ...]]:
    words = {UNREADABLE: "not a readable image", MISSING: "missing"}
    lights = len(one.files)
    for number, light in enumerate(prints):
        files = (*one.files, *one.goldens)[number]
        for row in np.flatnonzero(np.isin(light.state, list(words))):
            part = "test" if number < lights else "golden"
            yield (one.name, one.line(int(row)), one.label(int(row)), part, one.lights[number % lights], files[row],
                   words[int(light.state[row])])  # fmt: skip
