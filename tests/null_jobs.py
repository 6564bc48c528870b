"""The null engine behind the driver's executor seam."""

from __future__ import annotations

import sys
from pathlib import Path

import null_engine
from deft_aoi.executors.base import Task
from deft_aoi.executors.local import LocalExecutor
from inside import Done, InsideExecutor, call


def answers(task: Task) -> bool:
    """Whether the null engine knows this command line; any other one runs for real."""
    return not null_engine.COMMANDS.keys().isdisjoint((task.command[0], " ".join(task.command[:2])))


class NullJobs(LocalExecutor):
    """As the local platform starts every job: a supervisor, a lock, a process that outlives its caller."""

    def command(self, task: Task) -> list[str]:
        program = str(Path(null_engine.__file__))
        return [sys.executable, "-I", program, *task.command] if answers(task) else super().command(task)


class NullExecutor(InsideExecutor):
    """In the caller's process."""

    def answer(self, task: Task) -> Done:
        return call(null_engine.run, *task.command) if answers(task) else super().answer(task)
