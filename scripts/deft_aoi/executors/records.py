"""The records of a job whose process is not a child of ours: handle at submission, exit record at its end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json, utc_now
from deft_aoi.executors.base import EXIT, HANDLE, JobState, Task


def write_handle(job: Path, task: Task, platform: str, **facts: Any) -> None:
    """Note what is submitted, before it is: `facts` name the job on its platform (container, job id).

    Raises InputError where the folder already holds a job.
    """
    if (job / HANDLE).is_file():
        raise InputError(f"{job}: this job already runs; wait for it with deft step")
    job.mkdir(parents=True, exist_ok=True)
    handle = {"platform": platform, "task": list(task.command), "submitted": utc_now(), "epoch": time.time()}
    atomic_write_json(job / HANDLE, handle | facts)


def add_to_handle(job: Path, **facts: Any) -> None:
    atomic_write_json(job / HANDLE, (read_handle(job) or {}) | facts)


def read_handle(job: Path) -> dict[str, Any] | None:
    """The handle, or None where no job was submitted."""
    path = job / HANDLE
    if not path.is_file():
        return None
    handle: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return handle


def open_handle(job: Path) -> dict[str, Any] | None:
    """The handle of a job whose end is not recorded; None where :func:`settled` tells all."""
    return None if (job / EXIT).is_file() else read_handle(job)


def settled(job: Path) -> JobState:
    """State of a job without an open handle: its recorded end, or that there is none."""
    return (recorded_end(job) if (job / HANDLE).is_file() else None) or JobState("absent")


def record_end(job: Path, returncode: int, seconds: float, reason: str = "") -> JobState:
    """Write the exit record and return the state that it means."""
    state = JobState("finished", returncode, round(seconds, 3), reason)
    record = {"returncode": returncode, "seconds": state.seconds, "ended": utc_now(), "reason": reason}
    atomic_write_json(job / EXIT, record)
    return state


def recorded_end(job: Path) -> JobState | None:
    """The state of a job whose exit record is there, else None."""
    if not (job / EXIT).is_file():
        return None
    record = json.loads((job / EXIT).read_text(encoding="utf-8"))
    return JobState("finished", record["returncode"], record["seconds"], record.get("reason", ""))
