"""What a command says: few lines for a reader with little context, the rest in a file, the next command in full."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shlex
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any

from deft_aoi.base.errors import FAULT, REFUSED, DeftError, Refusals
from deft_aoi.base.safe_paths import printable

LIMIT = 12
_HEAD = LIMIT - 2  # the last two are the note and the last line said


def command_line(*words: str | Path) -> str:
    """A `deft` command that can be typed as it stands: by the launcher's path where the launcher called us.

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


def print_json(value: Any) -> None:
    whole(json.dumps(value, indent=2, ensure_ascii=False))


def for_programs(arguments: Sequence[str]) -> bool:
    """True where the caller asked for JSON: it is never cut."""
    return "--json" in arguments or ("--format", "json") in itertools.pairwise(arguments)


@contextmanager
def brief(name: str, arguments: Sequence[str]) -> Iterator[None]:
    """Let the block say at most `LIMIT` lines, both streams together, and put the whole into a temporary file.

    Nothing is cut on a terminal, for `--json`, and with DEFT_LINES=all.
    """
    if for_programs(arguments) or os.environ.get("DEFT_LINES") == "all" or sys.stdout.isatty() or sys.stderr.isatty():
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


def run_script(entry: Callable[[], int]) -> int:
    """Shell of a contract script: refusals become `<script>: <message>` on stderr and the error's exit code."""
    name = os.path.basename(sys.argv[0]).removesuffix(".py")
    with ends_on_sigterm(), brief(name, sys.argv[1:]):
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


class _Said:
    """Lines said so far: the first ones are shown at once, the others wait until it is known whether they fit."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0
        self._early: list[tuple[IO[str], str]] = []  # the first LIMIT lines
        self._last: tuple[IO[str], str] | None = None
        self._file: IO[str] | None = None
        self._path = ""

    def add(self, stream: IO[str], line: str) -> None:
        self._count += 1
        self._last = stream, line
        if self._count <= LIMIT:
            self._early.append((stream, line))
            if self._count <= _HEAD:
                _say(stream, line)
            return
        if self._file is None:
            handle, self._path = tempfile.mkstemp(prefix=f"deft-{self._name}-", suffix=".txt")
            self._file = os.fdopen(handle, "w", encoding="utf-8")
            self._file.writelines(early for _, early in self._early)
        self._file.write(line)

    def end(self) -> None:
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
