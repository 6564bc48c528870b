"""How many bytes an installer has done of how many, read from what it prints and writes."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def size(number: str, unit: str) -> int:
    return int(float(number) * _UNITS[unit])


def folder_size(folder: Path, suffix: str = "") -> int:
    """Bytes of the files below `folder` whose names end in `suffix`; files that come and go meanwhile are fine."""
    total, todo = 0, [str(folder)]
    while todo:
        try:
            with os.scandir(todo.pop()) as found:
                for entry in found:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif entry.name.endswith(suffix):
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total


class LineMeter:
    """Keeps the lines of a command; counts nothing."""

    terminal = False  # whether the command is to think that it speaks to a terminal

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._rest = b""

    def feed(self, block: bytes) -> None:
        *whole, self._rest = re.split(rb"[\r\n]+", self._rest + block)
        for line in whole:
            self.line(line.decode(errors="replace").strip())

    def end(self) -> None:
        self.feed(b"\n")

    def line(self, text: str) -> None:
        if text:
            self.lines.append(text)

    def count(self) -> tuple[int, int]:
        """(bytes done, bytes in all), 0 in all where that is not known."""
        return 0, 0


class FolderMeter(LineMeter):
    """What a command has written below a folder, of a known number of bytes; looked up once a second."""

    def __init__(self, folder: Path, total: int, suffix: str = "") -> None:
        super().__init__()
        self.folder, self.total, self.suffix = folder, total, suffix
        self._done, self._next = 0, 0.0

    def count(self) -> tuple[int, int]:
        if self.total and time.monotonic() >= self._next:
            self._done = folder_size(self.folder, self.suffix)
            self._next = time.monotonic() + 1
        return self._done, self.total


class PipMeter(FolderMeter):
    """pip names each file with its size when it begins to fetch it, and fetches into its temporary folder."""

    _FILE = re.compile(r"(?:Downloading|Using cached) \S+\.whl \(([\d.]+) ([kMG]B)\)")

    def __init__(self, temporary: Path) -> None:
        super().__init__(temporary, 0, ".whl")

    def line(self, text: str) -> None:
        super().line(text)
        if found := self._FILE.match(text):
            self.total += size(*found.groups())


class UvMeter(LineMeter):
    """uv draws one bar a download, on a terminal only; a bar that is gone is a download that is complete."""

    terminal = True
    _CODES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
    _BARS = re.compile(r"([a-z0-9][a-z0-9._-]*) +-+ +([\d.]+) ?([KMG]?i?B)/([\d.]+) ?([KMG]?i?B)")
    _NOISE = re.compile(r"^[\u2580-\u259f\u2800-\u28ff]|^(?:Resolving|Preparing|Installing) ")

    def __init__(self) -> None:
        super().__init__()
        self._bars: dict[str, tuple[int, int]] = {}

    def line(self, text: str) -> None:
        text = self._CODES.sub("", text)
        for name, done, unit, total, of in self._BARS.findall(text):
            self._bars[name] = size(done, unit), size(total, of)
        text = self._BARS.sub("", text).strip()
        if text and not self._NOISE.match(text):
            self.lines.append(text)

    def count(self) -> tuple[int, int]:
        bars = list(self._bars.values())
        return sum(done for done, _ in bars), sum(total for _, total in bars)
