"""The append-only journal `loop_log.jsonl`: the loop's only memory.

One line for each finished stage. In addition to the contract's fields a line carries `artifacts` (path relative to the
run directory, bytes, sha256), `facts` (what the stage adds to the state) and `prev` (sha256 of the line before, without
its newline). Journals of 7.0.x, which lack these three, are read as well.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write, locked, sha256_file, sync_folder, utc_now
from deft_aoi.base.paths import iter_number
from deft_aoi.base.safe_paths import printable, shown, text_problem
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.record import order

Entry = dict[str, Any]
STATUSES = ("ok", "error")
_TAIL_BYTES = 1 << 16
_FAR = 1 << 22
_LONGEST = 10**9  # seconds of a stage: thirty years
_FIRST_YEAR = 1970
# What JSON reads and no journal of ours writes: numbers that are none, or overflow, and half characters.
_UNWRITABLE = re.compile(rb"NaN|Infinity|[eE]\+?\d{3}|\\u[dD][89a-fA-F]|\d{300}")
_ALIGNED = ("tokens", "context_tokens", "prev")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_FIELDS: dict[str, type] = {
    "seq": int,
    "ts": str,
    "iter": str,
    "stage": str,
    "status": str,
    "summary": str,
    "duration_sec": int,
    "context_tokens": int,
}


@dataclass(frozen=True)
class Log:
    """A journal as it was read: its complete lines without their newlines, and what they say."""

    lines: tuple[bytes, ...] = ()
    entries: tuple[Entry, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of a file of these lines."""
        return sum(map(len, self.lines)) + len(self.lines)

    def plus(self, entry: Entry) -> Log:
        """The journal after :func:`append` has written `entry`."""
        return Log((*self.lines, encode(entry)), (*self.entries, entry))


def read(path: Path) -> list[Entry]:
    """What :func:`read_log` finds in the lines."""
    return list(read_log(path).entries)


def read_log(path: Path) -> Log:
    """Every complete line of the journal, checked field by field. A torn last line is left out, not repaired.

    Raises InputError naming the line.
    """
    if not path.is_file():
        return Log()
    text = path.read_bytes()
    lines = text[: text.rfind(b"\n") + 1].splitlines()
    return Log(tuple(lines), tuple(_parse(line, path, number) for number, line in enumerate(lines, start=1)))


def next_seq(path: Path) -> int:
    """Number of the next line: last on disk + 1; reads the tail only."""
    if not path.is_file():
        return 1
    with open(path, "rb") as stream:
        last = _last_line(stream)
    return 1 if last is None else _parse(last, path, None)["seq"] + 1


def append(
    path: Path,
    *,
    iter_label: str,
    stage: str,
    status: str,
    summary: str,
    duration_sec: int,
    context_tokens: int = 0,
    artifacts: Iterable[Mapping[str, Any]] = (),
    facts: Mapping[str, Any] | None = None,
    max_iterations: int | None = None,
) -> Entry:
    """Append one line under an exclusive lock: tail read, order check, one write, fsync. Returns it as it reads back.

    Raises InputError on a bad field or where `stage` may not follow the last line, naming what may.
    """
    entry: Entry = {
        "seq": 0,
        "ts": utc_now(),
        "iter": iter_label,
        "stage": stage,
        "status": status,
        "summary": printable(" ".join(summary.split())),
        "duration_sec": duration_sec,
        "context_tokens": context_tokens,
        "artifacts": list(artifacts),
        "facts": dict(facts or {}),
    }
    with writing(path), open(path, "ab+") as stream:
        repair_tail(stream, path)
        last = _last_line(stream)
        previous = None if last is None else _parse(last, path, None)
        entry["seq"] = 1 if previous is None else previous["seq"] + 1
        entry["facts"] |= order.inherited(previous, stage)
        _check(entry, f"{path.name}: new line")
        order.check_order(previous, entry, max_iterations)
        entry["prev"] = "" if last is None else line_hash(last)
        line = encode(entry)
        _write_line(stream.fileno(), line + b"\n", path)
    sync_folder(path.parent)
    return _parse(line, path, entry["seq"])


