"""Run tasks as detached containers of a Docker daemon on this machine."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import DeviceRequest
from docker.types import Mount as BindMount
from requests.exceptions import RequestException

from deft_aoi.base.credentials import credential
from deft_aoi.base.errors import DeftError, InputError, Unreachable
from deft_aoi.base.files import atomic_write
from deft_aoi.base.finding import BLOCK
from deft_aoi.executors.base import LOG, JobState, Place, Probe, Task
from deft_aoi.executors.containers import Wanted, check_wanted, ending, secret_values, wanted
from deft_aoi.executors.docker.daemon_words import no_answer
from deft_aoi.executors.docker.docker_probe import image_here, probes, registry_login, run_once
from deft_aoi.executors.local import LocalExecutor
from deft_aoi.executors.records import add_to_handle, open_handle, read_handle, record_end, settled, write_handle

PLATFORM = "local-docker"
_TIMEOUT = 60  # seconds for one answer of the daemon
_LOG_EVERY = 10.0  # seconds between two copies of a running container's log
_STOP_SECONDS = 10
_DEVICES = "device="  # as in `docker run --gpus device=2,3`
_NOT_STARTED = 125  # as `docker run` says it
_PODMAN = "BuildahVersion"  # a field that Podman alone has in its answer
_UNKNOWN_END = 255  # the daemon's own mark for a container that was there before the machine went down


class DockerExecutor:
    """One container a task, named in the job's handle before it is made; whoever calls next finds it by that name.

    A task whose image is not here is pulled first, by a process of its own that outlives the caller.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.puller = Puller(workspace=place.workspace)

    def submit(self, task: Task, job: Path) -> None:
        """Raises InputError where the job runs already or cannot be run here, Unreachable without a daemon."""
        if task.nodes > 1:
            raise InputError(f"{task.name}: the spec asks for {task.nodes} nodes; one Docker daemon is one node")
        with self._daemon() as client:
            facts = {"daemon": daemon_id(client.info())}
            write_handle(job, task, PLATFORM, container=wanted(task, job, self.place).to_json(), **facts)
            self._begin(client, job)

    def poll(self, job: Path) -> JobState:
        if (handle := open_handle(job)) is None:
            return settled(job)
        seconds = time.time() - handle["epoch"]
        pull = self.puller.poll(job / "pull")
        if pull.kind == "running":
            return JobState("running", seconds=seconds, reason=f"pulling {handle['container']['image']}")
        with self._daemon() as client:
            self._same_daemon(client, handle)
            try:
                container = client.containers.get(handle["container"]["name"])
            except NotFound:
                return self._without_container(client, job, handle, pull, seconds)
            status = container.attrs["State"]["Status"]
            if status == "created":
                return self._start(client, job, container) or JobState("running", seconds=seconds)
            if status in ("exited", "dead"):
                return self._finish(client, job, container)
            self._copy_log(job, container)
            return JobState("running", seconds=seconds)

    def log(self, job: Path) -> Path:
        return job / LOG

    def cancel(self, job: Path) -> None:
        if (handle := open_handle(job)) is None:
            return
        add_to_handle(job, cancelled=True)
        self.puller.cancel(job / "pull")
        with self._daemon() as client, contextlib.suppress(NotFound):
            self._same_daemon(client, handle)
            client.containers.get(handle["container"]["name"]).stop(timeout=_STOP_SECONDS)

    def describe(self) -> str:
        gpus = self.place.settings.get("gpus", "all")
        some = f"its GPUs {gpus.removeprefix(_DEVICES)}" if gpus.startswith(_DEVICES) else f"{gpus} of its GPUs"
        asked = {"all": "all its GPUs", "0": "no GPU"}.get(gpus, some)
        return f"this machine, in NVIDIA's containers (Docker, {asked})"

    def probe(self) -> list[Probe]:
        try:
            with self._daemon() as client:
                return probes(client, self.place, self.device_requests(1))
        except Unreachable as error:
            return [Probe(6, BLOCK, str(error))]

    def device_requests(self, gpus: int) -> list[DeviceRequest]:
        """What `--gpus` asks for; nothing for a task without GPU, or where the setting `gpus` is 0."""
        setting = self.place.settings.get("gpus", "all")
        if gpus == 0 or setting == "0":
            return []
        if setting.startswith(_DEVICES):
            return [DeviceRequest(device_ids=setting.removeprefix(_DEVICES).split(","), capabilities=[["gpu"]])]
        if setting != "all" and not setting.isdecimal():
            raise InputError(f"--set gpus={setting}: expected all, a number, or {_DEVICES}2,3 for GPUs of this machine")
        return [DeviceRequest(count=-1 if setting == "all" else int(setting), capabilities=[["gpu"]])]

    @contextlib.contextmanager
    def _daemon(self) -> Iterator[docker.DockerClient]:
        """A client of the daemon that DOCKER_HOST names; everything that means "no answer" becomes Unreachable."""
        where = os.environ.get("DOCKER_HOST") or "its default socket"
        try:
            client = docker.from_env(timeout=_TIMEOUT)
            try:
                client.ping()
                yield client
            finally:
                client.close()
        except APIError as error:
            raise Unreachable(f"Docker daemon at {where}: {error.explanation or error}") from error
        except (DockerException, RequestException) as error:
            text = f"{no_answer(error, _short(error))}, then type the same command again: nothing is lost"
            raise Unreachable(text) from error

    def _same_daemon(self, client: docker.DockerClient, handle: dict[str, Any]) -> None:
        """Another daemon does not know the job's container; asking it must not count as a lost job."""
        if daemon_id(client.info()) != handle["daemon"]:
            raise Unreachable(
                f"container {handle['container']['name']} was started on another Docker daemon; set DOCKER_HOST as it "
                "was then, and type the same command again"
            )

    def _begin(self, client: docker.DockerClient, job: Path) -> JobState | None:
        """Make and start the job's container, or the pull of its image; the state of a job that cannot start."""
        handle = read_handle(job) or {}
        asked = check_wanted(Wanted.from_json(handle["container"]), self.place)
        if image_here(client, asked.image) is None:
            if self.place.air_gapped:
                return record_end(job, _NOT_STARTED, 0, f"image {asked.image} is not here, and nothing may be pulled")
            self.puller.submit(Task("pull", (asked.image,), job / "pull"), job / "pull")
            return None
        try:
            container = client.containers.create(**self._arguments(client, asked))
        except APIError as error:
            return record_end(job, _NOT_STARTED, 0, f"Docker refused the container: {_short(error)}")
        add_to_handle(job, created=container.id)
        return self._start(client, job, container)

    def _arguments(self, client: docker.DockerClient, asked: Wanted) -> dict[str, Any]:
        """Keyword arguments of docker-py; the only place where secret values are looked up."""
        rootless = "rootless" in _security(client)  # root in there is the caller out here
        binds = [BindMount(m.target, str(m.source), type="bind", read_only=m.read_only) for m in asked.mounts]
        memory = self.place.settings.get("memory", "")
        return {
            "image": asked.image,
            "command": list(asked.command),
            "name": asked.name,
            "labels": {"deft-aoi": "job"},
            "mounts": binds,
            "working_dir": asked.workdir,
            "environment": dict(asked.environment) | secret_values(asked.secrets, self.place.workspace),
            "shm_size": asked.shm,
            "ipc_mode": "host" if asked.host_ipc else None,
            "user": None if rootless else asked.user or None,
            "device_requests": self.device_requests(asked.gpus),
            **({"mem_limit": memory, "memswap_limit": memory} if memory else {}),
        }

    def _start(self, client: docker.DockerClient, job: Path, container: Any) -> JobState | None:
        """Start a made container (again is no harm); a GPU that cannot be had shows here."""
        try:
            container.start()
        except APIError as error:
            container.remove(force=True)
            return record_end(job, _NOT_STARTED, 0, f"Docker could not start the container: {_short(error)}")
        return None

    def _without_container(
        self, client: docker.DockerClient, job: Path, handle: dict[str, Any], pull: JobState, seconds: float
    ) -> JobState:
        """No container of that name: not made yet (the caller died, or the pull has just ended), or removed."""
        if handle.get("cancelled"):
            return record_end(job, 143, seconds, "cancelled")
        if handle.get("created"):
            return JobState("lost", seconds=seconds, reason="its container was removed")
        if pull.kind == "finished" and pull.returncode:
            said = (job / "pull" / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return record_end(job, _NOT_STARTED, seconds, said[-1] if said else "the pull of its image failed")
        if pull.kind == "lost":
            (job / "pull").rename(job / f"pull-{time.time_ns()}")
        return self._begin(client, job) or JobState("running", seconds=seconds)

    def _finish(self, client: docker.DockerClient, job: Path, container: Any) -> JobState:
        """Keep log, exit code and reason, give the files to the caller, forget the container."""
        handle, state = read_handle(job) or {}, container.attrs["State"]
        self._copy_log(job, container, every=0)
        seconds = time.time() - handle["epoch"]
        asked = Wanted.from_json(handle["container"])
        trouble = "" if asked.user else self._give_to_caller(client, asked, job)
        if state["ExitCode"] == _UNKNOWN_END and not handle.get("cancelled"):
            container.remove(force=True)
            return JobState("lost", seconds=seconds, reason="its machine or the Docker daemon went down")
        told = ending(state["ExitCode"], out_of_memory=state["OOMKilled"]) or state["Error"]
        if handle.get("cancelled"):
            told = "cancelled"
        ended = record_end(job, state["ExitCode"], seconds, "; ".join(filter(None, (told, trouble))))
        container.remove(force=True)
        return ended

    def _give_to_caller(self, client: docker.DockerClient, asked: Wanted, job: Path) -> str:
        """Change the owner of what the image's user wrote; what could not be changed, in words.

        A daemon that maps users does that by itself.
        """
        if os.geteuid() == 0 or any(word in _security(client) for word in ("rootless", "userns")):
            return ""
        owner = f"{os.getuid()}:{os.getgid()}"
        bind = BindMount(str(self.place.workspace), str(self.place.workspace), type="bind")
        try:
            code, said = run_once(
                client, asked.image, "chown", ["-R", owner, asked.output, str(job)], user="0", mounts=[bind]
            )
        except DockerException as error:
            code, said = 1, _short(error)
        if code:
            return (
                f"{asked.output} still belongs to the image's user ({said.strip()}); type: sudo chown -R {owner} on it"
            )
        return ""

    def _copy_log(self, job: Path, container: Any, every: float = _LOG_EVERY) -> None:
        path = job / LOG
        if path.is_file() and time.time() - path.stat().st_mtime < every:
            return

        def write(stream: Any) -> None:
            for part in container.logs(stream=True, follow=False):
                stream.write(part)

        atomic_write(path, write)


class Puller(LocalExecutor):
    """Pulls one image in a process of its own; the command of its task is the image's name."""

    def command(self, task: Task) -> list[str]:
        return [sys.executable, "-m", "deft_aoi.executors.docker.docker_engine", task.command[0], str(self.workspace)]


def pull(image: str, workspace: Path) -> None:
    """Pull an image with the login that Docker has, else with NGC_KEY where it is NVIDIA's registry."""
    login = None
    if registry_login(image, workspace) == "NGC_KEY":
        login = {"username": "$oauthtoken", "password": credential("NGC_KEY", workspace)}
    client = docker.from_env(timeout=None)
    shown = ""
    for line in client.api.pull(image, stream=True, decode=True, auth_config=login):
        if "error" in line:
            raise InputError(f"pull of {image}: {line['error']}")
        if line.get("status") != shown and not line.get("progressDetail"):
            shown = line.get("status", "")
            print(shown, flush=True)


def daemon_id(info: Mapping[str, Any]) -> str:
    """What tells one daemon from another. Podman gives another id with every answer, so its store replaces it."""
    return f"{info['Name']}:{info['DockerRootDir']}" if _PODMAN in info else str(info["ID"])


def _security(client: docker.DockerClient) -> str:
    """Words of how the daemon maps users. Podman has its own field for rootless."""
    info = client.info()
    return " ".join([*(info.get("SecurityOptions") or []), *(["rootless"] if info.get("Rootless") else [])])


def _short(error: Exception) -> str:
    """The daemon's own words, on one line."""
    words = getattr(error, "explanation", None) or str(error)
    return " ".join(str(words).split())[:300]


def main(image: str, workspace: Path) -> int:
    try:
        pull(image, workspace)
    except (DeftError, ImageNotFound, DockerException, RequestException) as error:
        print(f"pull of {image}: {_short(error)}" if not isinstance(error, DeftError) else error, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
