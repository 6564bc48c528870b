"""The shape that every stage module has: `tasks(run, label)` and `collect(run, label)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from deft_aoi.executors.base import Task
from deft_aoi.record.facts import Facts
from deft_aoi.record.run import Run

DECIDED = "decided"  # folder next to a stage's jobs, for what its tasks decided


@dataclass(frozen=True)
class StageResult:
    """What a finished stage adds to the journal: one line of text, facts for the state, files it vouches for."""

    summary: str
    facts: Facts | Mapping[str, Any]
    artifacts: tuple[Path, ...] = field(default=())

    def record(self) -> dict[str, Any]:
        """The facts as JSON."""
        return self.facts.to_json() if isinstance(self.facts, Facts) else dict(self.facts)


class Stage(Protocol):
    """A module of `deft_aoi.stages`."""

    @staticmethod
    def tasks(run: Run, label: str) -> Iterable[Task]:
        """Heavy commands in the order of their work; empty where the stage is analysis on the host.

        One is asked for when those before it have succeeded, so a generator may look at what they wrote and raise
        HardStop. It starts again in every call of `deft step`.
        """
        ...

    @staticmethod
    def collect(run: Run, label: str) -> StageResult:
        """Check what the tasks wrote, do the analysis, return facts. Raises HardStop where the loop must not go on."""
        ...