def _write_line(descriptor: int, line: bytes, path: Path) -> None:
    """One write, then fsync; a line that does not fit on the disk is taken back as a whole.

    Raises OSError with the journal's path.
    """
    size = os.lseek(descriptor, 0, os.SEEK_END)
    try:
        if os.write(descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError as error:
        os.ftruncate(descriptor, size)
        raise OSError(error.errno, error.strerror, str(path)) from error


def repair_tail(stream: IO[bytes], path: Path) -> int:
    """Cut a last line without newline off into `loop_log.torn`; returns the bytes moved. The lock must be held."""
    size = stream.seek(0, os.SEEK_END)
    keep = size
    tail = b""
    while keep > 0 and not tail.endswith(b"\n"):
        start = max(0, keep - _TAIL_BYTES)
        stream.seek(start)
        tail = stream.read(keep - start)
        if (cut := tail.rfind(b"\n")) >= 0:
            keep, tail = start + cut + 1, b"\n"
        else:
            keep, tail = start, b""
    if keep == size:
        return 0
    stream.seek(keep)
    torn = stream.read(size - keep)
    with open(path.with_suffix(".torn"), "ab") as other:
        other.write(torn + b"\n")
        other.flush()
        os.fsync(other.fileno())
    stream.truncate(keep)
    stream.seek(0, os.SEEK_END)
    return len(torn)


def checked(entry: Entry, where: str) -> Entry:
    """The entry, where every field is what a line's is. Raises InputError naming the field."""
    _check(entry, where)
    return entry


def set_tokens(path: Path, tokens: Mapping[int, Mapping[str, Any]]) -> None:
    """Write token use into the lines named by `seq` and chain the journal again (lock held, atomic replace).

    `context_tokens` becomes the context size at the stage's end.
    """
    with writing(path):
        entries = read(path)
        for entry in entries:
            if (use := tokens.get(entry["seq"])) is not None:
                entry["tokens"] = dict(use)
                entry["context_tokens"] = int(use.get("context_size_end", 0))
        atomic_write(path, lambda stream: stream.writelines(chain(entries)))


def chain(entries: Iterable[Entry]) -> list[bytes]:
    """Encoded lines (newline included) with `prev` recomputed where a line carries it."""
    lines: list[bytes] = []
    for entry in entries:
        if "prev" in entry:
            entry["prev"] = line_hash(lines[-1].rstrip(b"\n")) if lines else ""
        lines.append(encode(entry) + b"\n")
    return lines


def artifact(root: Path, path: Path) -> dict[str, Any]:
    """Record of a file that a stage made: relative path, bytes, sha256."""
    return {"path": path.relative_to(root).as_posix(), "bytes": path.stat().st_size, "sha256": sha256_file(path)}


def encode(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, separators=(", ", ": "), allow_nan=False).encode("utf-8")


HEAD = 16  # letters of a head that are shown


def line_hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def head_after(head: str, entry: Mapping[str, Any]) -> str:
    """Head of the chain after one more line, from the head before it ("" at the start): it covers every line so
    far, and stays when token use is written into them."""
    return line_hash((head + content_hash(entry)).encode())


def content_hash(entry: Mapping[str, Any]) -> str:
    """SHA-256 of what a line says, whatever token alignment writes into it later."""
    return line_hash(encode({name: value for name, value in entry.items() if name not in _ALIGNED}))


def tail(path: Path, back_to: int) -> list[Entry] | None:
    """The last lines, oldest first, from the one numbered `back_to` on; reads the file's end only.

    None where that line is not among the last `_FAR` bytes. The lines are checked field by field.
    """
    if not path.is_file():
        return []
    found: list[Entry] = []
    with open(path, "rb") as stream:
        for line in _backwards(stream, _FAR):
            found.append(_parse(line, path, None))
            if found[-1]["seq"] <= back_to:
                break
        else:
            return found[::-1] if found and found[-1]["seq"] == 1 else None if found else []
    return found[::-1]


def _backwards(stream: IO[bytes], limit: float = math.inf) -> Iterator[bytes]:
    """Complete lines without their newline, the last one first; ends after about `limit` bytes."""
    position = size = stream.seek(0, os.SEEK_END)
    rest, torn = b"", True
    while position > 0 and size - position < limit:
        start = max(0, position - _TAIL_BYTES)
        stream.seek(start)
        lines = (stream.read(position - start) + rest).split(b"\n")
        rest, position = lines[0], start
        for line in reversed(lines[1:]):
            if not torn:
                yield line
            torn = False
    if position == 0 and not torn and rest:
        yield rest


def writing(path: Path) -> AbstractContextManager[object]:
    """Exclusive right to write the journal; the lock is a file next to it, since alignment replaces the journal."""
    return locked(path.with_suffix(".lock"))


def _last_line(stream: IO[bytes]) -> bytes | None:
    """Last complete line without its newline."""
    return next(_backwards(stream), None)


def _parse(line: bytes, path: Path, number: int | None) -> Entry:
    where = f"{path.name}, line {number}" if number else f"{path.name}, last line"
    try:
        entry = parse_json(line)
    except ValueError as error:
        raise InputError(f"{where}: no JSON ({error}); expected one object a line. See: deft verify") from error
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(entry).__name__}. See: deft verify")
    _check(entry, where)
    if _UNWRITABLE.search(line):  # seldom, so that no other line pays for being written again
        try:
            encode(entry)
        except ValueError as error:
            raise InputError(f"{where}: {error}; expected finite numbers and Unicode text. See: deft verify") from error
    return entry


