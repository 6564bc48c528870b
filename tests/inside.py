"""Command lines in this process: what a subprocess would print and return, without its start and its imports.

Each command line also has a test that starts it as a process of its own, as a user does.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from deft_aoi.base.console import guarded
from deft_aoi.base.engine_commands import ENGINES
from deft_aoi.base.files import atomic_write_json, utc_now
from deft_aoi.base.safe_paths import WORKSPACE_VARIABLE
from deft_aoi.cli import main
from deft_aoi.executors.base import EXIT, HANDLE, LOG, Task
from deft_aoi.executors.local import LOCK, LocalExecutor

Done = subprocess.CompletedProcess[str]


def call(
    main: Callable[[list[str]], int], *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Done:
    """Exit code and both streams of `main`; folder, environment and argument list are put back afterwards."""
    told = [str(word) for word in words]
    out, err = io.StringIO(), io.StringIO()
    with around(cwd, env or {}), redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(told)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return Done(told, code, out.getvalue(), err.getvalue())


@contextmanager
def around(cwd: Path | None, env: Mapping[str, str]) -> Iterator[None]:
    folder, environment, arguments = Path.cwd(), dict(os.environ), list(sys.argv)
    os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
    try:
        yield
    finally:
        os.chdir(folder)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        sys.argv[:] = arguments


def deft(*words: object, check: int | None = 0, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Done:
    """A `deft` command; `check` is the exit code that is expected, None for any."""
    done = call(main.main, *words, cwd=cwd, env=env)
    assert check is None or done.returncode == check, done.stdout + done.stderr
    return done


def script(name: str, *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Done:
    """A contract script, by its name without `.py`."""
    return call(lambda told: main.run_contract_script(name, told), *words, cwd=cwd, env=env)


def engine(program: str, *words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Done:
    """One of the embedded engine's command lines, under TAO's name for it or its module's."""
    named = {path.rpartition(".")[2]: path for path in ENGINES.values()}
    module = importlib.import_module(ENGINES.get(program) or named[program.rpartition(".")[2]])
    return call(lambda told: guarded(program, lambda: module.main(told)), *words, env=env, cwd=cwd)


class InsideExecutor(LocalExecutor):
    """Tasks of this host without processes: `submit` returns when the task has ended."""

    def submit(self, task: Task, job: Path) -> None:
        job.mkdir(parents=True, exist_ok=True)
        (job / LOCK).touch()
        handle = {"platform": self.platform, "command": self.command(task), "environment": {}, "pid": os.getpid()}
        atomic_write_json(job / HANDLE, handle | {"task": list(task.command), "submitted": utc_now()})
        done = self.answer(task)
        (job / LOG).write_text(done.stdout + done.stderr)
        atomic_write_json(job / EXIT, {"returncode": done.returncode, "seconds": 0.0, "ended": utc_now()})

    def answer(self, task: Task) -> Done:
        program, *words = task.command
        trains = (program, *words[:1]) == ("visual_changenet", "train")
        env = {WORKSPACE_VARIABLE: str(self.workspace)} if self.workspace else {}
        return engine(program, *words, *(["--engine", self.engine] if trains else []), env=env)


@contextmanager
def jobs_by(executor: type[LocalExecutor]) -> Iterator[None]:
    """Let the local platform of this process be `executor`, for code that makes its own."""
    from deft_aoi.executors import platform_choice

    kept = platform_choice.LocalExecutor
    platform_choice.LocalExecutor = executor  # type: ignore[misc]
    try:
        yield
    finally:
        platform_choice.LocalExecutor = kept  # type: ignore[misc]
