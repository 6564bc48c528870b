"""What a command says: few lines for a reader with little context, the rest in a file, the next command in full."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import itertools
import json
import locale
import os
import re
import shlex
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any

from deft_aoi.base.cache_folder import cache_root
from deft_aoi.base.errors import FAULT, REFUSED, DeftError, Refusals
from deft_aoi.base.safe_paths import printable

LIMIT = 12
_HEAD = LIMIT - 2  # the last two are the note and the last line printed
_OUTPUT = re.compile(r"deft-[a-z_-]+-\w{8}\.txt")
_KEPT, _KEPT_SECONDS = 20, 24 * 3600  # long outputs in the cache
# For streams that lack the character; any other is shown by its number.
_PLAIN = {"→": "->", "←": "<-", "…": "...", "·": "-", "×": "x", "≤": "<=", "≥": ">=", "±": "+-", "µ": "u", "–": "-"}
_NO_CHARSET = ("UTF-8", "ANSI_X3.4-1968", "646", "")  # of a locale: ours already, or none was set


def command_line(*words: str | Path) -> str:
    """A `deft` command that can be typed as it is: by the launcher's path where the launcher called us.

    `sh` before it, as SKILL.md writes it: an installer may have lost the file's mode.
    """
    launcher = os.environ.get("DEFT_LAUNCHER") or "deft"
    shell = [] if launcher == "deft" else ["sh"]
    return shlex.join([*shell, launcher, *map(str, words)])


def next_line(*words: str | Path) -> str:
    return f"next: {command_line(*words)}"


def whole(text: str) -> None:
    """Print `text` to its end: what a person approves, or what a program reads."""
    stream = sys.stdout.stream if isinstance(sys.stdout, _Counted) else sys.stdout
    print(text, file=stream, flush=True)


def aside(text: str) -> None:
    """One line on stderr that is shown at once and does not count: how far long work is."""
    stream = sys.stderr.stream if isinstance(sys.stderr, _Counted) else sys.stderr
    _say(stream, f"{text}\n")


def print_json(value: Any) -> None:
    whole(json.dumps(value, indent=2, ensure_ascii=False))


def wants_all(arguments: Sequence[str]) -> bool:
    """True where the caller asked for JSON or help: neither is ever cut."""
    return not {"--json", "--help", "-h"}.isdisjoint(arguments) or ("--format", "json") in itertools.pairwise(arguments)


@contextmanager
def brief(name: str, arguments: Sequence[str]) -> Iterator[None]:
    """Let the block print at most `LIMIT` lines, both streams together, and put the whole into a file of the cache.

    Nothing is cut on a terminal, for `--json` and `--help`, and with DEFT_LINES=all.
    """
    if wants_all(arguments) or os.environ.get("DEFT_LINES") == "all" or sys.stdout.isatty() or sys.stderr.isatty():
        yield
        return
    said = _Said(name)
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Counted(streams[0], said), _Counted(streams[1], said)
    try:
        yield
    finally:
        for counted in (sys.stdout, sys.stderr):
            if isinstance(counted, _Counted):
                counted.end()
        sys.stdout, sys.stderr = streams
        said.end()


@contextmanager
def steady() -> Iterator[None]:
    """Let nothing printed in the block change how it ends: no character, no closed pipe, no full disk behind it."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Steady(streams[0]), _Steady(streams[1])
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = streams


def _without(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that a stream cannot show."""
    assert isinstance(error, UnicodeEncodeError)
    lost = error.object[error.start : error.end]
    shown = "".join(_PLAIN.get(c) or c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in lost)
    return shown, error.end


codecs.register_error("deft", _without)


class _Steady:
    """A text stream whose writes never fail."""

    def __init__(self, stream: Any) -> None:
        if stream is None:  # closed before we started
            stream = io.StringIO()
        self._stream: Any = stream
        charset = locale.nl_langinfo(locale.CODESET) if sys.flags.utf8_mode and self._stream.isatty() else ""
        with contextlib.suppress(AttributeError, LookupError, ValueError):  # a stream of another kind stays as it is
            if charset in _NO_CHARSET or "PYTHONIOENCODING" in os.environ:
                self._stream.reconfigure(errors="deft")
            else:
                self._stream.reconfigure(encoding=charset, errors="deft")

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            self._lose()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._lose()

    def _lose(self) -> None:
        """The reader is gone: what is left in the buffer goes nowhere, and Python's own last flush does not fail."""
        with contextlib.suppress(OSError, ValueError):
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, self._stream.fileno())
            os.close(sink)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def run_script(entry: Callable[[], int]) -> int:
    """Shell of a contract script: refusals become `<script>: <message>` on stderr and the error's exit code."""
    name = os.path.basename(sys.argv[0]).removesuffix(".py")
    with steady(), ends_on_sigterm(), brief(name, sys.argv[1:]):
        return guarded(name, entry)


