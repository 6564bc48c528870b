"""Run one job's command and leave an exit record. Usage: python -m deft_aoi.executors.supervise JOB LOCK_FD"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from deft_aoi.base.files import atomic_write_json, utc_now
from deft_aoi.executors.base import EXIT, HANDLE


def start(job: Path, lock: int, environment: Mapping[str, str], log: IO[bytes]) -> None:
    """Start this module for a job, in a session of its own; what it says goes to `log`."""
    subprocess.Popen(
        [sys.executable, "-m", "deft_aoi.executors.supervise", str(job), str(lock)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        start_new_session=True,
        pass_fds=(lock,),
    )


def supervise(job: Path, run: Callable[[dict[str, Any]], int]) -> int:
    """Note this process in the handle of `job`, let `run` do what the handle says, write `exit.json`."""
    handle = json.loads((job / HANDLE).read_text(encoding="utf-8"))
    atomic_write_json(job / HANDLE, handle | {"pid": os.getpid()})
    started = time.monotonic()
    returncode = run(handle)
    seconds = round(time.monotonic() - started, 3)
    atomic_write_json(job / EXIT, {"returncode": returncode, "seconds": seconds, "ended": utc_now()})
    return returncode


def main(job: Path, lock: int) -> int:
    """Run the command of `job`/handle.json as a process of its own, with the lock handed on."""

    def run(handle: dict[str, Any]) -> int:
        changes = handle.get("environment", {})
        environment = {name: value for name, value in (os.environ | changes).items() if value is not None}
        process = subprocess.Popen(handle["command"], stdin=subprocess.DEVNULL, pass_fds=(lock,), env=environment)
        return process.wait()

    return supervise(job, run)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
