"""The shared driver of all stages: lock, jobs, journal, state, status line. It is the only writer of a run."""

from __future__ import annotations

import importlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deft_aoi.base.errors import COMPLETE, HARD_STOP, OK, STILL_RUNNING, HardStop, InputError, NotYet, Unreachable
from deft_aoi.base.files import atomic_write_text, locked, move_aside
from deft_aoi.base.paths import RunPaths, iter_number
from deft_aoi.base.safe_paths import printable
from deft_aoi.executors import platform_choice
from deft_aoi.executors.base import EXIT, Executor, JobState, Place, Task
from deft_aoi.executors.local import began
from deft_aoi.executors.tao_status import task_problem
from deft_aoi.preflight import approvals
from deft_aoi.record import disk_space, journal, order, state
from deft_aoi.record.locations import Places
from deft_aoi.record.order import Step
from deft_aoi.record.run import AIR_GAP, Run, add_line, approved, load_run, read_json, seal
from deft_aoi.stages import own_model
from deft_aoi.stages.stage import Stage, StageResult

STAGE_MODULES = {
    order.TRAIN: "train",
    order.EVALUATE: "evaluate",
    order.RCA: "rca",
    order.ROUTING: "routing",
    order.FINETUNE: "finetune",
    order.ANOMALYGEN: "anomalygen",
    order.DATA_MINING: "mining",
    order.DATA_MERGE: "merge",
    order.ACCEPTANCE: "acceptance",
    order.LOOP_STOP: "finish",
}
_JUDGED = (order.EVALUATE, order.ACCEPTANCE, order.LOOP_STOP)  # after these an iteration's own page is written too
LOST = "lost.txt"  # in the folder of a job that was lost: why, as its platform reported
MAX_LOST = 3
MAX_ATTEMPTS = 10
_POLL_SECONDS = 0.2, 15.0  # at least, at most: a cluster's controller is not asked five times a second for days
_FIRST_POLLS = 10  # come sooner, the n-th after n of so many parts of the least pause: many jobs take no second
_POLL_SHARE = 0.02  # of the time that a job has run: what waiting may add to it
_LOG_TAIL = 3


@dataclass(frozen=True)
class Outcome:
    """What one call did: an exit code and the line to show."""

    code: int
    line: str
    run: Run  # as the call left it


def step(results_dir: Path, *, wait: float, executor: Executor | None = None, report: bool = True) -> Outcome:
    """Do the next stage of a run, waiting at most `wait` seconds for its jobs.

    Every fact is read from disk, so that any process may make the next call. `report` false leaves the pages out
    (benchmarks). Raises InputError when another process works on the run or the run cannot be read.
    """
    deadline = time.monotonic() + wait
    with only_worker(results_dir) as run:
        approved(run.paths, run.state)
        if executor is None:
            approvals.require(run)  # before the stage begins: a refusal is no hard stop of the run
        behind = state.load(run.paths.state) != run.state  # a crash between journal and snapshot
        if behind:
            state.save(run.paths.state, run.state)
        seal(run)  # where a crash came between journal and seal
        following = pending(run)
        if following is None:
            if report and (behind or not run.paths.report.is_file()):
                render(run, Step(run.entries[-1]["iter"], order.LOOP_STOP))
            line = f"[{run.state['current_iteration']}] loop complete · report: {run.paths.report}"
            return Outcome(COMPLETE, line, run)
        if following.stage == order.RESOLVE:
            return _repeat_stop(run)
        if following.stage == order.TRAIN and own_model.is_waiting(run.plan, run.paths, following.label):
            raise InputError(own_model.waiting(run, following.label))
        started = time.time()
        module = stage_module(following.stage)
        try:
            running = do_tasks(run, following, module, executor or make_executor(run), deadline)
            if running is not None:
                return Outcome(STILL_RUNNING, f"{_head(run, following)} {running}", run)
            disk_space.require(run, following.label, following.stage, started=True)
            result = collected(run, following, module, deadline)
        except NotYet as missing:
            return Outcome(STILL_RUNNING, printable(f"{_head(run, following)} {missing}"), run)
        except HardStop as stop:
            return _record_stop(run, following, stop, started)
        except InputError as error:
            remedy = "fix what the message names, then: deft resolve --reason TEXT"
            return _record_stop(run, following, HardStop("refused_input", str(error), remedy=remedy), started)
        return _record(run, following, result, _duration(run, following, started), report)


