"""Run tasks as processes of this machine that outlive the agent's shell.

A job is alive exactly while somebody holds the lock on its folder. The submitter takes the lock and hands the open
file to the supervisor, which hands it to the command: no moment without an owner, no process id to mistake, and a
zombie (whose files are closed) counts as dead.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import IO

from deft_aoi.base.air_gap import OFFLINE
from deft_aoi.base.engine_commands import ENGINES
from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json, flock, utc_now
from deft_aoi.base.finding import OK
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.base.safe_paths import WORKSPACE_VARIABLE
from deft_aoi.executors import supervise, worker
from deft_aoi.executors.base import HANDLE, LOG, JobState, Probe, Task
from deft_aoi.executors.records import read_handle, recorded_end

_TRIES, _RETRY_SECONDS = 20, 0.05
LOCK = "alive.lock"
SECRETS = ("NGC_KEY", "NGC_API_KEY", "NGC_CLI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # no local job needs one


class LocalExecutor:
    """An engine of ours behind TAO's command line, one process a task; `engine` names the one that trains."""

    platform = "local"

    def __init__(self, engine: str = "features", workspace: Path | None = None, *, air_gapped: bool = False) -> None:
        self.workspace = workspace
        self.engine = engine
        self.air_gapped = air_gapped

    def submit(self, task: Task, job: Path) -> None:
        """Start `task`; its handle is on disk before this returns. Raises InputError if the job already runs."""
        job.mkdir(parents=True, exist_ok=True)
        with open(job / LOCK, "ab") as lock:
            _take(lock, job)
            command = self.command(task)
            handle = {
                "platform": self.platform,
                "command": command,
                "environment": self.environment(),
                "task": list(task.command),
                "submitted": utc_now(),
            }
            atomic_write_json(job / HANDLE, handle)
            environment = {
                **{name: value for name, value in os.environ.items() if name not in SECRETS},
                "PYTHONPATH": str(SKILL_ROOT / "scripts"),
                "PYTHONUTF8": "1",  # a log takes any character, whatever the caller's locale is
                **({WORKSPACE_VARIABLE: str(self.workspace)} if self.workspace else {}),
            }
            with open(job / LOG, "ab") as log:
                if worker.forks(command) and not handle["environment"]:
                    worker.submit(job, lock.fileno(), environment, log)
                else:
                    supervise.start(job, lock.fileno(), environment, log)

    def command(self, task: Task) -> list[str]:
        """Argument list that this machine runs for TAO's command line."""
        program, *arguments = task.command
        # Scoring asks the checkpoint which engine wrote it.
        trains = (program, *arguments[:1]) == ("visual_changenet", "train")
        return [sys.executable, "-m", ENGINES[program], *arguments, *(["--engine", self.engine] if trains else [])]

    def environment(self) -> dict[str, str | None]:
        """Variables that differ from the caller's for the command; None is unset. Written to disk: no secrets."""
        return dict(OFFLINE) if self.air_gapped else {}

    def poll(self, job: Path) -> JobState:
        if not (job / HANDLE).is_file():
            return JobState("absent")
        seconds = time.time() - submitted(job)
        if alive(job):
            return JobState("running", seconds=seconds)
        return recorded_end(job) or JobState("lost", seconds=seconds)

    def log(self, job: Path) -> Path:
        return job / LOG

    def cancel(self, job: Path) -> None:
        """End the job's process group; nothing happens when it is not running."""
        if alive(job):
            record = read_handle(job) or {}
            if "pid" in record:
                os.killpg(record["pid"], signal.SIGTERM)

    def describe(self) -> str:
        return f"this machine, in the embedded `{self.engine}` engine: no NVIDIA TAO, no container"

    def probe(self) -> list[Probe]:
        return [
            Probe(3, OK, "credentials: platform local needs none"),
            Probe(4, OK, "registry login: not needed, no image is pulled"),
            Probe(5, OK, "images: none, the embedded engine runs on this machine"),
            Probe(6, OK, "architecture and GPU: nothing to match"),
        ]


def _take(lock: IO[bytes], job: Path) -> None:
    """Lock the job; someone who only asks whether it is alive may hold the lock for a moment."""
    for _ in range(_TRIES):
        try:
            flock(lock.fileno(), job / LOCK, wait=False)
        except BlockingIOError:
            time.sleep(_RETRY_SECONDS)
        else:
            return
    raise InputError(f"{job}: this job already runs; wait for it with deft step")


def submitted(job: Path) -> float:
    """When the job was submitted, in seconds of the epoch. The folder's lock file is never written again."""
    return (job / LOCK).stat().st_mtime if (job / LOCK).is_file() else (job / HANDLE).stat().st_mtime


def began(job: Path) -> bool:
    """Whether the job's supervisor ever ran: it notes its process id, or says in the log why it could not."""
    if (job / LOG).is_file() and (job / LOG).stat().st_size:
        return True
    return "pid" in (read_handle(job) or {})


def alive(job: Path) -> bool:
    """Whether any process still holds the job's lock. Askers share the lock, so that they never see each other."""
    try:
        with open(job / LOCK, "rb") as lock:
            flock(lock.fileno(), job / LOCK, wait=False, shared=True)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
