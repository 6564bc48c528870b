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
from deft_aoi.importers.naming import Naming, split_light
from deft_aoi.importers.reading import Golden
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


def load_goldens(folder: Path, lights: Sequence[str]) -> tuple[list[Golden], Naming | None]:
    """Goldens of a workspace's `goldens` folder with the rule for names, or those of any folder of pictures, each named
    as its component, without one.

    Raises InputError where there are none, or a light is missing.
    """
    index = folder / INDEX
    if not index.is_file():
        return _plain_folder(folder, lights), None
    try:
        record: dict[str, Any] = parse_json(index.read_text(encoding="utf-8"))
        naming = Naming(**record["naming"])
        return [_golden(entry, folder.resolve(), lights) for entry in record["goldens"]], naming
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: not as deft import wrote it for these lights ({error}); import again") from None


def _golden(entry: Mapping[str, Any], folder: Path, lights: Sequence[str]) -> Golden:
    files = tuple((light, inside(folder, entry["files"][light], "golden")) for light in lights)
    return Golden(entry["key"], files, entry["component"], entry["source"], tuple(entry["made_from"]))


def _plain_folder(folder: Path, lights: Sequence[str]) -> list[Golden]:
    found: dict[str, dict[str, Path]] = {}
    for picture in list_tree(folder).pictures:
        name, light = split_light(picture.stem, lights)
        if light or len(lights) == 1:
            found.setdefault(name, {})[light or lights[0]] = picture.path
    whole = {
        name: tuple((light, files[light]) for light in lights)
        for name, files in found.items()
        if len(files) == len(lights)
    }
    if not whole:
        raise InputError(f"{folder}: no golden under every light; expected files as R12_{lights[0]}{SUFFIXES[0]}")
    return [Golden(name, files, name) for name, files in whole.items()]
