"""Readings by a table: a label for each picture, or components with their places on whole-board pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import cv2
import numpy as np
import pandas as pd

from deft_aoi.base import safe_images
from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import PASS, parse_csv
from deft_aoi.base.safe_paths import shown
from deft_aoi.data.pairs import SUFFIXES, Skipped, encode
from deft_aoi.importers.naming import find_lights, split_light
from deft_aoi.importers.read_folders import Asked, place
from deft_aoi.importers.reading import Reading, Shot, label_of, make_reading
from deft_aoi.importers.tree import Picture, Tree

TABLE, BOARDS = "table", "boards"
_COLUMNS = {
    "image": ("image", "file", "filename", "image_path", "image_name", "img", "picture", "path", "bild", "图像"),
    "label": ("label", "class", "defect", "result", "verdict", "judgement", "judgment", "status", "klasse", "标签"),
    "board": ("board", "boardname", "board_id", "serial", "serial_number", "sn", "panel", "pcb"),
    "component": (
        "component", "comp_name", "designator", "refdes", "ref_des", "part_number", "part", "pn", "comp", "bauteil",
    ),
    "golden": ("golden", "golden_image", "reference", "template"),
}  # fmt: skip
_BOXES = (
    ("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"), ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"),
)  # fmt: skip
_MARGIN = 0.15  # of a component's side, so that a part which has moved is still in its cut


@dataclass(frozen=True)
class Table:
    """A table with the columns that we know, by our names; `box` names its four columns, None without."""

    path: Path
    rows: pd.DataFrame
    box: tuple[str, str, str, str] | None


def find_tables(tree: Tree) -> list[Table]:
    """Tables below the folder that name pictures with labels, or places on them."""
    tables = [read_table(path) for path in tree.tables]
    return [table for table in tables if table is not None]


def read_table(path: Path) -> Table | None:
    """None where the columns are not those of a labels or component table."""
    with path.open("rb") as stream:
        head = stream.readline(1 << 16)
    mark = max((",", ";", "\t"), key=lambda sign: head.count(sign.encode()))
    rows = parse_csv(path, sep=mark)
    names = {str(name).strip().casefold(): str(name) for name in rows.columns}
    found = {ours: names[word] for ours, words in _COLUMNS.items() for word in reversed(words) if word in names}
    box = next((names_ for names_ in _BOXES if all(name in names for name in names_)), None)
    if "image" not in found or ("label" not in found and not (box and "component" in found)):
        return None
    known = rows.rename(columns={theirs: ours for ours, theirs in found.items()})
    if box:
        known = known.rename(columns={names[name]: name for name in box})
    return Table(path, known, box)


def visa_labels(tables: Sequence[Table]) -> dict[str, str]:
    """Defect of each anomalous picture that VisA's `image_anno.csv` tables name; the first of several."""
    found: dict[str, str] = {}
    for table in tables:
        if table.path.name == "image_anno.csv" and "label" in table.rows.columns:
            found |= {
                image: label_of(label.split(",")[0])
                for image, label in zip(table.rows["image"], table.rows["label"])
                if label_of(label) != PASS
            }
    return found


def read_labels(tree: Tree, table: Table, asked: Asked) -> Reading:
    """Parts that a labels table names. Raises InputError with the line of what is empty, absent or contradictory."""
    by_name = _by_name(tree)
    lights = asked.lights or find_lights([("/".join(p.folders), p.stem) for p in tree.pictures])
    labels: dict[str, tuple[str, int]] = {}
    shots: list[Shot] = []
    goldens: dict[str, Shot] = {}
    for line, row in enumerate(table.rows.to_dict("records"), start=2):
        where = f"{table.path}, line {line}"
        if not row["label"].strip():
            raise InputError(f"{where}: the label of {shown(row['image'])} is empty; expected PASS or a defect's name")
        label = label_of(row["label"])
        for picture in _pictures(by_name, row["image"], where, lights):
            name, light = split_light(picture.stem, lights)
            key = "/".join((*picture.folders, name))
            before, first = labels.setdefault(key, (label, line))
            if before != label:
                raise InputError(f"{where}: {shown(row['image'])} is {label!r} here and {before!r} in line {first}")
            golden = row.get("golden", "").strip()
            if golden:
                goldens |= {
                    found.relative: _golden_shot(found, lights) for found in _pictures(by_name, golden, where, lights)
                }
            shots.append(
                Shot(
                    key,
                    light or "",
                    picture.path,
                    label,
                    split_light(PurePath(golden).stem, lights)[0],
                    row.get("board", "").strip(),
                    row.get("component", "").strip(),
                )
            )
    named = {shot.path for shot in shots}
    for one in place(tree, Asked(golden=asked.golden))[0]:
        if one.role == "golden" and one.picture.path not in named:
            goldens[one.picture.relative] = _golden_shot(one.picture, lights)
    rest = len(tree.pictures) - len(named) - len(goldens)
    says = f"labels table {table.path.name}: {len(table.rows):,} rows" + (
        f", {rest:,} pictures not in it" if rest else ""
    )
    unique = list({(shot.key, shot.light): shot for shot in shots}.values())
    return make_reading(
        TABLE, says, unique, list(goldens.values()), lights, tree.skipped, ["--labels", table.path.name]
    )


