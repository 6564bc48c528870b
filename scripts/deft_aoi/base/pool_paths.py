"""Where the images of a mining pool row are, in every way that NVIDIA's bank writes them."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import IMAGE_ROOTS, image_root
from deft_aoi.base.safe_paths import printable

NAMES = ("filepath", "input_path", "image_path")  # the first that is filled names the image
_IMAGES = "images/"
_TOLD = 10_000  # rows between two signs of progress


def first_filled(rows: pd.DataFrame, csv: Path) -> pd.Series:
    """The path of each row: the first of NAMES that is filled. Raises InputError where no such column is there."""
    known = [name for name in NAMES if name in rows.columns]
    if not known:
        raise InputError(f"{csv}: column input_path missing; expected one of {', '.join(NAMES)}")
    found = pd.Series("", index=rows.index, dtype=object)
    for name in reversed(known):
        found = found.where(rows[name].str.strip() == "", rows[name])
    return found


def from_folder(value: str, folder: Path, root: Path) -> str:
    """An absolute path inside `root` as seen from `folder`; every other text as it is."""
    value = value.strip()
    inside = value.startswith("/") and Path(posixpath.normpath(value)).is_relative_to(root)
    return posixpath.relpath(value, folder) if inside else value


def workspace_of_images(csv: Path, images: Path) -> Path:
    """The workspace that a pool and an images folder are in. Raises InputError where `images` is not its own."""
    for name in IMAGE_ROOTS:
        root = images.parents[name.count("/")]
        if image_root(root).resolve() == images and csv.is_relative_to(root):
            return root
    raise InputError(
        f"--images-root {images}: expected {' or '.join(f'<workspace>/{name}' for name in IMAGE_ROOTS)} of the "
        f"workspace that {csv} is in"
    )


@dataclass
class PoolFolders:
    """Looks a pool's folders up below the CSV's own folder and below the images folder; each is listed once.

    `home` is the CSV's folder, `tail` the end of the first light's files (`_SolderLight.jpg`), `root` the workspace;
    all resolved.
    """

    csv: Path
    home: Path
    images: Path
    tail: str
    root: Path
    _listed: dict[str, frozenset[str]] = field(default_factory=dict)
    _places: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # and as seen from the workspace

    def folders(self, values: Iterable[str], names: Iterable[str], column: str) -> list[str]:
        """The folder that holds `<name><tail>`, from the workspace on, for each row.

        Where nothing is found the CSV's own folder counts, so that the image's own check names what is missing.
        Raises InputError where two different files fit.
        """
        from deft_aoi.base.progress import Progress

        rows = list(enumerate(zip(values, names, strict=True), start=2))
        found: list[str] = []
        with Progress(f"{self.csv.name}, {column}", len(rows), "row") as progress:
            for first in range(0, len(rows), _TOLD):
                some = rows[first : first + _TOLD]
                found += [self._folder(value, name, line, column) for line, (value, name) in some]
                progress.update(len(some))
        return found

    def _folder(self, value: str, name: str, line: int, column: str) -> str:
        if value not in self._places:
            self._places[value] = self._where(value)
        places, file = self._places[value], f"{name}{self.tail}"
        found = [place for place in places if file in self._files(place[0])]
        if len(found) > 1 and len({os.path.realpath(place) for place, _ in found}) > 1:
            both = " and ".join(printable(f"{place}/{file}") for place, _ in found)
            raise InputError(
                f"{self.csv}, line {line}: {column} fits two images, {both}; write an absolute path, or remove one"
            )
        return (found or places)[0][1]

    def _where(self, value: str) -> list[tuple[str, str]]:
        """Where the folder `value` may be, the likeliest place first."""
        values = [value, value[len(_IMAGES) :]] if value.startswith(_IMAGES) else [value]
        places = [f"{self.home}/{value}", *(f"{self.images}/{one}" for one in values)]
        whole = dict.fromkeys(map(posixpath.normpath, places))
        return [(place, posixpath.relpath(place, self.root)) for place in whole]

    def _files(self, folder: str) -> frozenset[str]:
        if folder not in self._listed:
            try:
                inside = Path(os.path.realpath(folder)).is_relative_to(self.root)
                self._listed[folder] = frozenset(os.listdir(folder)) if inside else frozenset()
            except (OSError, ValueError):
                self._listed[folder] = frozenset()
        return self._listed[folder]
