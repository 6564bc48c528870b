"""The one folder of what can be computed again: where it is, what is in it, and what leaves first when it is full.

Everything in it is found by content, so losing any of it costs time and nothing else. The last change of a file says
when it was last used: who reads one marks it with :func:`touch`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import locked

KINDS = {
    "vectors": "numbers of pairs and pictures",
    "pixels": "decoded, registered pairs of the net engine",
    "fingerprints": "hashes of image files, by path and time of change",
    "doubt": "label noise of sets that were examined",
}
LIMIT_VARIABLE, LIMIT_GB = "DEFT_CACHE_GB", 5.0
IN_USE_S = 3600.0  # what was used within this time stays: a running job may hold on to it
_MARK_S = 600.0  # how old a mark of use may be before it is set again
_TRIM_EVERY_S = 600.0
_STAMP, _LOCK = ".trimmed", ".trim.lock"


@dataclass(frozen=True)
class Item:
    """What is dropped as a whole: a file with its companions, or the folder of an archive; `used` in epoch seconds."""

    kind: str
    path: Path
    size: int
    used: float


def deft_home() -> Path:
    """`$DEFT_HOME`, else `$XDG_CACHE_HOME/deft-aoi`, else `~/.cache/deft-aoi`: the launcher's rule."""
    configured = os.environ.get("DEFT_HOME")
    if configured:
        return Path(configured).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "deft-aoi"


def cache_root() -> Path:
    """`$DEFT_CACHE_DIR`, else the launcher's folder."""
    configured = os.environ.get("DEFT_CACHE_DIR")
    return Path(configured).expanduser().absolute() if configured else deft_home()


def kind_folder(kind: str) -> Path:
    """Folder of one kind, made where that is possible: for this user alone, unless `$DEFT_CACHE_DIR` names a place."""
    folder = cache_root() / kind
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o777 if os.environ.get("DEFT_CACHE_DIR") else 0o700, exist_ok=True)
    return folder


def limit_bytes() -> int:
    """The size that the cache is trimmed to. Raises InputError for a `DEFT_CACHE_GB` that is no positive number."""
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        limit = float(text) if text else LIMIT_GB
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise InputError(f"{LIMIT_VARIABLE}={text}: expected gigabytes as a positive number, such as 5")
    return int(limit * 1e9)


def items() -> list[Item]:
    """Everything in the cache, the least recently used first."""
    return sorted((item for kind in KINDS for item in _of_kind(kind, cache_root() / kind)), key=lambda item: item.used)


def _of_kind(kind: str, folder: Path) -> Iterator[Item]:
    pattern = {"vectors": "*/*.parquet", "pixels": "*/keys.bin", "fingerprints": "*.sqlite", "doubt": "*.npy"}[kind]
    for path in folder.glob(pattern):
        whole = path.parent if kind == "pixels" else path
        with contextlib.suppress(OSError):  # dropped by another process meanwhile
            yield Item(kind, whole, sum(part.stat().st_size for part in _parts(whole)), path.stat().st_mtime)


def _parts(path: Path) -> list[Path]:
    """The files of an item: those of its folder, or a file and what its data base keeps next to it."""
    if path.is_dir():
        return list(path.iterdir())
    return [path, *(part for part in (Path(f"{path}-wal"), Path(f"{path}-shm")) if part.exists())]


def touch(path: Path) -> None:
    """Mark as used now."""
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > _MARK_S:
            os.utime(path)


def trim(limit: int, *, in_use_s: float = IN_USE_S) -> list[Item]:
    """Drop what was used least recently until `limit` bytes are left; nothing that was used within `in_use_s`."""
    found = items()
    left, dropped = sum(item.size for item in found), []
    for item in found:
        if left <= limit or time.time() - item.used < in_use_s:
            break
        drop(item)
        dropped.append(item)
        left -= item.size
    return dropped


def trim_now_and_then() -> None:
    """:func:`trim` to the limit, at most every ten minutes and by one process; called after something was added."""
    root = cache_root()
    with contextlib.suppress(OSError, InputError):
        stamp = root / _STAMP
        if stamp.exists() and time.time() - stamp.stat().st_mtime < _TRIM_EVERY_S:
            return
        with locked(root / _LOCK, wait=False):
            stamp.touch()
            trim(limit_bytes())


def drop(item: Item) -> None:
    """Remove an item; one that is gone already is no fault."""
    if item.path.is_dir():
        shutil.rmtree(item.path, ignore_errors=True)
        return
    for part in _parts(item.path):
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def clear(kinds: Collection[str]) -> list[Item]:
    """Drop everything of these kinds, in use or not."""
    found = [item for item in items() if item.kind in kinds]
    for item in found:
        drop(item)
    return found
