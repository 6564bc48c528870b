"""What an executor is: it runs one TAO command line somewhere and knows nothing of the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from deft_aoi.base.finding import Finding

# In a job's folder: what was submitted and where to find it, how it ended, what it printed.
HANDLE, EXIT, LOG = "handle.json", "exit.json", "output.log"
TAO_PYT = "images.tao_toolkit.pyt"
TAO_DATA_SERVICES = "images.tao_toolkit.data_services"
PAIDF_ANOMALYGEN = "images.metropolis_sdg.paidf_anomalygen"


@dataclass(frozen=True)
class Mount:
    """A folder or file of this host, seen at another path in the container."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True)
class Container:
    """What a task asks of its container, beyond image, GPUs, the workspace at its own path and the contract's paths.

    `shm` the size of /dev/shm; `host_ipc` the host's IPC namespace instead (then `shm` is the host's);
    `as_caller` runs as the caller's user and group with /etc/passwd and /etc/group mounted, else as the image's user,
    and what that user wrote is given to the caller at the end; `workdir` None is the job's own folder, in which
    `folders` are made first; `environment` holds plain values, written to disk; `secrets` names variables
    (HF_TOKEN) whose values come from the environment or the workspace's .env when the job starts, and are never
    written down; `mounts` come on top.
    """

    shm: str = "8g"
    host_ipc: bool = False
    as_caller: bool = False
    workdir: str | None = None
    folders: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()


# NVIDIA's three images. Training must not share the host's /dev/shm: it is often 64 MB, and training dies in mid-epoch.
TRAINING = Container()
DATA_SERVICES = Container(host_ipc=True, folders=("experiment_specs",))
ANOMALYGEN = Container(
    shm="16g",
    host_ipc=True,
    as_caller=True,
    workdir="/workspace/paidf-anomalygen",
    environment={"HF_HUB_DISABLE_XET": "1"},
    secrets=("HF_TOKEN",),
)


GPUS = "GPUs: "  # how the probe that names a platform's GPUs begins


@dataclass(frozen=True)
class Task:
    """One heavy command of a stage.

    `command` is TAO's own command line; `output` the folder that this task alone writes; `expects` the files that
    prove success besides exit code 0; `finished` the message that TAO's status.json ends with (a TAO run killed by
    SIGTERM exits 0 without it); `resume` a file in `output` from which the command goes on where it was killed;
    `image` the key of versions.yaml whose container holds the command, None for work that always stays on this host;
    `container` what it asks of that container; `gpus` and `nodes` what TAO's launcher gets (0 GPUs: none
    asked for).
    """

    name: str
    command: tuple[str, ...]
    output: Path
    expects: tuple[Path, ...] = ()
    finished: str | None = None
    resume: Path | None = None
    image: str | None = None
    gpus: int = 0
    nodes: int = 1
    container: Container = TRAINING


@dataclass(frozen=True)
class Place:
    """Where tasks run: a platform with its settings, the workspace that it must see at the same path, and the
    containers by key of versions.yaml, of which `needs` are used by this plan's tasks. `engine` serves the tasks of
    this host; `air_gapped`: nothing may be pulled, and tasks know it."""

    platform: str
    settings: Mapping[str, str]
    workspace: Path
    images: Mapping[str, str]
    engine: str = "features"
    air_gapped: bool = False
    needs: tuple[str, ...] = (TAO_PYT,)


@dataclass(frozen=True)
class JobState:
    """`kind`: absent | running | finished | lost (nothing alive and no exit record).

    `reason` is what the platform says of an end that the exit code does not tell (out of memory, cancelled, node lost).
    """

    kind: str
    returncode: int | None = None
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Probe(Finding):
    """What an executor found out about its platform before any job, for a check of Pre-Flight (3 credentials, 4 login,
    5 images, 6 architecture and GPU, 8 GPUs and assets, 9 memory).

    What Pre-Flight measures the plan against, where a probe learned it: `gpu_memory` the bytes of each GPU that a task
    gets, `shm` the bytes of its /dev/shm, `tao` the version of nvidia-tao-pytorch.
    """

    gpu_memory: tuple[int, ...] = field(default=(), kw_only=True)
    shm: int = field(default=0, kw_only=True)
    tao: str = field(default="", kw_only=True)


class Executor(Protocol):
    """Runs tasks; a job is named by its folder, which holds handle, log and exit record.

    submit, poll and cancel raise `Unreachable` where the platform does not answer: nothing is known, nothing is lost.
    """

    def submit(self, task: Task, job: Path) -> None:
        """Start `task`; its handle is on disk before this returns. Raises InputError if the job already runs."""
        ...

    def poll(self, job: Path) -> JobState:
        """State of the job; an end is written to its exit record, so that the platform may forget it."""
        ...

    def log(self, job: Path) -> Path:
        """File on this host with what the job printed, as of the last poll."""
        ...

    def cancel(self, job: Path) -> None:
        """End the job; nothing happens when it is not running."""
        ...

    def describe(self) -> str:
        """For people, after "Heavy work runs on": which platform, with which settings."""
        ...

    def probe(self) -> list[Probe]:
        """What blocks a job here, found without starting one."""
        ...
