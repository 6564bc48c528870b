"""What is nearly there where a file is missing: another ending, other capitals, one folder level more or less."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def near_image(
    images_dir: Path, folder: str, object_name: str, light: str, ext: str, lights: Sequence[str]
) -> str | None:
    """What to do about a missing `{images_dir}/{folder}/{object_name}_{light}{ext}`, from a file that is nearly it.

    None where nothing of the kind is there. Looks into a few folders, each of which is listed once.
    """
    name = f"{object_name}_{light}{ext}"
    file = images_dir / folder / name
    if file.is_symlink():
        return f"it is a link to nothing: {os.readlink(file)} is not there (links inside the workspace are fine)"
    for place, advice in _places(images_dir, folder):
        names = _names(str(place))
        if not names:
            continue
        if advice is None:
            if (found := _near_name(names, object_name, light, ext, lights)) is not None:
                return found
        elif name in names or _twin(names, name) is not None:
            return advice if advice.startswith("the rows") else f"there is {place / name}: {advice}"
    return _near_folder(images_dir, folder)


def forget() -> None:
    """Look into every folder again."""
    _names.cache_clear()
    _folders.cache_clear()


def _places(images_dir: Path, folder: str) -> list[tuple[Path, str | None]]:
    """Folders to look into, with what to write where the file is there; the folder itself first."""
    clean = folder.replace("\\", "/").strip().strip("/")
    parts = [part for part in clean.split("/") if part not in ("", ".")]
    found: list[tuple[Path, str | None]] = [(images_dir.joinpath(*parts), None)]
    if clean != folder.rstrip("/"):
        found.append((images_dir.joinpath(*parts), f"write the folder as {'/'.join(parts)}"))
    if len(parts) > 1:
        found.append(
            (images_dir.joinpath(*parts[1:]), f"the rows name one folder too many: write {'/'.join(parts[1:])}")
        )
        found.append(
            (images_dir.joinpath(*parts[:-1]), f"the rows name one folder too many: write {'/'.join(parts[:-1])}")
        )
    if len(parts) == 1:
        found.append((images_dir, "the rows name one folder too many: write ."))
    for above, words in (
        (images_dir.parent, "move it"),
        (images_dir.parent.parent / "images", "move or link the images"),
    ):
        found.append((above.joinpath(*parts), f"{words} below {images_dir}"))
    for child in _folders(str(images_dir))[:20]:
        found.append(
            (images_dir.joinpath(child, *parts), f"the rows name one folder too few: write {'/'.join([child, *parts])}")
        )
    for child in _folders(str(images_dir.joinpath(*parts)))[:20]:
        found.append(
            (images_dir.joinpath(*parts, child), f"the rows name one folder too few: write {'/'.join([*parts, child])}")
        )
    return found


def _near_name(names: frozenset[str], object_name: str, light: str, ext: str, lights: Sequence[str]) -> str | None:
    """A file of the right folder whose ending, capitals, light or spelling differ."""
    name = f"{object_name}_{light}{ext}"
    for ending in dict.fromkeys(e for low in IMAGE_ENDINGS for e in (low, low.upper(), low.capitalize())):
        if (other := f"{object_name}_{light}{ending}") in names and ending != ext:
            return f"there is {other}: set dataset.classify.image_ext to {ending!r} (for all files), or rename it"
    if (twin := _twin(names, name)) is not None:
        return f"there is {twin}: names are distinguished by capitals and spelling; rename it or write it so in the CSV"
    if f"{object_name}{ext}" in names:
        return f"there is {object_name}{ext} without a light: rename it to {name}"
    if object_name.lower().endswith(ext.lower()) and object_name in names:
        return f"there is {object_name}: object_name is written without light and ending"
    if name.replace(f"_{light}{ext}", ext, 1) in names:
        return f"object_name holds the light already: write it without _{light}"
    stem = f"{object_name}_".lower()
    rest = sorted(other for other in names if other.lower().startswith(stem) and other.lower().endswith(IMAGE_ENDINGS))
    others = [other for other in rest if not any(other == f"{object_name}_{known}{ext}" for known in lights)]
    if others:
        return f"there is {others[0]}: is its light missing in dataset.classify.input_map, or misspelt?"
    return None


def _near_folder(images_dir: Path, folder: str) -> str | None:
    """A folder that differs in capitals or spelling only."""
    place = images_dir
    for part in folder.replace("\\", "/").strip("/").split("/"):
        if not (place / part).is_dir():
            twin = _twin(frozenset(_folders(str(place))), part)
            return None if twin is None else f"there is a folder {place / twin}: write it so, or rename it"
        place = place / part
    return None


def _twin(names: frozenset[str], name: str) -> str | None:
    """A name that is the same but for capitals, blanks at the ends or the form of its Unicode."""
    wanted = _fold(name)
    return next((other for other in sorted(names) if other != name and _fold(other) == wanted), None)


def _fold(name: str) -> str:
    stem, dot, ending = unicodedata.normalize("NFKC", name).casefold().rpartition(".")
    return f"{stem.strip()}{dot}{ending.strip()}"


@lru_cache(maxsize=256)
def _names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


@lru_cache(maxsize=256)
def _folders(folder: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []
