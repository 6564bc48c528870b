"""NG/golden image pairs from two folders: names, matching, conversion and the ChangeNet rows made of them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2

from deft_aoi.base import safe_images
from deft_aoi.base.errors import InputError
from deft_aoi.base.names import label_problem, means_good
from deft_aoi.base.rows import PASS
from deft_aoi.base.safe_paths import inside, name_problem, shown
from deft_aoi.base.threads import cores
from deft_aoi.data.depth import common_scale

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
JPEG_QUALITY = 95
_NAME = re.compile(r"(?P<texture>[^+]+)\+(?P<anomaly>.+?)_(?P<index>\d+)")


@dataclass(frozen=True)
class Pair:
    """One inspected part: object name, label, and per light (light, test image, golden image)."""

    name: str
    label: str
    files: tuple[tuple[str, Path, Path], ...]


@dataclass(frozen=True)
class Skipped:
    """A file that took no part, and why."""

    file: str
    reason: str


def label_from_name(stem: str) -> str | None:
    """`PCB+bridge_00000` -> `bridge`; any word for a good part, as `PCB+ok_3` -> `PASS`; None for any other form."""
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    anomaly = match["anomaly"].strip().lower()
    return PASS if means_good(anomaly) else anomaly


def list_images(folder: Path, what: str, root: Path | None = None) -> dict[str, Path]:
    """Images of a folder by stem, in name order; links that lead out of `root` are refused.

    Raises InputError where the folder is absent or holds none, or where two files share a stem (`a.png`, `a.bmp`):
    one of them would overwrite the other.
    """
    if not folder.is_dir():
        raise InputError(f"{what} {folder}: no such folder; expected images named like PCB+bridge_00000.png")
    found: dict[str, Path] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if path.suffix.lower() not in SUFFIXES or entry.name.startswith(".") or not entry.is_file():
            continue
        if problem := name_problem(path.name):
            raise InputError(f"{what} {folder}: {shown(path.name)}: {problem}; rename it")
        if root is not None:
            inside(root, path, f"{what} {folder}")
        if path.stem in found:
            raise InputError(
                f"{what} {folder}: {found[path.stem].name} and {path.name} share the name {path.stem}; "
                "rename or remove one of them"
            )
        found[path.stem] = path
    if not found:
        raise InputError(f"{what} {folder}: no images in it; expected {' '.join(SUFFIXES)}")
    return found


def match_pairs(
    tests: Mapping[str, Path], goldens: Mapping[str, Path], lights: Sequence[str],
    label_of: Callable[[str], str | None], golden_of: Callable[[str], str] = str,
) -> tuple[list[Pair], list[Skipped]]:  # fmt: skip
    """Pair test and golden images by name.

    A stem may end in `_<light>`; without it the image belongs to the only light. `label_of` gives the label of an
    object name (None skips it), `golden_of` the object name of its golden. Every unusable file is named with a reason.
    """
    by_object: dict[str, dict[str, Path]] = {}
    skipped: list[Skipped] = []
    for stem, path in tests.items():
        name, light = _split_light(stem, lights)
        if light is None:
            skipped.append(Skipped(path.name, f"no light in its name; expected {name}_<{' or '.join(lights)}>"))
        elif light in by_object.setdefault(name, {}):
            other = by_object[name][light].name
            raise InputError(f"{path.parent}: {other} and {path.name} are the same object {name}; rename one of them")
        else:
            by_object[name][light] = path
    pairs = []
    for name, images in by_object.items():
        files = tuple(
            (light, images[light], golden)
            for light in lights
            if light in images and (golden := _golden(goldens, golden_of(name), light, lights)) is not None
        )
        label = label_of(name)
        if label is None:
            reason = "no label: expected a name like PCB+bridge_00000 or a labels CSV"
        elif problem := label_problem(label):
            reason = f"label {shown(label)}: {problem}"
        elif len(files) < len(lights):
            lacking = [light for light in lights if light not in {entry[0] for entry in files}]
            part = "golden" if set(lacking) <= set(images) else "image"
            reason = f"no {part} for light {', '.join(lacking)}"
        else:
            pairs.append(Pair(name, label, files))
            continue
        skipped += [Skipped(path.name, reason) for path in images.values()]
    return pairs, skipped


def convert_pairs(
    pairs: Sequence[Pair], folders: Callable[[Pair], tuple[Path, Path]], ext: str
) -> tuple[list[Pair], list[Skipped]]:
    """Write both images of every pair as `<folder>/<name>_<light><ext>`; `folders` gives (test, golden) folder.

    Pictures with more than 8 bits a value are brought to 8 by the range of all of them (:func:`depth_of`).
    Returns the pairs that could be written and, for the others, the file that could not be read. Runs on all cores.
    """
    largest = depth_of(pairs)
    for folder in {folder for pair in pairs for folder in folders(pair)}:
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(cores()) as workers:
        outcomes = list(workers.map(lambda pair: _convert_pair(pair, folders(pair), ext, largest), pairs))
    done = [pair for pair, outcome in zip(pairs, outcomes) if outcome is None]
    return done, [outcome for outcome in outcomes if outcome is not None]


def depth_of(pairs: Sequence[Pair]) -> int:
    """The value that becomes 255 in every picture of these pairs that has more than 8 bits; 0 where none has."""
    return common_scale({path for pair in pairs for _, *sources in pair.files for path in sources})


def convert_image(source: Path, target: Path, largest: int = 0) -> bool:
    """Write `source` as `target`: a byte copy where both have the same format and 8 bits, else decoded and encoded.

    Returns false, and writes nothing, where the source is no readable image.
    """
    image = safe_images.read(source, largest=largest)
    if image is None:
        return False
    if _kind(source.suffix) == _kind(target.suffix) and not (largest and safe_images.is_deep(source.read_bytes())):
        shutil.copyfile(source, target)
        return True
    target.write_bytes(encode(image, target.suffix))
    return True


def encode(image: cv2.typing.MatLike, ext: str) -> bytes:
    """Image file bytes; JPEG with quality 95."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if _kind(ext) == ".jpg" else []
    good, data = cv2.imencode(ext, image, flags)
    if not good:
        raise InputError(f"image extension {ext!r}: cannot be written; expected one of {' '.join(SUFFIXES)}")
    return data.tobytes()


def check_ext(ext: str) -> str:
    """Refuse an extension without its dot, or of a format that cannot be written."""
    if ext.lower() not in SUFFIXES:
        raise InputError(f"image extension {ext!r}: expected one of {' '.join(SUFFIXES)}")
    return ext


def skipped_text(skipped: Iterable[Skipped], shown: int = 3) -> str:
    """`3 files skipped: a.png (unreadable), ...`; empty without any."""
    listed = list(skipped)
    if not listed:
        return ""
    names = ", ".join(f"{entry.file} ({entry.reason})" for entry in listed[:shown])
    return f"{len(listed)} files skipped: {names}" + (", ..." if len(listed) > shown else "")


def _convert_pair(pair: Pair, folders: tuple[Path, Path], ext: str, largest: int) -> Skipped | None:
    """None when both images of every light are written; what was written of a failed pair is removed."""
    written: list[Path] = []
    for light, *sources in pair.files:
        for source, folder in zip(sources, folders):
            target = folder / f"{pair.name}_{light}{ext}"
            if not convert_image(source, target, largest):
                for path in written:
                    path.unlink()
                return Skipped(source.name, "not a readable image")
            written.append(target)
    return None


def _split_light(stem: str, lights: Sequence[str]) -> tuple[str, str | None]:
    for light in lights:
        if stem.endswith(f"_{light}") and len(stem) > len(light) + 1:
            return stem[: -len(light) - 1], light
    return stem, (lights[0] if len(lights) == 1 else None)


def _golden(goldens: Mapping[str, Path], name: str, light: str, lights: Sequence[str]) -> Path | None:
    found = goldens.get(f"{name}_{light}")
    return found if found is not None or len(lights) > 1 else goldens.get(name)


def _kind(suffix: str) -> str:
    suffix = suffix.lower()
    return {".jpeg": ".jpg", ".tiff": ".tif"}.get(suffix, suffix)
