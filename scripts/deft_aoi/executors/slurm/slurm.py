"""Run tasks as batch jobs of SLURM: `sbatch` here or over ssh; bare, or in a container by pyxis or apptainer."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError, Unreachable
from deft_aoi.base.files import atomic_write_text
from deft_aoi.executors.base import LOG, JobState, Place, Probe, Task
from deft_aoi.executors.containers import Wanted, ending, secret_values, wanted
from deft_aoi.executors.records import add_to_handle, open_handle, record_end, recorded_end, settled, write_handle
from deft_aoi.executors.slurm.slurm_script import RETURNCODE, SCRIPT, batch_script
from deft_aoi.executors.ssh.ssh_connection import Connection, Refused

PLATFORM = "slurm"
_TIMEOUT = 60  # seconds for one answer of the controller
# SLURM's words for a controller that is not there.
_AWAY = (
    "Unable to contact", "configuration source", "Connection refused", "Socket timed out", "DOWN",
    "Protocol authentication",
)  # fmt: skip
_UNKNOWN = "Invalid job id"
_RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
_WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
# Ends that say nothing against the command: it may start again by itself.
_LOST = {
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not boot",
    "PREEMPTED": "another job took its place",
    "REVOKED": "its cluster gave it up",
}
_TOLD = {
    "OUT_OF_MEMORY": "out of memory: SLURM killed it; lower --batch-size or raise --set memory",
    "TIMEOUT": "its time limit was reached; raise --set time",
    "DEADLINE": "its deadline passed",
    "CANCELLED": "cancelled",
}


class SlurmExecutor:
    """One batch job a task. The workspace must be on a disk that this machine and the nodes see at the same path."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.settings = place.settings

    def submit(self, task: Task, job: Path) -> None:
        """Raises InputError where the job runs already or SLURM refuses it, Unreachable without a controller."""
        self._ask(["scontrol", "ping"])
        asked = wanted(task, job, self.place)
        write_handle(job, task, PLATFORM, container=asked.to_json())
        atomic_write_text(job / SCRIPT, batch_script(asked, job, self.settings, self.place.air_gapped))
        self._hand_over(job, asked)

    def poll(self, job: Path) -> JobState:
        if (handle := open_handle(job)) is None:
            return settled(job)
        seconds = time.time() - handle["epoch"]
        number = handle.get("job_id") or self._find(job, handle)
        if number is None:  # the caller died before sbatch was asked
            if not (job / SCRIPT).is_file():
                return JobState("lost", seconds=seconds)
            self._hand_over(job, Wanted.from_json(handle["container"]))
            return recorded_end(job) or JobState("running", seconds=seconds)
        return self._state(job, self._facts(number), seconds)

    def log(self, job: Path) -> Path:
        return job / LOG

    def cancel(self, job: Path) -> None:
        if (handle := open_handle(job)) is None:
            return
        number = handle.get("job_id") or self._find(job, handle)
        if number is not None:
            self._ask(["scancel", number])

    def describe(self) -> str:
        where = f"over ssh {self.settings['ssh']}" if self.settings.get("ssh") else "from this machine"
        kind = self.settings.get("container", "pyxis")
        how = "bare on the nodes, no container" if kind == "none" else f"in NVIDIA's containers by {kind}"
        return f"SLURM, {how}, submitted {where}"

    def probe(self) -> list[Probe]:
        from deft_aoi.executors.slurm.slurm_probe import probes

        return probes(self._ask, self.place)

    def _hand_over(self, job: Path, asked: Wanted) -> None:
        """Call sbatch and note the job id; the secrets travel in its environment, never in a file or argument."""
        command = ["sbatch", "--parsable", str(job / SCRIPT)]
        try:
            said = self._ask(command, secret_values(asked.secrets, self.place.workspace))
        except InputError as error:
            record_end(job, 1, 0, str(error))
            return
        add_to_handle(job, job_id=said.strip().split(";")[0])

    def _find(self, job: Path, handle: dict[str, Any]) -> str | None:
        """The id of a job that was submitted by a caller who died before noting it."""
        name = handle["container"]["name"]
        said = self._ask(["squeue", "--noheader", "--states=all", f"--name={name}", "--format=%i"])
        number = said.split()[0] if said.split() else None
        if number is not None:
            add_to_handle(job, job_id=number)
        return number

    def _facts(self, number: str) -> dict[str, str]:
        """`JobState`, `ExitCode`, `Reason` from the controller, else from its records; empty when nobody knows the job
        any more."""
        try:
            said = self._ask(["scontrol", "--oneliner", "show", "job", number])
            return dict(re.findall(r"(?:^|\s)(\w+)=(\S*)", said))
        except InputError as error:
            if _UNKNOWN not in str(error):
                raise Unreachable(f"SLURM: {error}; type the same command again when it answers") from error
        for source in ("--allocations", "--completion"):  # the accounting, else the file of ended jobs
            try:
                said = self._ask(["sacct", source, "--noheader", "--parsable2", "--format=State", "--jobs", number])
            except InputError:  # this cluster keeps none
                continue
            if said.split():
                return {"JobState": said.split()[0]}
        return {}

    def _state(self, job: Path, facts: dict[str, str], seconds: float) -> JobState:
        state, said = facts.get("JobState", ""), facts.get("Reason", "None")
        if state in _WAITING:
            return JobState("running", seconds=seconds, reason=f"waiting in the queue ({said})")
        if state in _RUNNING:
            return JobState("running", seconds=seconds)
        written = self._returncode(job)
        if state == "COMPLETED" or (not state and written is not None):
            return record_end(job, written or 0, seconds, ending(written or 0))
        if state in _LOST:
            return JobState("lost", seconds=seconds, reason=_LOST[state])
        if not state:
            return JobState("lost", seconds=seconds, reason="SLURM knows it no more, and it left no exit code")
        code, signal = ([int(n) for n in re.findall(r"\d+", facts.get("ExitCode", ""))] + [0, 0])[:2]
        code = written or code or (128 + signal if signal else 1)
        told = _TOLD.get(state, "") or ending(code)
        if state == "FAILED" and said not in ("None", "NonZeroExitCode", ""):
            told = "; ".join(filter(None, (told, f"SLURM says {said}")))
        return record_end(job, code, seconds, told)

    def _returncode(self, job: Path) -> int | None:
        """What the batch script wrote as its last deed."""
        path = job / RETURNCODE
        return int(path.read_text(encoding="utf-8")) if path.is_file() else None

    def _ask(self, command: Sequence[str], secrets: dict[str, str] | None = None) -> str:
        """Output of one of SLURM's programs. Raises InputError with its words where it says no, Unreachable where it
        cannot be asked."""
        if self.settings.get("ssh"):
            try:
                return self._ask_over_ssh(command, secrets or {})
            except Refused as error:
                words = str(error)
        else:
            done = _run(command, secrets or {})
            if done.returncode == 0:
                return done.stdout
            words = " ".join((done.stderr or done.stdout).split())
        if any(word in words for word in _AWAY):
            raise Unreachable(f"SLURM does not answer ({words}); nothing is lost, type the same command again")
        raise InputError(f"{command[0]}: {words}")

    def _ask_over_ssh(self, command: Sequence[str], secrets: dict[str, str]) -> str:
        """Variables reach the login node on standard input, as lines that its shell reads before the command. Tried
        once: a job that was submitted before the connection broke is found by its name."""
        lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in secrets.items())
        connection = Connection.of(self.settings, "ssh")
        return connection.ask_once("bash -s", f"{lines}exec {shlex.join(command)}\n", _TIMEOUT)


def _run(command: Sequence[str], secrets: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One of SLURM's programs on this machine."""
    try:
        return subprocess.run(
            list(command), capture_output=True, text=True, encoding="utf-8", errors="replace",
            timeout=_TIMEOUT, check=False, env=os.environ | secrets, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise Unreachable(f"{command[0]} is not installed here; set --set ssh=HOST to a machine that has it") from error
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"SLURM: {command[0]} gave no answer in {_TIMEOUT} s; type the same command again") from error
