"""Break a run on purpose: kill its driver, its jobs or both at a moment or at a file operation, then go on.

Nothing of this is in the product: the driver runs in a forked child that this module kills from outside, or that dies
by SIGKILL inside `os.fsync`, `os.replace`, `os.rename`, `os.write`, wrapped in the child alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from deft_aoi.executors.base import EXIT, HANDLE
from deft_aoi.executors.local import LocalExecutor, alive, began
from deft_aoi.executors.tao_status import read_status
from deft_aoi.record import journal
from inside import jobs_by
from null_engine import NOTE
from null_jobs import NullExecutor
from small_workspace import make_workspace

TARGET = "FAR <= 0% at recall = 100%"
TOLD = ("seq", "iter", "stage", "status", "summary", "facts")
AFTER_WRITE = 11  # boundaries from the journal's write to the snapshot's last fsync
MAX_JOB_KILLS = 2  # a third loss of one job is a hard stop, and rightly so
DRIVER, JOB, MACHINE = "driver", "job", "machine"
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "pandas",
        "pyarrow.parquet",
        "faiss",
        "cv2",
        "deft_aoi.loop.driver",
        "deft_aoi.loop.verify",
        "deft_aoi.data.leakage",
    ]
    + ["deft_aoi.kpi.plots", "deft_aoi.report.render", "deft_aoi.stages.gap_analysis"]
    + [f"deft_aoi.stages.{name}" for name in ("train", "evaluate", "rca", "routing", "mining", "merge", "finish")]
    + ["cleanlab.filter", "sklearn.ensemble", "sklearn.linear_model", "scipy.stats", "PIL.ImageFont", "faulty"]
)
_STAMP = re.compile(r"\d{8}_\d{6}(_\d+)?")
_TEMPORARY = re.compile(r"^\.(.+)\.[0-9a-f]{12}\.tmp$")
Died = tuple[str, str, int, str]


# --- a run to break -------------------------------------------------------------------------------------------------


def line(root: Path) -> Path:
    """A tiny workspace that no model satisfies; on the null engine, its baseline stays the best."""
    make_workspace(root, counts=(24, 24, 48, 60))
    (root / NOTE).write_text('{"worse": true}')
    return root


def begin(workspace: Path, number: int, iterations: int = 1, *, screen: bool = False) -> Path:
    """An approved run that was not stepped yet; `screen` judges labels of picks, which takes most of mining's time."""
    from deft_aoi.preflight import preflight

    asked = {
        "workspace": str(workspace), "max_iterations": iterations, "mine_rows": 12, "num_epochs": 2,
        "kpi_target": TARGET, "screen": screen,
    }  # fmt: skip
    paths = preflight.write(preflight.preflight(asked), workspace / f"results/run_20260101_{number:06d}")
    preflight.start(paths)
    return paths.root


def finish(run: Path, limit: int = 100, *, jobs: type[LocalExecutor] = NullExecutor) -> list[float]:
    """Step to the end without harm; seconds of each step."""
    seconds = []
    for _ in range(limit):
        started = time.monotonic()
        child = step(run, jobs=jobs)
        child.join(300)
        seconds.append(time.monotonic() - started)
        if child.exitcode == 10:
            return seconds
        assert child.exitcode == 0, (child.exitcode, (run / "loop_log.jsonl").read_text().splitlines()[-1:])
    raise AssertionError(f"{run}: not complete after {limit} steps")


# --- what must not depend on the kills ------------------------------------------------------------------------------


def outcome(run: Path) -> dict[str, Any]:
    """Facts of every line, hand-over, scores and the hashes of what was trained and merged, without this run's name."""
    entries = journal.read(run / "loop_log.jsonl")
    model = json.loads((run / "best_model.json").read_text())
    kept = (".pth", "inference.csv", "combined_iter1.csv", "mined.parquet", "_provenance.csv")
    return {
        "facts": [
            plain([e["seq"], e["iter"], e["stage"], e["status"], e["summary"], e["facts"]], run) for e in entries
        ],
        "artifacts": [(a["path"], a["sha256"]) for e in entries for a in e["artifacts"] if a["path"].endswith(kept)],
        "best_model": plain(model, run),
        "scores": [path.read_text() for path in sorted(run.glob("*/inference/*/inference.csv")) if in_use(path)],
    }


