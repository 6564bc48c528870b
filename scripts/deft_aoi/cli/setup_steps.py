"""One command of the set-up after another: run with progress, its output in a log, its failure in one line."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from deft_aoi.cli.setup_meters import LineMeter
from deft_aoi.cli.setup_plan import Plan, StepError

_STRIPPED = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
)
EVERY_S = 10.0  # in a pipe
_BAR = 24


class Progress:
    """A bar with megabytes that is redrawn on a terminal; elsewhere a line every ten seconds."""

    def __init__(self, title: str) -> None:
        self.title, self.detail = title, ""
        self.done = self.total = 0  # bytes; total 0: nothing to count
        self.live = sys.stderr.isatty()
        self.start = self.last = time.monotonic()

    def text(self, spent: float) -> str:
        if not self.total:
            return f"deft: {self.title} ({spent:.0f} s) {self.detail}"
        done = min(self.done, self.total)
        filled = _BAR * done // self.total
        bar = f" [{'#' * filled}{'.' * (_BAR - filled)}]" if self.live else ":"
        return f"deft: {self.title}{bar} {done / 1e6:.1f} of {self.total / 1e6:.1f} MB ({spent:.0f} s)"

    def show(self) -> None:
        now = time.monotonic()
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{self.text(now - self.start)[:width]:<{width}}", end="", file=sys.stderr, flush=True)
        elif now - self.last >= EVERY_S:
            self.last = now
            print(self.text(now - self.start)[:120], file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{'':<{width}}\r", end="", file=sys.stderr, flush=True)


def step_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what would lead an installer elsewhere; index, proxy, certificates stay."""
    kept = {name: value for name, value in os.environ.items() if name not in _STRIPPED}
    kept.setdefault("PIP_RETRIES", "2")
    return kept | {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra}


@contextlib.contextmanager
def output_of(meter: LineMeter) -> Iterator[tuple[int, int]]:
    """(end to read, end to write) of a pipe, or of a terminal where the installer counts bytes on nothing else."""
    if meter.terminal:
        reading, writing = pty.openpty()
        with contextlib.suppress(OSError):
            fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 100, 0, 0))
    else:
        reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)


def run_step(
    plan: Plan,
    lock: int,
    title: str,
    command: Sequence[str | Path],
    extra: Mapping[str, str] | None = None,
    meter: LineMeter | None = None,
) -> None:
    """Run one command of the set-up, with `extra` variables, with progress on stderr, its output in the log.

    Raises StepError when it fails.
    """
    progress, meter = Progress(title), meter or LineMeter()
    with output_of(meter) as (reading, writing):
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=plan.home,  # a uv.toml or pyproject.toml in the caller's folder is not for us
            env=step_environment(extra or {}),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            pass_fds=(lock,),
        )
        os.close(writing)

        def read() -> None:
            with contextlib.suppress(OSError):  # a terminal ends with an error
                while block := os.read(reading, 1 << 16):
                    meter.feed(block)
            meter.end()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            while reader.is_alive():
                reader.join(0.25)
                progress.done, progress.total = meter.count()
                progress.detail = meter.lines[-1] if meter.lines else ""
                progress.show()
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            progress.end()
            note(plan, f"$ {' '.join(map(str, command))}", *meter.lines)
    if code:
        raise StepError(meter.lines)


def note(plan: Plan, *lines: str) -> None:
    """Add to the log of the set-up; a full disk does not end it here."""
    with contextlib.suppress(OSError), open(plan.log, "a", encoding="utf-8") as log:
        log.write("\n".join([*lines, ""]))


DISK_FULL = r"No space left on device|Disk quota exceeded|os error 28\b"
_CAUSES = (
    (DISK_FULL, "the disk is full", "free some space or set DEFT_HOME"),
    (
        r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate|TLS CA certificate bundle",
        "the package index's certificate cannot be checked",
        "set PIP_CERT (uv: SSL_CERT_FILE) to your network's certificates",
    ),
    (
        r"NewConnectionError|NameResolutionError|name resolution|dns error|Connection refused|Network is unreachable|"
        r"ConnectTimeout|Read timed out|ReadTimeout|Could not connect|error sending request|ProxyError|Max retries",
        "the package index cannot be reached",
        "connect this machine, or set PIP_INDEX_URL to your mirror",
    ),
    (
        r"DO NOT MATCH THE HASHES|Hash mismatch|no hashes (?:found|that match)",
        "the package index handed out a file that this skill was not made with",
        "ask who keeps your mirror, or set PIP_INDEX_URL to another",
    ),
    (
        r"No matching distribution|no wheels with a matching|has no usable wheels|not find a version",
        "a package has no ready-made file for this Python and system",
        "try another Python (3.10 to 3.13) through PATH",
    ),
    (r"ensurepip|No module named venv", "this Python cannot make environments", "apt install python3-venv"),
)


def explain(error: StepError, log: Path) -> str:
    """One line: the cause if it is a known one, what to do, and where the whole output is."""
    text = "\n".join(error.output[-200:])
    for pattern, cause, remedy in _CAUSES:
        if re.search(pattern, text):
            return f"{cause}; {remedy}, or set DEFT_PYTHON to a Python that has the packages (output: {log})"
    return f"{error}; set DEFT_PYTHON to a Python that has the packages, or look into {log}"