def collected(run: Run, following: Step, module: Stage, deadline: float) -> StageResult:
    """What the stage found. Raises NotYet where what it needs from outside is not there at the deadline."""
    began_waiting = time.monotonic()
    while True:
        try:
            return module.collect(run, following.label)
        except NotYet:
            if time.monotonic() >= deadline:
                raise
            _pause(time.monotonic() - began_waiting, deadline)


def take_scores(results_dir: Path, files: Sequence[Path], checkpoint: str) -> None:
    """Take in the scores of a model that another machine trained for the stage `train` that comes next.

    A relative name is looked for in the workspace, then in the working folder. Raises InputError, by row, where the
    scores do not fit or are those of an earlier model; nothing is written then.
    """
    with only_worker(results_dir) as run:
        approved(run.paths, run.state)
        following = pending(run)
        if run.plan.platform != platform_choice.ELSEWHERE or following is None or following.stage != order.TRAIN:
            raise InputError(
                f"--scores: the next stage of this run is {following or 'none'} on platform {run.plan.platform}; "
                f"scores are taken in at train of platform {platform_choice.ELSEWHERE}"
            )
        own_model.take(run, following.label, [run.workspace.brought(file) for file in files], checkpoint)


def pending(run: Run) -> Step | None:
    """The step that comes next in this run."""
    seeded = state.is_preseeded(run.state, run.entries)
    asked = order.asked_stages(vars(run.plan))
    return order.next_step(run.entries, run.plan.max_iterations, preseeded=seeded, **asked)


def make_executor(run: Run) -> Executor:
    """Raises InputError where the plan executes more than this skill and nobody approved that on this machine."""
    approvals.require(run)
    return platform_choice.make_executor(place(run))


def place(run: Run) -> Place:
    """Where the approved plan says that heavy work runs; the images are those of the approved Summary."""
    images = read_json(run.paths.preflight).get("images", {})
    return Place(
        run.plan.platform, run.plan.settings, run.workspace.root, images, run.plan.engine,
        air_gapped=run.plan.network == AIR_GAP,
    )  # fmt: skip


def stage_module(stage: str) -> Stage:
    module: Stage = importlib.import_module(f"deft_aoi.stages.{STAGE_MODULES[stage]}")  # type: ignore[assignment]
    return module


def job_folder(run: Run, following: Step, task: Task) -> Path:
    return run.paths.jobs / f"{following.label}-{following.stage}-{task.name}"


@contextmanager
def only_worker(results_dir: Path) -> Iterator[Run]:
    """The run as it is on disk, for one process at a time. Raises InputError where another works on it, or where it
    cannot be read."""
    paths = RunPaths.at(results_dir)
    state.load(paths.state)  # a folder that is no started run is refused before a lock is put into it
    try:
        with locked(paths.lock, wait=False):
            yield load_run(paths.root)
    except BlockingIOError as error:
        raise InputError(
            f"{paths.root}: another deft step works on this run; see it with: deft status --results-dir {paths.root}"
        ) from error


def do_tasks(run: Run, following: Step, module: Stage, executor: Executor, deadline: float) -> str | None:
    """Bring all tasks of the stage to success; a text when one still runs at the deadline."""
    seen = False
    for task in module.tasks(run, following.label):
        job = job_folder(run, following, task)
        for asked in itertools.count(1):
            now = _poll(executor, job, deadline, seen)
            seen = True
            if now.kind == "running":
                if time.monotonic() >= deadline:
                    doing = now.reason or "running"
                    return f"{task.name} {doing} for {int(now.seconds)}s · log: {executor.log(job)}"
                _pause(now.seconds, deadline, asked)
            elif now.kind == "finished" or (now.kind == "lost" and task_problem(task) is None):
                _require_success(task, now, executor.log(job))
                break
            else:
                if now.kind == "lost":
                    _move_lost_job(job, task, now.reason)
                _submit(run, following, executor, task, job)
    return None


