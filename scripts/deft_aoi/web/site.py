"""What one server shows: workspaces with their runs, and folders of `deft score`. Read from disk at each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.record.review_log import ReviewLog
from deft_aoi.report.source import Source, open_run
from deft_aoi.web.loopback import NotFound

_T = TypeVar("_T")
_KEPT = 24  # computed answers in memory


class Kept:
    """Answers by what they were computed from: each is computed once, the oldest leave."""

    def __init__(self) -> None:
        self._values: dict[tuple[Any, ...], Any] = {}
        self._locks: dict[tuple[Any, ...], Lock] = {}
        self._lock = Lock()

    def get(self, key: tuple[Any, ...], make: Callable[[], _T]) -> _T:
        with self._lock:
            lock = self._locks.setdefault(key, Lock())
        with lock:
            if key not in self._values:
                self._values[key] = make()
            found: _T = self._values[key]
        with self._lock:
            while len(self._values) > _KEPT:
                oldest = next(iter(self._values))
                del self._values[oldest]
                self._locks.pop(oldest, None)
        return found


def stamp(*paths: Path) -> tuple[Any, ...]:
    """Changes when one of the files does."""
    states = (path.stat() if path.is_file() else None for path in paths)
    return tuple(None if one is None else (one.st_mtime_ns, one.st_size) for one in states)


@dataclass(frozen=True)
class Known:
    """One run as an address names it."""

    key: str
    paths: RunPaths
    workspace: Workspace

    @property
    def log(self) -> ReviewLog:
        return ReviewLog(self.paths.root.parent)

    def stamp(self) -> tuple[Any, ...]:
        return (self.key, *stamp(self.paths.log, self.paths.state, self.paths.preflight))


@dataclass(frozen=True)
class Site:
    """`workspaces` in the order in which they were named; `scored` folders of `deft score`."""

    workspaces: tuple[Workspace, ...]
    scored: tuple[Path, ...] = ()
    more: tuple[Path, ...] = ()  # run directories with a name of their own
    kept: Kept = field(default_factory=Kept)

    def runs(self) -> list[Known]:
        """Every run directory that has a Summary, a state or a journal, the newest first."""
        found = []
        for number, workspace in enumerate(self.workspaces):
            mine = [*workspace.runs(), *(path for path in self.more if path.is_relative_to(workspace.root))]
            for path in sorted(set(mine), reverse=True):
                paths = RunPaths(path)
                if paths.state.is_file() or paths.log.is_file() or paths.preflight.is_file():
                    found.append(Known(f"{number}.{path.name}", paths, workspace))
        return found

    def run(self, key: str) -> Known:
        """Raises NotFound."""
        for one in self.runs():
            if one.key == key:
                return one
        raise NotFound(f"run {key[:80]!r}: not among the runs of this server")

    def source(self, known: Known) -> Source:
        """The run as the report reads it, kept until journal or state change."""
        return self.kept.get(("source", *known.stamp()), lambda: open_run(known.paths.root))


def make_site(workspaces: list[Path], results_dir: Path | None, scored: list[Path]) -> Site:
    """Raises InputError where a folder is none, or nothing was named."""
    roots = [Workspace.at(path) for path in workspaces]
    more = []
    if results_dir is not None:
        run = open_run(results_dir)
        more.append(run.paths.root)
        if all(run.paths.root.parents[1] != one.root for one in roots):
            roots.insert(0, Workspace.at(run.paths.root.parents[1]))
    if not roots:
        raise InputError("name what to show: --workspace W (repeatable) or --results-dir R")
    for folder in scored:
        if not (folder / "decisions.csv").is_file():
            raise InputError(f"--scores {folder}: no decisions.csv in it; expected the output folder of deft score")
    return Site(tuple(roots), tuple(path.resolve() for path in scored), tuple(more))
