"""Which reading fits a folder: exactly one, or a refusal that names the flag which decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import PASS
from deft_aoi.importers.deeppcb_windows import read_boards as deeppcb_boards
from deft_aoi.importers.read_folders import (
    FOLDERS,
    MVTEC,
    PAIRS,
    VISA,
    Asked,
    place,
    read_by_role,
    read_mvtec,
    read_visa,
)
from deft_aoi.importers.read_tables import (
    BOARDS,
    TABLE,
    Table,
    find_tables,
    read_boards,
    read_labels,
    read_table,
    visa_labels,
)
from deft_aoi.importers.reading import Reading
from deft_aoi.importers.tree import Tree, list_tree

DEEPPCB = "deeppcb"
KINDS = (FOLDERS, PAIRS, MVTEC, VISA, TABLE, BOARDS, DEEPPCB)
_AGREE = 0.98


def is_deeppcb(root: Path) -> bool:
    home = root / "PCBData" if (root / "PCBData").is_dir() else root
    return any(home.glob("group*/*_not/*.txt"))


def look(root: Path, asked: Asked, work: Path) -> Reading:
    """The one reading of `root`; parts that have to be cut from larger pictures are written into `work`.

    Raises InputError where no reading fits, or several do and the flags do not decide.
    """
    tree = list_tree(root)
    tables = _tables(tree, asked)
    if asked.kind == DEEPPCB or (is_deeppcb(root) and asked.kind is None):
        return Reading(DEEPPCB, f"DeepPCB: {len(deeppcb_boards(root))} boards with annotated defects", (), (), ())
    readers: dict[str, Callable[[], Reading | None]] = {
        MVTEC: lambda: read_mvtec(tree, asked),
        VISA: lambda: read_visa(tree, asked, visa_labels(tables)),
        BOARDS: lambda: _by_table(tree, tables, asked, work, boxes=True),
        TABLE: lambda: _by_table(tree, tables, asked, work, boxes=False),
        FOLDERS: lambda: read_by_role(tree, asked),
    }
    if asked.kind is not None:
        found = readers[FOLDERS if asked.kind == PAIRS else asked.kind]()
        if found is None:
            raise InputError(f"{root}: not readable as {asked.kind}; without --as it is said what is seen there")
        return found
    for kind in (MVTEC, VISA):
        found = readers[kind]()
        if found is not None:
            return found
    by_table = readers[BOARDS]() or readers[TABLE]()
    if by_table is not None:
        return _checked_against_folders(tree, by_table, asked)
    found = readers[FOLDERS]()
    if found is None:
        homes = sorted({picture.folders[0] if picture.folders else "." for picture in tree.pictures})
        raise InputError(
            f"{root}: {len(tree.pictures)} pictures in {', '.join(homes[:5])}{', ...' if len(homes) > 5 else ''}, "
            "and no name says what is good or bad; type --good FOLDER --bad FOLDER [--golden FOLDER], or --labels CSV "
            "with the columns image and label"
        )
    return found


def _tables(tree: Tree, asked: Asked) -> list[Table]:
    """Tables that may decide: the one that was named, else all."""
    tables = find_tables(tree)
    if asked.labels is None:
        return tables
    named = [t for t in tables if asked.labels in (t.path.name, str(t.path), t.path.relative_to(tree.root).as_posix())]
    if len(named) != 1:
        path = Path(asked.labels)
        table = read_table(path) if path.is_file() else None
        if table is None:
            raise InputError(
                f"--labels {asked.labels}: no table with the columns image and label, or image, component, x, y, w, h; "
                f"found in {tree.root}: {', '.join(t.path.name for t in tables) or 'none'}"
            )
        return [table]
    return named


def _by_table(tree: Tree, tables: list[Table], asked: Asked, work: Path, *, boxes: bool) -> Reading | None:
    fitting = [table for table in tables if (table.box is not None) == boxes]
    if not fitting:
        return None
    if len(fitting) > 1:
        names = [table.path.relative_to(tree.root).as_posix() for table in fitting]
        raise InputError(f"{tree.root}: several tables name pictures: {', '.join(names[:4])}; type --labels {names[0]}")
    return read_boards(tree, fitting[0], asked, work) if boxes else read_labels(tree, fitting[0], asked)


def _checked_against_folders(tree: Tree, reading: Reading, asked: Asked) -> Reading:
    """The table's reading, refused where folders named good and bad contradict it."""
    if reading.kind != TABLE:
        return reading
    told = {one.picture.path: one.role for one in place(tree, asked)[0] if one.role in ("good", "bad")}
    both = [(part, told[path]) for part in reading.parts for _, path in part.files if path in told]
    wrong = [part for part, role in both if (part.label == PASS) != (role == "good")]
    if len(wrong) > (1 - _AGREE) * len(both):
        raise InputError(
            f"{tree.root}: table and folders contradict each other for {len(wrong)} of {len(both)} pictures, the first "
            f"{wrong[0].files[0][1].name} ({wrong[0].label}); type --as table or --as folders"
        )
    return reading
