"""Run one job's command and leave an exit record. Usage: python -m deft_aoi.executors.supervise JOB LOCK_FD"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from deft_aoi.base.files import atomic_write_json, utc_now
from deft_aoi.executors.base import EXIT, HANDLE


def main(job: Path, lock: int) -> int:
    """Start the command of `job`/handle.json with the lock handed on, wait, write `exit.json`."""
    handle = json.loads((job / HANDLE).read_text(encoding="utf-8"))
    atomic_write_json(job / HANDLE, handle | {"pid": os.getpid()})
    started = time.monotonic()
    changes = handle.get("environment", {})
    environment = {name: value for name, value in (os.environ | changes).items() if value is not None}
    process = subprocess.Popen(handle["command"], stdin=subprocess.DEVNULL, pass_fds=(lock,), env=environment)
    returncode = process.wait()
    seconds = round(time.monotonic() - started, 3)
    atomic_write_json(job / EXIT, {"returncode": returncode, "seconds": seconds, "ended": utc_now()})
    return returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
