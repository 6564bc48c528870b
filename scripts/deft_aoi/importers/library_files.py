"""The goldens of a workspace on disk: which there are, where each is from, and how names tell components."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json
from deft_aoi.base.safe_paths import inside
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.data.pairs import SUFFIXES
from deft_aoi.importers.goldens import Library
from deft_aoi.importers.likeness import looks_of
from deft_aoi.importers.naming import Naming, split_light
from deft_aoi.importers.reading import Files, Golden
from deft_aoi.importers.tree import list_tree

INDEX = "goldens.json"
FOLDER = "goldens"


def save_library(root: Path, goldens: Sequence[Golden], naming: Naming, lights: Sequence[str]) -> None:
    """Copy every golden into `root`/goldens and write the index."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, golden in enumerate(goldens):
        files = {}
        for light, path in golden.files:
            name = f"{number:05d}_{light}{path.suffix.lower()}"
            shutil.copyfile(path, folder / name)
            files[light] = name
        entries.append(
            {
                "key": golden.key, "component": golden.component, "source": golden.source,
                "made_from": list(golden.made_from), "files": files,
            }
        )  # fmt: skip
    record = {"version": 1, "lights": list(lights), "naming": naming.record(), "goldens": entries}
    atomic_write_json(folder / INDEX, record)


def load_library(folder: Path, lights: Sequence[str]) -> tuple[Library, Naming]:
    """Goldens of a workspace's `goldens` folder, or of any folder of pictures that are goldens.

    Raises InputError where there are none, or a light is missing.
    """
    index = folder / INDEX
    if not index.is_file():
        return _plain_folder(folder, lights)
    try:
        record: dict[str, Any] = parse_json(index.read_text(encoding="utf-8"))
        naming = Naming(**record["naming"])
        goldens = [_golden(entry, folder.resolve(), lights) for entry in record["goldens"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: not as deft import wrote it ({error}); import again") from None
    return _library(folder, goldens), naming


def _golden(entry: Mapping[str, Any], folder: Path, lights: Sequence[str]) -> Golden:
    files = tuple((light, inside(folder, entry["files"][light], "golden")) for light in lights)
    return Golden(entry["key"], files, entry["component"], entry["source"], tuple(entry["made_from"]))


def _plain_folder(folder: Path, lights: Sequence[str]) -> tuple[Library, Naming]:
    """Pictures of a folder as goldens, each named as its component."""
    found: dict[str, dict[str, Path]] = {}
    for picture in list_tree(folder).pictures:
        name, light = split_light(picture.stem, lights)
        if light or len(lights) == 1:
            found.setdefault(name, {})[light or lights[0]] = picture.path
    goldens = [
        Golden(name, _in_order(files, lights), name) for name, files in found.items() if len(files) == len(lights)
    ]
    if not goldens:
        raise InputError(f"{folder}: no golden with all lights; expected <name>_{lights[0]}{SUFFIXES[0]}")
    return _library(folder, goldens), Naming()


def _in_order(files: Mapping[str, Path], lights: Sequence[str]) -> Files:
    return tuple((light, files[light]) for light in lights)


def _library(folder: Path, goldens: Sequence[Golden]) -> Library:
    library = Library(goldens, looks_of([golden.files[0][1] for golden in goldens]))
    if not library.goldens:
        raise InputError(f"{folder}: none of its {len(goldens)} goldens is a readable picture")
    return library
