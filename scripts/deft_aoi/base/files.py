"""Durable file operations: the one atomic writer, the one lock, the one hash."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from deft_aoi.base.errors import InputError

_HASH_BLOCK = 1 << 20


def utc_now() -> str:
    """Current time as ISO-8601 UTC with a trailing Z, whole seconds."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Replace `path` by what `write` puts into a temporary file next to it: fsync, rename, fsync of the folder.

    A crash leaves either the old file or the new one, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"{path.parent}/.{path.name[:200]}.{uuid.uuid4().hex[:12]}.tmp"
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # the caller's umask applies
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # a full disk shows up in write and fsync, which know no name
        raise
    sync_folder(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    atomic_write(path, lambda stream: stream.write(text.encode("utf-8")))


def atomic_write_json(path: Path, value: Any) -> None:
    atomic_write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to fill under `<target>.partial`; renamed to `target` when the block ends well, removed when it fails.

    `target` is absent or empty: the caller has refused anything else.
    """
    partial = target.with_name(f"{target.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        if target.exists():
            target.rmdir()
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make a rename or a new name in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[IO[bytes]]:
    """Hold an exclusive lock on `path` (made when absent).

    Raises BlockingIOError when `wait` is false and another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as stream:
        flock(stream.fileno(), path, wait=wait)
        yield stream


def flock(descriptor: int, path: Path, *, wait: bool, shared: bool = False) -> None:
    """Lock an open file. Raises BlockingIOError where it is held and `wait` is false, InputError where the file system
    has no locks."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, InterruptedError):
        raise
    except OSError as error:
        raise InputError(
            f"{path.parent}: its file system gives no file locks ({error.strerror}), and without them two commands "
            "could write one run; on NFS start lockd (rpc.statd) or mount with local_lock=flock, or move the workspace "
            "to a local disk"
        ) from error


def check_locks(folder: Path) -> None:
    """Try a lock on `folder`, or on the nearest folder above it that is there. Writes nothing.

    Raises InputError as :func:`flock` does.
    """
    place = next(one for one in (folder, *folder.parents) if one.is_dir())
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(BlockingIOError):
            flock(descriptor, place / ".lock", wait=False, shared=True)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Lower-case hex SHA-256 of the file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON (sorted keys, no blanks)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def copy_aside(path: Path) -> Path:
    """Copy a file to `<name>.original`, or `<name>.original-<n>` where that is taken; returns the copy."""
    number, target = 1, path.with_name(f"{path.name}.original")
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.original-{number}")
    shutil.copy2(path, target)
    return target


def move_aside(folder: Path) -> Path:
    """Rename a half-written folder to `<name>.failed-<n>` and return the new path; nothing is deleted."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.failed-{number}")).exists():
        number += 1
    folder.rename(target)
    return target
