"""What an executor is: it runs one TAO command line somewhere and knows nothing of the loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Task:
    """One heavy command of a stage.

    `command` is TAO's own command line; `output` the folder that this task alone writes; `expects` the files that
    prove success beside exit code 0; `finished` the message that TAO's status.json ends with (a TAO run killed by
    SIGTERM exits 0 without it); `resume` a file in `output` from which the command goes on where it was killed.
    """

    name: str
    command: tuple[str, ...]
    output: Path
    expects: tuple[Path, ...] = ()
    finished: str | None = None
    resume: Path | None = None


@dataclass(frozen=True)
class JobState:
    """`kind`: absent | running | finished | lost (nothing alive and no exit record)."""

    kind: str
    returncode: int | None = None
    seconds: float = 0.0


class Executor(Protocol):
    """Runs tasks; a job is named by its folder, which holds handle, log and exit record."""

    def submit(self, task: Task, job: Path) -> None: ...

    def poll(self, job: Path) -> JobState: ...

    def log(self, job: Path) -> Path: ...

    def cancel(self, job: Path) -> None: ...

    def describe(self) -> str: ...