def _poll(executor: Executor, job: Path, deadline: float, seen: bool) -> JobState:
    """State of the job. A place that has answered in this call (`seen`) may be away for a while; one that has not
    is reported at once."""
    while True:
        try:
            return executor.poll(job)
        except Unreachable:
            if not seen or time.monotonic() >= deadline:
                raise
            _pause(math.inf, deadline)


def _pause(seconds: float, deadline: float, asked: int = _FIRST_POLLS) -> None:
    """Wait before the next question, after `asked` ones, about a job of that age."""
    least, most = _POLL_SECONDS
    least *= min(1.0, asked / _FIRST_POLLS)
    time.sleep(max(0.0, min(max(least, seconds * _POLL_SHARE), most, deadline - time.monotonic())))


def _submit(run: Run, following: Step, executor: Executor, task: Task, job: Path) -> None:
    """Start a task in an empty output folder (TAO would silently resume from a half-written one), or to resume."""
    disk_space.require(run, following.label, following.stage)
    resumes = task.resume is not None and task.resume.is_file()
    if not resumes and task.output.is_dir() and any(task.output.iterdir()):
        move_aside(task.output)
    task.output.mkdir(parents=True, exist_ok=True)
    executor.submit(task, job)


def _move_lost_job(job: Path, task: Task, reason: str) -> None:
    """A job without owner or exit record (machine lost, killed): set its remains aside; stop when it keeps dying."""
    atomic_write_text(job / LOST, reason or "killed, or its machine was lost")
    aside = move_aside(job)
    gone = list(job.parent.glob(f"{job.name}.failed-*"))
    # A job whose submitter died before the supervisor ran never did anything; it may be tried more often.
    lost = sum(began(one) and not (one / EXIT).is_file() for one in gone)
    if lost >= MAX_LOST or len(gone) >= MAX_ATTEMPTS:
        raise HardStop(
            "job_keeps_dying",
            f"{task.name} vanished {len(gone)} times without an exit record" + (f": {reason}" if reason else ""),
            evidence=str(aside / "output.log"),
            remedy="look at the log and at memory (dmesg | grep -i oom), then: deft resolve --reason TEXT",
        )


def _require_success(task: Task, ended: JobState, log: Path) -> None:
    problem = task_problem(task)
    if ended.returncode in (0, None) and problem is None:
        return
    tail = " | ".join(log.read_text(errors="replace").strip().splitlines()[-_LOG_TAIL:]) if log.is_file() else ""
    ended_well = problem if ended.returncode == 0 else ""  # TAO exits 0 when SIGTERM ends it
    said = " · ".join(filter(None, (ended.reason, ended_well, tail or problem or "no output")))
    what = task.name if task.command[0] == "bash" else " ".join(task.command[:2])
    raise HardStop(
        "task_failed",
        f"{what} failed (exit {ended.returncode}): {said}",
        evidence=str(log),
        remedy="fix what the log names, then: deft resolve --reason TEXT",
    )


def _duration(run: Run, following: Step, started: float) -> int:
    """Whole seconds of the stage, from the start of its first job where it had one. Lost jobs do not count, nor does
    the time between the end of its jobs and this call, while nobody was there."""
    found = run.paths.jobs.glob(f"{following.label}-{following.stage}-*")
    jobs = [job for job in found if ".failed-" not in job.name]
    first = min((path.stat().st_mtime for job in jobs for path in job.glob("handle.json")), default=started)
    ended = max((path.stat().st_mtime for job in jobs for path in job.glob("exit.json")), default=started)
    idle = max(0.0, started - max(ended, first))
    return max(0, round(time.time() - min(first, started) - idle))