def plain(value: Any, run: Path) -> str:
    return _STAMP.sub("TIME", json.dumps(value, sort_keys=True).replace(str(run), "RUN"))


def in_use(path: Path) -> bool:
    return ".failed-" not in str(path)


def repeated(run: Path) -> dict[str, int]:
    """Heavy commands that were brought to their end more than once, by job and by what they left."""
    ends: Counter[str] = Counter()
    for record in (run / "jobs").glob("*/" + EXIT):
        if json.loads(record.read_text())["returncode"] == 0:
            ends[f"job {_base(record.parent.name)}"] += 1
    for status in [*run.glob("*/train*/status.json"), *run.glob("*/inference/*/status.json")]:
        messages = [m.get("message") or "" for m in read_status(status.parent)]
        if messages and "finished successfully" in messages[-1]:
            ends[f"output {status.parent.parent.relative_to(run)}/{_base(status.parent.name)}"] += 1
    return {name: count for name, count in ends.items() if count > 1}


def _base(name: str) -> str:
    return name.split(".failed-")[0]


# --- children -------------------------------------------------------------------------------------------------------


def step(
    run: Path, survived: Iterable[Died] | None = None, note: Path | None = None, late: int = 0, *,
    jobs: type[LocalExecutor] = NullExecutor, report: bool = False,
) -> BaseProcess:  # fmt: skip
    """One `deft step` in a process of its own; with `survived`, it dies at the first boundary not among them."""
    told = None if survived is None else set(survived)
    return _started(_step, run, told, note, late, jobs, report)


def call(function: Callable[..., object], *arguments: object, survived: set[Died], note: Path, root: Path) -> int:
    """Any function in a child that dies at the first boundary not in `survived`; returns the child's exit code."""
    child = _started(_call, function, arguments, survived, note, root)
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode


def _started(target: Callable[..., None], *arguments: object) -> BaseProcess:
    kept = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), kept])  # the server imports this module
    try:
        child = _CONTEXT.Process(target=target, args=arguments)
        child.start()
    finally:
        os.environ["PYTHONPATH"] = kept
    return child


def _step(
    run: Path, survived: set[Died] | None, note: Path | None, late: int, jobs: type[LocalExecutor], report: bool
) -> None:
    from deft_aoi.loop import driver

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if survived is not None and note is not None:
        Trap(run, survived, note, late).set()
    with jobs_by(jobs):
        sys.exit(driver.step(run, wait=300, report=report).code)


def _call(
    function: Callable[..., object], arguments: tuple[object, ...], survived: set[Died], note: Path, root: Path
) -> None:
    Trap(root, survived, note).set()
    function(*arguments)


@dataclass
class Trap:
    """Kills this process around file operations below `root`: before, after and, for a write, half-way.

    Once the journal's line is written the stage is done, so a stage can die only once after that: `late` boundaries
    further on.
    """

    root: Path
    survived: set[Died]
    note: Path
    late: int = 0
    written: bool = False
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def set(self) -> None:
        names = {"fsync": 0, "write": 0, "ftruncate": 0, "replace": 1, "rename": 1}
        for name, position in names.items():
            setattr(os, name, self._wrapped(name, getattr(os, name), position))

    def _wrapped(self, name: str, real: Callable[..., Any], position: int) -> Callable[..., Any]:
        def around(*arguments: Any, **options: Any) -> Any:
            target = self._target(arguments[position])
            if target is None:
                return real(*arguments, **options)
            self.seen[name, target] += 1
            here = name, target, self.seen[name, target]
            self._perhaps_die((*here, "before"))
            if name == "write" and (*here, "half") not in self.survived:
                real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                self._perhaps_die((*here, "half"))
            result = real(*arguments, **options)
            self.written |= name == "write" and target == "loop_log.jsonl"
            self._perhaps_die((*here, "after"))
            return result

        return around

    def _target(self, named: Any) -> str | None:
        path = Path(os.readlink(f"/proc/self/fd/{named}")) if isinstance(named, int) else Path(named)
        if not path.is_relative_to(self.root):
            return None
        name = _TEMPORARY.sub(r"\1", path.name)
        return _STAMP.sub("TIME", str(path.relative_to(self.root).with_name(name) if path != self.root else "."))

    def _perhaps_die(self, here: Died) -> None:
        if self.written and self.late > 0:
            self.late -= 1
            return
        if here not in self.survived:
            with open(self.note, "a") as stream:
                stream.write(json.dumps(here) + "\n")
            os.kill(os.getpid(), signal.SIGKILL)


