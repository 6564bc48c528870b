"""The files of a folder that somebody wants imported: pictures and tables, listed once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.safe_paths import shown, text_problem
from deft_aoi.data.pairs import SUFFIXES, Skipped


@dataclass(frozen=True)
class Picture:
    """A picture file: `folders` below the root, outermost first, and its stem."""

    path: Path
    folders: tuple[str, ...]
    stem: str

    @property
    def relative(self) -> str:
        return "/".join((*self.folders, self.path.name))


@dataclass(frozen=True)
class Tree:
    """Pictures and CSV tables below `root`, in the order of their paths."""

    root: Path
    pictures: tuple[Picture, ...]
    tables: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


def list_tree(root: Path, *, empty: bool = False) -> Tree:
    """Raises InputError where `root` is no folder, or holds no picture unless it may be `empty`. Hidden files
    and folders that are links are passed over."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected a folder with pictures of inspected parts")
    pictures, tables, skipped = [], [], []
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith(".") and not os.path.islink(f"{folder}/{name}"))
        here = Path(folder)
        parts = here.relative_to(root).parts
        for name in sorted(names):
            path = here / name
            if name.startswith("."):
                continue
            if path.suffix.lower() == ".csv":
                tables.append(path)
            elif path.suffix.lower() in SUFFIXES:
                if path.is_symlink():
                    skipped.append(Skipped(name, "a link; copy the picture"))
                elif problem := text_problem("/".join((*parts, name))):
                    skipped.append(Skipped(shown(name), problem))
                else:
                    pictures.append(Picture(path, parts, path.stem))
    if not pictures and not empty:
        raise InputError(
            f"{root}: no pictures in it; expected {' '.join(SUFFIXES)} in folders such as OK, NG and GOLDEN"
        )
    return Tree(root, tuple(pictures), tuple(tables), tuple(skipped))