class Terminated(KeyboardInterrupt):
    """SIGTERM came: a command ends as after Ctrl-C."""


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block in order: locks are given back, files are whole, jobs go on. Where it is ignored, or
    somebody else handles it, that stays."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def guarded(name: str, action: Callable[[], int]) -> int:
    """Run `action`; print a refusal as one line. DEFT_DEBUG=1 adds the traceback."""
    try:
        return action()
    except DeftError as error:
        if os.environ.get("DEFT_DEBUG"):
            traceback.print_exc()
        for problem in error.problems if isinstance(error, Refusals) else [str(error)]:
            print(f"{name}: {printable(' '.join(problem.split()))}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if os.environ.get("DEFT_DEBUG"):
            traceback.print_exc()
        text = f"{name}: {error.strerror or error}: {error.filename or ''}".rstrip(": ")
        if error.errno == errno.ENOSPC:
            text += "; nothing is lost: free space (deft prune --results-dir R drops checkpoints), then call again"
        print(printable(text), file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt as end:
        word, code = ("terminated", 143) if isinstance(end, Terminated) else ("interrupted", 130)
        print(f"{name}: {word}; nothing is lost, the next `deft step` goes on", file=sys.stderr)
        return code
    except Exception as error:  # the last net: what was foreseen nowhere still gets one line, and no traceback
        if os.environ.get("DEFT_DEBUG"):
            traceback.print_exc()
        said = " ".join(str(error).split())[:300]
        text = (
            f"{name}: a fault of this program: {type(error).__name__}: {said}; nothing is lost. With DEFT_DEBUG=1 it "
        )
        print(printable(f"{text}shows where; please report it (SECURITY.md says how)"), file=sys.stderr)
        return FAULT


def _output_folder() -> Path:
    """Where long outputs go: the cache of this user, never the temporary folder. Older ones are removed: those from
    before a day, and all but the newest `_KEPT`."""
    folder = cache_root() / "output"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        found = [entry for entry in os.scandir(folder) if _OUTPUT.fullmatch(entry.name)]
        found.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime, reverse=True)
        oldest = time.time() - _KEPT_SECONDS
        for place, entry in enumerate(found):
            if place >= _KEPT or entry.stat(follow_symlinks=False).st_mtime < oldest:
                os.unlink(entry.path)
    return folder


class _Said:
    """Lines printed so far: the first ones are shown at once, the others wait until it is known whether they fit."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0
        self._early: list[tuple[IO[str], str]] = []  # the first LIMIT lines
        self._last: tuple[IO[str], str] | None = None
        self._file: IO[str] | None = None
        self._path = ""
        self._whole = False  # nothing is held back any more

    def add(self, stream: IO[str], line: str) -> None:
        if self._whole:
            _say(stream, line)
            return
        self._count += 1
        self._last = stream, line
        if self._count <= LIMIT:
            self._early.append((stream, line))
            if self._count <= _HEAD:
                _say(stream, line)
            return
        if self._file is None:
            try:
                handle, self._path = tempfile.mkstemp(".txt", f"deft-{self._name}-", _output_folder())
            except OSError:  # no cache folder can be made: print everything
                self._whole = True
                for waiting in (*self._early[_HEAD:], (stream, line)):
                    _say(*waiting)
                return
            self._file = os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace")
            self._file.writelines(early for _, early in self._early)
        self._file.write(line)

    def end(self) -> None:
        if self._whole:
            return
        if self._file is None:
            for stream, line in self._early[_HEAD:]:
                _say(stream, line)
            return
        self._file.close()
        assert self._last is not None
        stream, line = self._last
        _say(stream, f"... {self._count - _HEAD - 1} more lines, all of them in {self._path}\n")
        _say(stream, line)


class _Counted:
    """A text stream that hands its complete lines to `said`."""

    def __init__(self, stream: IO[str], said: _Said) -> None:
        self.stream = stream
        self._said = said
        self._part = ""

    def write(self, text: str) -> int:
        *lines, self._part = (self._part + text).split("\n")
        for line in lines:
            self._said.add(self.stream, line + "\n")
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self.stream.flush()

    def end(self) -> None:
        if self._part:
            self._said.add(self.stream, self._part + "\n")
            self._part = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _say(stream: IO[str], line: str) -> None:
    stream.write(line)
    stream.flush()
