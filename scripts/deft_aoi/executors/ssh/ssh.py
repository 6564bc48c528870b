"""Run tasks on another machine over OpenSSH: in Docker or Podman there, in a virtualenv, or bare.

The workspace is shared (both machines see it at the same path) or synchronised. A job there needs no connection: it is
started once, asked by whoever calls next, and its results come back with hashes.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path, PurePosixPath
from typing import Any

from deft_aoi.base.errors import InputError, Unreachable
from deft_aoi.base.files import atomic_write_text
from deft_aoi.executors.base import LOG, JobState, Place, Probe, Task
from deft_aoi.executors.containers import Wanted, check_wanted, ending, secret_values, wanted
from deft_aoi.executors.docker.docker_probe import NVIDIA_REGISTRY, registry_of
from deft_aoi.executors.records import add_to_handle, open_handle, read_handle, record_end, settled, write_handle
from deft_aoi.executors.ssh.ssh_connection import Broken, Connection, Refused
from deft_aoi.executors.ssh.ssh_places import SYNCHRONISED, WAYS, Places, asked_folder
from deft_aoi.executors.ssh.ssh_probe import probes
from deft_aoi.executors.ssh.ssh_script import BARE, OOM, container_kind, job_files
from deft_aoi.executors.ssh.ssh_sync import FETCH, SEND, Courier, differing, fetch_lines, send_lines, trouble

SCRIPT = "job.sh"  # next to this module; a copy is in every job's folder
_FETCHES = 3  # times that results may arrive with other bytes than they left with
_TRANSFERS = 3  # tries of a transfer before a person is asked
_CUT_SHORT = 75  # exit code of job.sh where not all of its input arrived
_FULL = 1024  # kilobytes: a disk with less is full


class SshExecutor:
    """One detached script a task, in a folder of its own below the job's, on both machines."""

    platform = "ssh"

    def __init__(self, place: Place) -> None:
        self.place = place
        self.settings = place.settings
        self.courier = Courier(workspace=place.workspace)

    def connection(self) -> Connection:
        """Raises InputError where the settings name no machine, Unreachable where it cannot be found."""
        return Connection.of(self.settings)

    def submit(self, task: Task, job: Path) -> None:
        """Raises InputError where the job runs already or cannot be run there, Unreachable without a connection."""
        connection = self.connection()
        folder = asked_folder(self.place.workspace, self.settings)
        there = connection.ask(["sh", "-c", 'cd && mkdir -p "$1" && cd "$1" && pwd -P', "sh", folder]).strip()
        facts = {"host": connection.host, "there": there, "output": str(task.output)}
        asked = wanted(task, job, self.place)
        self._files(asked, facts, job)  # refuses before anything is noted
        write_handle(job, task, self.platform, container=asked.to_json(), **facts)
        self._prepare(job)

    def poll(self, job: Path) -> JobState:
        if (handle := open_handle(job)) is None:
            return settled(job)
        seconds = time.time() - handle["epoch"]
        if not handle.get("sent"):
            if handle.get("cancelled"):
                return record_end(job, 143, seconds, "cancelled")
            if state := self._transfer(job, SEND, seconds):
                return state
        if not (end := handle.get("end")):
            state, end = self._ask_state(job, seconds)
            if state is not None:
                return state
            add_to_handle(job, end=end)
        code, taken, free = end
        told = ending(code)
        if code and free < _FULL:
            told = f"the disk of {handle['host']} is full ({free} kB free in {handle['there']})"
        elif code and self._log_says(job, OOM):
            told = ending(code, out_of_memory=True)
        if handle.get("cancelled"):
            told = "cancelled"
        if code == 0 and (state := self._bring_back(job, seconds)):
            return state
        return record_end(job, code, taken, told)

    def log(self, job: Path) -> Path:
        return job / LOG

    def cancel(self, job: Path) -> None:
        if open_handle(job) is None:
            return
        add_to_handle(job, cancelled=True)
        self.courier.cancel(job / SEND)
        if (read_handle(job) or {}).get("sent"):
            self.connection().ask(["sh", self._there(job), "cancel"])

    def describe(self) -> str:
        host = self.machine()
        kind = self.settings.get("container", "docker")
        how = "bare" if kind == BARE else f"in NVIDIA's containers by {kind}"
        if kind == BARE and self.settings.get("venv"):
            how = f"from the Python environment {self.settings['venv']}"
        sent = self.settings.get("workspace", SYNCHRONISED) == SYNCHRONISED
        data = "workspace synchronised with rsync" if sent else "workspace shared at the same path"
        return f"{host} over ssh, {how}, {data}"

    def machine(self) -> str:
        return self.settings.get("host") or "(no machine named)"

    def probe(self) -> list[Probe]:
        try:
            connection = self.connection()
            way = self.settings.get("workspace", SYNCHRONISED)
            if way not in WAYS:
                raise InputError(f"--set workspace={way}: expected one of {', '.join(WAYS)}")
            container_kind(self.settings)
        except (InputError, Unreachable) as error:
            return [Probe(6, "block", str(error))]
        return probes(connection, self.place)

    # --- the steps of a job -------------------------------------------------------------------------------------------

    def _places(self, facts: dict[str, Any]) -> Places:
        return Places(self.place.workspace, PurePosixPath(facts["there"]))

    def _files(self, asked: Wanted, facts: dict[str, Any], job: Path) -> dict[str, str]:
        places = self._places(facts)
        control = PurePosixPath(places.path(job / asked.name))
        return job_files(asked, self.settings, places, control, self.place.air_gapped)

    def _control(self, job: Path) -> Path:
        """The folder of this one submission; an attempt that was lost keeps its own."""
        return job / str((read_handle(job) or {})["container"]["name"])

    def _there(self, job: Path) -> str:
        """The job's script, as the other machine has it."""
        return self._places(read_handle(job) or {}).path(self._control(job) / SCRIPT)

    def _prepare(self, job: Path) -> None:
        """Write what the other machine needs and send it off; called again, it does the same."""
        handle = read_handle(job) or {}
        asked = check_wanted(Wanted.from_json(handle["container"]), self.place)
        places, control = self._places(handle), self._control(job)
        control.mkdir(exist_ok=True)
        for name, text in self._files(asked, handle, job).items():
            atomic_write_text(control / name, text)
        shutil.copyfile(Path(__file__).with_name(SCRIPT), control / SCRIPT)
        if not places.moved and self.settings.get("workspace") != SYNCHRONISED:
            add_to_handle(job, sent=True)
            return
        lines = send_lines(self.connection(), places, job.parent.parent, Path(asked.output), job)
        self.courier.submit(Task(SEND, ("sh", "-c", lines), job), job / SEND)

    def _transfer(self, job: Path, name: str, seconds: float) -> JobState | None:
        """The state of a job whose transfer is under way; None when it has arrived.

        A broken connection is tried again, from where the transfer was; every third time Unreachable is raised.
        """
        state = self.courier.poll(job / name)
        words = "sending the workspace" if name == SEND else "bringing the results back"
        if state.kind == "running":
            return JobState("running", seconds=seconds, reason=words)
        if state.kind == "finished" and state.returncode == 0:
            if name == SEND:
                add_to_handle(job, sent=True)
            return None
        if state.kind == "finished":
            said = self.courier.log(job / name).read_text(encoding="utf-8", errors="replace")
            (job / name).rename(job / f"{name}-{time.time_ns()}")
            try:
                return record_end(job, 1, seconds, trouble(self.connection(), state.returncode or 1, said))
            except Broken:
                if len(list(job.glob(f"{name}-*"))) % _TRANSFERS == 0:
                    raise
        if state.kind == "lost":
            (job / name).rename(job / f"{name}-{time.time_ns()}")
        if name == SEND:
            self._prepare(job)
        else:
            lines = fetch_lines(
                self.connection(), self._places(read_handle(job) or {}), self._output(job), self._control(job)
            )
            self.courier.submit(Task(FETCH, ("sh", "-c", lines), job), job / FETCH)
        return JobState("running", seconds=seconds, reason=words)

    def _ask_state(self, job: Path, seconds: float) -> tuple[JobState | None, list[int]]:
        """(state, nothing) of a job that has not ended there, else (None, [exit code, seconds, kilobytes free])."""
        log, there = job / LOG, self._there(job)
        size = log.stat().st_size if log.is_file() else 0
        try:
            said = self.connection().ask(["sh", there, "state", str(size)])
        except Refused as error:
            if "No such file" not in str(error) and "can't open" not in str(error).lower():
                raise
            return JobState("lost", seconds=seconds, reason=f"its folder is gone from {self.connection().host}"), []
        first, _, rest = said.partition("\n")
        if rest:
            with open(log, "ab") as stream:
                stream.write(rest.encode(errors="replace"))
        word, *numbers = first.split()
        if word == "ended":
            return None, [int(number) for number in numbers]
        if word == "lost":
            reason = "that machine was restarted, or somebody ended the job there"
            return JobState("lost", seconds=seconds, reason=reason), []
        if word == "absent":
            self._start(job, there)
            return settled(job) if open_handle(job) is None else JobState("running", seconds=seconds), []
        return JobState("running", seconds=seconds), []

    def _start(self, job: Path, there: str) -> None:
        """Start the job there; again is no harm. Secrets go over standard input into a file of mode 0600 that the job
        removes when it has read it."""
        asked = Wanted.from_json((read_handle(job) or {})["container"])
        names = (*asked.secrets, *(("NGC_KEY",) if self._needs_login(asked) else ()))
        values = secret_values(names, self.place.workspace)
        lines = "".join(f"{name}={value}\n" for name, value in values.items()) + "end\n"
        try:
            self.connection().ask(["sh", there, "start"], stdin=lines)
        except Refused as error:
            if error.code == _CUT_SHORT:
                raise Broken(f"{error}; type the same command again") from error
            record_end(job, 1, 0, str(error))

    def _needs_login(self, asked: Wanted) -> bool:
        container = self.settings.get("container") != BARE
        return container and not self.place.air_gapped and registry_of(asked.image) == NVIDIA_REGISTRY

    def _bring_back(self, job: Path, seconds: float) -> JobState | None:
        """None when the results are here, each file with the hash that it had there."""
        handle = read_handle(job) or {}
        if self.settings.get("workspace", SYNCHRONISED) != SYNCHRONISED:
            return None
        if state := self._transfer(job, FETCH, seconds):
            return state
        if not (wrong := differing(self._output(job), self._control(job))):
            return None
        for path in wrong:
            path.unlink(missing_ok=True)
        if len(list(job.glob(f"{FETCH}-*"))) >= _FETCHES:
            text = f"{wrong[0]} does not arrive from {handle['host']} with the bytes that it has there"
            return record_end(job, 1, seconds, text)
        (job / FETCH).rename(job / f"{FETCH}-{time.time_ns()}")
        return JobState("running", seconds=seconds, reason="bringing the results back again")

    def _output(self, job: Path) -> Path:
        return Path((read_handle(job) or {})["output"])

    def _log_says(self, job: Path, words: str) -> bool:
        return (
            words in self.log(job).read_text(encoding="utf-8", errors="replace") if self.log(job).is_file() else False
        )
