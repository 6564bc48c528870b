"""The executor of a run: host work on this machine, everything that names a container on the approved platform."""

from __future__ import annotations

import importlib
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.executors.base import Executor, JobState, Place, Probe, Task
from deft_aoi.executors.local import LocalExecutor
from deft_aoi.executors.records import read_handle

LOCAL = "local"
ELSEWHERE = "elsewhere"  # TAO trains and scores on a machine that this one cannot reach
# Imported only when chosen: each needs a client library that the others do not.
EXECUTORS = {
    "local-docker": ("deft_aoi.executors.docker.docker_engine", "DockerExecutor"),
    "virtualenv": ("deft_aoi.executors.python_env", "VirtualenvExecutor"),
    "ssh": ("deft_aoi.executors.ssh.ssh", "SshExecutor"),
    "brev": ("deft_aoi.executors.ssh.rented", "BrevExecutor"),
    "lepton": ("deft_aoi.executors.ssh.rented", "LeptonExecutor"),
    "slurm": ("deft_aoi.executors.slurm.slurm", "SlurmExecutor"),
    ELSEWHERE: ("deft_aoi.executors.elsewhere", "ElsewhereExecutor"),
    "kubernetes": ("deft_aoi.executors.kubernetes.kube", "KubernetesExecutor"),
}
# One machine, whose GPUs a task sees under their own numbers where the setting `gpus` says all.
ONE_MACHINE = ("local-docker", "ssh", "brev", "lepton")
OPTIONAL = ("kubernetes",)  # packages that the base environment is without


def make_executor(place: Place) -> Executor:
    """Raises InputError for a platform that this version cannot start work on."""
    host = LocalExecutor(place.engine, place.workspace, air_gapped=place.air_gapped)
    if place.platform == LOCAL:
        return host
    if place.platform not in EXECUTORS:
        raise InputError(f"platform {place.platform!r}: this version starts work on {', '.join((LOCAL, *EXECUTORS))}")
    module, name = EXECUTORS[place.platform]
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        raise InputError(
            f"platform {place.platform}: the Python package {error.name} is not installed; type the command again with "
            f"DEFT_EXTRAS={error.name} in front of it, or install {error.name} where DEFT_PYTHON is set"
        ) from error
    remote: Executor = getattr(found, name)(place)
    return Routed(place.platform, host, remote)


class Routed:
    """Two executors as one: a task without a container stays on this host."""

    def __init__(self, platform: str, host: LocalExecutor, remote: Executor) -> None:
        self.platform = platform
        self.host = host
        self.remote = remote

    def submit(self, task: Task, job: Path) -> None:
        (self.host if task.image is None else self.remote).submit(task, job)

    def poll(self, job: Path) -> JobState:
        return self._of(job).poll(job)

    def log(self, job: Path) -> Path:
        return self._of(job).log(job)

    def cancel(self, job: Path) -> None:
        self._of(job).cancel(job)

    def describe(self) -> str:
        return self.remote.describe()

    def probe(self) -> list[Probe]:
        return self.remote.probe()

    def _of(self, job: Path) -> Executor:
        """Whose job this is: the handle of a remote one names its platform."""
        handle = read_handle(job) or {}
        return self.remote if handle.get("platform") == self.platform else self.host