def _golden_shot(picture: Picture, lights: Sequence[str]) -> Shot:
    name, light = split_light(picture.stem, lights)
    return Shot("/".join((*picture.folders, name)), light or "", picture.path, PASS)


def _by_name(tree: Tree) -> dict[str, list[Picture]]:
    """Pictures by every way in which a table may name them: path below the root, file name, stem."""
    found: dict[str, list[Picture]] = {}
    for picture in tree.pictures:
        for name in {picture.relative, picture.path.name, picture.stem}:
            found.setdefault(name, []).append(picture)
    return found


def _pictures(by_name: Mapping[str, list[Picture]], cell: str, where: str, lights: Sequence[str]) -> list[Picture]:
    """The picture that a cell names; those of all lights where it names none."""
    name = cell.strip().replace("\\", "/").removeprefix("./")
    found = by_name.get(name) or by_name.get(PurePath(name).name)
    if found is None and lights:
        stem = PurePath(name).stem if PurePath(name).suffix.lower() in SUFFIXES else name
        return [one for light in lights for one in _pictures(by_name, f"{stem}_{light}", where, ())]
    if found is None:
        raise InputError(f"{where}: no picture {shown(cell)} in the folder; expected a file name or a path below it")
    if len(found) > 1:
        raise InputError(
            f"{where}: {shown(cell)} names {len(found)} pictures, {found[0].relative} and {found[1].relative}; "
            "write the path below the folder"
        )
    return found


def read_boards(tree: Tree, table: Table, asked: Asked, work: Path) -> Reading:
    """Parts cut from whole-board pictures into `work`; without a label column every part of the table is good."""
    assert table.box is not None
    by_name = _by_name(tree)
    masters = {one.picture.path for one in place(tree, asked)[0] if one.role == "golden"}
    shots: list[Shot] = []
    goldens: list[Shot] = []
    skipped: list[Skipped] = []
    last: tuple[Path, cv2.typing.MatLike | None] = (Path(), None)
    rows: list[dict[str, str]] = table.rows.to_dict("records")  # type: ignore[assignment]
    for line, row in sorted(enumerate(rows, start=2), key=lambda item: (str(item[1]["image"]), item[0])):
        where = f"{table.path}, line {line}"
        picture = _pictures(by_name, row["image"], where, ())[0]
        if last[0] != picture.path:
            last = picture.path, safe_images.read(picture.path)
        board = last[1]
        if board is None:
            skipped.append(Skipped(picture.path.name, "not a readable image"))
            continue
        cut = _cut(board, _box(row, table.box, where), where)
        component = row.get("component", "").strip()
        name = f"{picture.stem}_{component or 'part'}_{line}".replace("/", "_")
        path = work / f"{name}.png"
        path.write_bytes(encode(cut, ".png"))
        golden = picture.path in masters
        label = label_of(row["label"]) if row.get("label", "").strip() else PASS
        made = Shot(
            name, "", path, PASS if golden else label, "", row.get("board", "").strip() or picture.stem, component
        )
        (goldens if golden else shots).append(made)
    says = (
        f"{len(tree.pictures):,} whole-board pictures and the component table {table.path.name}: {len(rows):,} places"
    )
    return make_reading(BOARDS, says, shots, goldens, (), [*tree.skipped, *skipped], ["--labels", table.path.name])


def _box(row: Mapping[str, str], names: tuple[str, str, str, str], where: str) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in pixels."""
    try:
        a, b, c, d = (float(row[name].replace(",", ".")) for name in names)
    except ValueError:
        found = ", ".join(shown(row[name]) for name in names)
        raise InputError(f"{where}: {', '.join(names)} are {found}; expected four numbers in pixels") from None
    if names[2] in ("w", "width"):
        c, d = a + c, b + d
    if not (np.isfinite([a, b, c, d]).all() and c - a >= 1 and d - b >= 1):
        raise InputError(f"{where}: the place has no area ({a:g}, {b:g} to {c:g}, {d:g})")
    return round(a), round(b), round(c), round(d)


def _cut(board: cv2.typing.MatLike, box: tuple[int, int, int, int], where: str) -> cv2.typing.MatLike:
    """The component with a margin, which ends where the picture does."""
    height, width = board.shape[:2]
    left, top, right, bottom = box
    if left < 0 or top < 0 or right > width or bottom > height:
        raise InputError(
            f"{where}: the place {left}, {top} to {right}, {bottom} leaves its picture ({width} x {height})"
        )
    across, down = round(_MARGIN * (right - left)), round(_MARGIN * (bottom - top))
    return np.ascontiguousarray(board[max(0, top - down) : bottom + down, max(0, left - across) : right + across])