def _record(run: Run, following: Step, result: StageResult, duration: int, report: bool) -> Outcome:
    after = _append(run, following, "ok", result, duration)
    note = render(after, following) if report else ""
    upcoming = pending(after)
    head = after.state["journal"]["digest"][: journal.HEAD]
    tail = "loop complete" if upcoming is None else f"next: {upcoming}"
    if upcoming is not None and upcoming.label == following.label:
        tail = f"next: {upcoming.stage}"
    line = printable(
        f"{_head(run, following)} {result.summary} · {duration}s · {tail}{_losses(run, following)}{note} · chain {head}"
    )
    return Outcome(OK if upcoming is not None else COMPLETE, line, after)


def _losses(run: Run, following: Step) -> str:
    """What became of jobs of this stage that had to be started again, where their platform gave a reason."""
    notes = sorted(run.paths.jobs.glob(f"{following.label}-{following.stage}-*/{LOST}"))
    return "".join(f" · started again ({reason})" for note in notes if (reason := note.read_text(encoding="utf-8")))


def _record_stop(run: Run, following: Step, stop: HardStop, started: float) -> Outcome:
    facts = {"code": stop.code, "evidence": stop.evidence, "remedy": stop.remedy, "stage": following.stage}
    after = _append(run, following, "error", StageResult(stop.message, facts), _duration(run, following, started))
    return _repeat_stop(after)


def _append(run: Run, following: Step, status: str, result: StageResult, duration: int) -> Run:
    """Add the stage's line to the journal and return the run as it then is."""
    return add_line(
        run,
        iter_label=following.label,
        stage=following.stage,
        status=status,
        summary=result.summary,
        duration_sec=duration,
        artifacts=[journal.artifact(run.paths.root, path) for path in result.artifacts],
        facts=Places(run.paths.root, run.workspace.root).portable(result.record()),
        max_iterations=run.plan.max_iterations,
    )


def _repeat_stop(run: Run) -> Outcome:
    """The message of the hard stop that ended the last step, with its evidence and what a person can do."""
    last = next(entry for entry in reversed(run.entries) if entry["status"] == "error")
    facts = last.get("facts", {})
    parts = [f"HARD STOP {facts.get('code', 'error')} at {last['iter']}/{last['stage']}: {last['summary']}"]
    parts += [f"evidence: {facts['evidence']}"] if facts.get("evidence") else []
    parts += [f"what to do: {facts.get('remedy') or 'mend the cause'}"]
    return Outcome(HARD_STOP, printable("\n".join(parts)), run)


def render(run: Run, following: Step) -> str:
    """Render the report after a stage; a text for the status line where that fails: the journal holds the stage."""
    try:
        from deft_aoi.report import render as pages  # charts and templates are not needed for any other step
        from deft_aoi.report.source import open_run

        if following.stage == order.EVALUATE and run.paths.narrative.is_file():
            # Its words are about the models before this one: they stay with them, never under new pictures.
            run.paths.narrative.replace(run.paths.folder(run.previous_label(following.label)) / "narrative.json")
        label = following.label if following.stage in _JUDGED else None
        pages.render_step(open_run(run.paths.root, run.log), label)
    except Exception as error:  # a chart must not end hours of unattended work
        return (
            f" · report not rendered ({type(error).__name__}: {error}); try: deft report --results-dir {run.paths.root}"
        )
    return ""


def _head(run: Run, following: Step) -> str:
    return f"[iter {iter_number(following.label)}/{run.plan.max_iterations} · {following.stage}]"


def drive(
    results_dir: Path, say: Callable[[str], None], *, executor: Executor | None = None, report: bool = True
) -> int:
    """Call :func:`step` until the loop is complete or must stop; returns the exit code."""
    while True:
        outcome = step(results_dir, wait=3600.0, executor=executor, report=report)
        if outcome.code != STILL_RUNNING:
            say(outcome.line)
        if outcome.code not in (OK, STILL_RUNNING):
            return outcome.code