def deaths(note: Path) -> set[Died]:
    """Boundaries at which a child died so far."""
    text = note.read_text() if note.is_file() else ""
    return {tuple(json.loads(one)) for one in text.splitlines()}  # type: ignore[misc]


# --- ways to break --------------------------------------------------------------------------------------------------


def sweep(
    run: Path, scratch: Path, only: Iterable[str] | None = None, *, jobs: type[LocalExecutor] = NullExecutor
) -> Counter[str]:
    """Step to the end, dying once at every boundary of every stage (or of the stages `only`); kills per stage."""
    kills: Counter[str] = Counter()
    wanted = None if only is None else set(only)
    while True:
        name = upcoming(run)
        note = scratch / f"{run.name}-{name.replace('/', '-')}.jsonl"
        trap = wanted is None or name in wanted
        late = len(journal.read(run / "loop_log.jsonl")) % AFTER_WRITE
        child = step(run, deaths(note) if trap else None, note, late, jobs=jobs)
        child.join(300)
        if child.exitcode == -signal.SIGKILL:
            kills[name] += 1
        elif child.exitcode == 10:
            return kills
        else:
            assert child.exitcode == 0, (name, child.exitcode, tail(run))


def batter(run: Path, seconds: list[float], rng: random.Random, kills: int) -> Counter[str]:
    """Step to the end, killed at up to `kills` random moments spread over all stages; kills by what was killed.

    `seconds` are an unbroken run's, step by step. A kill that comes too late for its stage moves to a later one.
    """
    plan = Counter(rng.choices(range(len(seconds)), [0.3 + s for s in seconds], k=kills))
    done: Counter[str] = Counter()
    number = 0
    while True:
        at = min(number, len(seconds) - 1)
        child, lines = step(run, jobs=LocalExecutor), len(journal.read(run / "loop_log.jsonl"))
        if plan[at] > 0:
            child.join(rng.random() * seconds[at])
            if child.exitcode is None:
                what = rng.choice((DRIVER, DRIVER, MACHINE, JOB))
                done[_kill(run, child, what)] += 1
                plan[at] -= 1
        child.join(300)
        assert child.exitcode in (0, 10, -signal.SIGKILL), (child.exitcode, tail(run))
        if child.exitcode == 10:
            return done
        if len(journal.read(run / "loop_log.jsonl")) > lines:
            number += 1
            plan[min(number, len(seconds) - 1)] += plan.pop(at, 0) if at < len(seconds) - 1 else 0


def _kill(run: Path, child: BaseProcess, what: str) -> str:
    """SIGKILL the driver, the job it waits for, or both; returns what was killed."""
    jobs = [job for job in (run / "jobs").glob("*") if alive(job)] if what != DRIVER else []
    mortal = [job for job in jobs if sum(map(began, job.parent.glob(f"{job.name}.failed-*"))) < MAX_JOB_KILLS]
    if what != JOB or not mortal:
        child.kill()
        child.join(60)
    killed = [kill_job(job) for job in mortal]
    return what if any(killed) else DRIVER


def kill_job(job: Path) -> bool:
    """End what a vanished machine would end: supervisor and command; False where it had ended by itself."""
    deadline = time.monotonic() + 5
    while alive(job) and time.monotonic() < deadline:
        pid = json.loads((job / HANDLE).read_text()).get("pid") if (job / HANDLE).is_file() else None
        if pid:
            os.killpg(pid, signal.SIGKILL)
            while alive(job) and time.monotonic() < deadline:
                time.sleep(0.01)
            return not (job / EXIT).is_file()
        time.sleep(0.01)
    return False


def upcoming(run: Path) -> str:
    from deft_aoi.loop.driver import pending
    from deft_aoi.record.run import load_run

    return str(pending(load_run(run)))


def tail(run: Path) -> str:
    return (run / "loop_log.jsonl").read_text()[-600:]
