"""Where the images of a mining pool row are, in every way that NVIDIA's bank writes them."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import IMAGE_ROOTS, image_root
from deft_aoi.base.safe_paths import printable

NAMES = ("filepath", "input_path", "image_path")  # the first that is filled names the image
_IMAGES = "images/"


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
    listed: dict[str, frozenset[str]] = field(default_factory=dict)

    def folder(self, value: str, name: str, line: int, column: str) -> str:
        """The folder that holds `<name><tail>`, from the workspace on.

        Where nothing is found the CSV's own folder counts, so that the image's own check names what is missing.
        Raises InputError where two different files fit.
        """
        values = [value, value[len(_IMAGES) :]] if value.startswith(_IMAGES) else [value]
        places = [f"{self.home}/{value}", *(f"{self.images}/{one}" for one in values)]
        places = list(dict.fromkeys(map(posixpath.normpath, places)))
        found = [place for place in places if f"{name}{self.tail}" in self._files(place)]
        if len(found) > 1 and len({os.path.realpath(place) for place in found}) > 1:
            both = " and ".join(printable(f"{place}/{name}{self.tail}") for place in found)
            raise InputError(
                f"{self.csv}, line {line}: {column} fits two images, {both}; write an absolute path, or remove one"
            )
        return Path((found or places)[0]).relative_to(self.root).as_posix()

    def _files(self, folder: str) -> frozenset[str]:
        if folder not in self.listed:
            try:
                inside = Path(os.path.realpath(folder)).is_relative_to(self.root)
                self.listed[folder] = frozenset(os.listdir(folder)) if inside else frozenset()
            except (OSError, ValueError):
                self.listed[folder] = frozenset()
        return self.listed[folder]