def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    try:
        return datetime.fromisoformat(text[:19]).year >= _FIRST_YEAR
    except ValueError:
        return False


def _check_after(after: Any, where: str) -> None:
    """The line that a prune or rollback stands behind, which says what follows."""
    while True:
        if not isinstance(after, dict) or any(type(after.get(name)) is not str for name in ("iter", "stage", "status")):
            raise InputError(f"{where} without facts.after; it is written by deft alone")
        iter_number(after["iter"])
        facts = after.get("facts", {})
        if after["stage"] not in order.STAGES or after["status"] not in STATUSES or not isinstance(facts, dict):
            raise InputError(f"{where}: facts.after {shown(after)}; it is written by deft alone")
        if after["stage"] not in (order.PRUNE, order.ROLLBACK):
            return
        after = facts.get("after")


def _check(entry: Entry, where: str) -> None:
    for name, kind in _FIELDS.items():
        value = entry.get(name, 0 if name == "context_tokens" else None)
        if type(value) is not kind:
            raise InputError(f"{where}: {name} is {shown(value)}; expected {kind.__name__}")
    iter_number(entry["iter"])
    if entry["stage"] not in order.STAGES:
        raise InputError(f"{where}: stage {shown(entry['stage'])}; expected one of {', '.join(order.STAGES)}")
    for name, kind in (("facts", dict), ("artifacts", list)):
        if name in entry and type(entry[name]) is not kind:
            raise InputError(f"{where}: {name} is {shown(entry[name])}; expected {kind.__name__}")
    for item in entry.get("artifacts", []):
        if not isinstance(item, dict) or not isinstance(item.get("path"), str):
            raise InputError(f"{where}: artifact {shown(item)}; expected an object with path, bytes and sha256")
        if text_problem(item["path"]) or item["path"].startswith("/") or ".." in item["path"].split("/"):
            raise InputError(f"{where}: artifact {shown(item['path'])}; expected a path within the run directory")
    if entry["stage"] in (order.PRUNE, order.ROLLBACK):
        _check_after(entry.get("facts", {}).get("after"), f"{where}: {entry['stage']} line")
    if entry["stage"] == order.ROLLBACK and not isinstance(entry.get("facts", {}).get("to"), str):
        raise InputError(f"{where}: a rollback line without facts.to; it is written by deft rollback alone")
    if entry["status"] not in STATUSES:
        raise InputError(f"{where}: status {shown(entry['status'])}; expected ok or error")
    if entry["duration_sec"] < 0 or entry.get("context_tokens", 0) < 0:
        raise InputError(f"{where}: duration_sec and context_tokens must not be negative")
    if entry["duration_sec"] > _LONGEST:
        raise InputError(f"{where}: duration_sec {shown(entry['duration_sec'])}; expected at most {_LONGEST:,}")
    if not _is_time(entry["ts"]):
        raise InputError(f"{where}: ts {shown(entry['ts'])}; expected UTC as 2026-01-31T09:00:00Z")
