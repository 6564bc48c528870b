"""What a task's container gets, whoever starts it: mounts, environment, working folder, name."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft_aoi.base.air_gap import OFFLINE
from deft_aoi.base.credentials import credential
from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import Workspace
from deft_aoi.base.safe_paths import inside, shown
from deft_aoi.executors.base import Mount, Place, Task
from deft_aoi.executors.local import SECRETS

# Where specs of NVIDIA's ChangeNet examples expect their data (CONTRACT: container paths).
CONTAINER_DATA = "/data/datasets/NV_PCB_Siamese"
CONTAINER_WEIGHTS = "/data/pretrained_models"
_NAME_LENGTH = 40
ACCOUNTS = (Path("/etc/passwd"), Path("/etc/group"))


@dataclass(frozen=True)
class Wanted:
    """One container as plain values; goes into the job's handle, so it holds names of secrets and no values."""

    name: str
    image: str
    command: tuple[str, ...]
    workdir: str
    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    shm: str
    host_ipc: bool
    user: str  # "uid:gid", empty: the image's own
    gpus: int
    nodes: int
    output: str

    def to_json(self) -> dict[str, Any]:
        mounts = [[str(mount.source), mount.target, mount.read_only] for mount in self.mounts]
        return vars(self) | {"mounts": mounts, "environment": dict(self.environment)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Wanted:
        mounts = tuple(Mount(Path(source), target, ro) for source, target, ro in record["mounts"])
        texts = {name: tuple(record[name]) for name in ("command", "secrets")}
        return cls(**{**record, **texts, "mounts": mounts})


def wanted(task: Task, job: Path, place: Place) -> Wanted:
    """What `task` needs on any container platform; makes the folders that it expects in its working folder.

    Raises InputError where the plan names no image for it, or a mount's source is missing.
    """
    asks = task.container
    if task.image is None or task.image not in place.images:
        raise InputError(f"{task.name}: no container image for {task.image!r}; known: {', '.join(place.images)}")
    if asks.workdir is None:
        for name in asks.folders:
            (job / name).mkdir(parents=True, exist_ok=True)
    return Wanted(
        name=container_name(job),
        image=place.images[task.image],
        command=task.command,
        workdir=asks.workdir or str(job),
        mounts=all_mounts(task, place),
        environment=dict(asks.environment) | (OFFLINE if place.air_gapped else {}),
        secrets=asks.secrets,
        shm=asks.shm,
        host_ipc=asks.host_ipc,
        user=f"{os.getuid()}:{os.getgid()}" if asks.as_caller else "",
        gpus=task.gpus,
        nodes=task.nodes,
        output=str(task.output),
    )


def all_mounts(task: Task, place: Place) -> tuple[Mount, ...]:
    """The workspace at its own path, the contract's paths, the accounts for a task that runs as the caller, and the
    task's own."""
    accounts = tuple(Mount(path, str(path)) for path in ACCOUNTS) if task.container.as_caller else ()
    for mount in task.container.mounts:
        if not mount.source.exists():
            raise InputError(f"{task.name}: {mount.source}, to be mounted at {mount.target}, does not exist")
    return (
        Mount(place.workspace, str(place.workspace), read_only=False),
        *contract_mounts(Workspace(place.workspace)),
        *accounts,
        *task.container.mounts,
    )


def check_wanted(asked: Wanted, place: Place) -> Wanted:
    """`asked` as it was read back from a job's handle, which is in the workspace: it may not have grown.

    Raises InputError for an image of another plan, a mount from outside the workspace, or an unknown secret.
    """
    where = f"container {asked.name}"
    if asked.image not in place.images.values():
        raise InputError(f"{where}: image {shown(asked.image)} is none of the approved ones")
    for mount in asked.mounts:
        if mount.source in ACCOUNTS and mount.read_only:
            continue
        inside(place.workspace, mount.source, f"{where}: mount")
    if unknown := sorted(set(asked.secrets) - set(SECRETS)):
        raise InputError(f"{where}: secret {shown(unknown[0])}; expected none but {', '.join(SECRETS)}")
    return asked


def contract_mounts(workspace: Workspace) -> tuple[Mount, ...]:
    """The workspace's data where specs written for NVIDIA's container look for it; what is absent is left out."""
    pairs = (
        (workspace.images, f"{CONTAINER_DATA}/images"),
        (workspace.training_csv.parent, f"{CONTAINER_DATA}/csv"),
        (workspace.kpi_csv.parent, f"{CONTAINER_DATA}/kpi"),
        (workspace.backbone_dir, CONTAINER_WEIGHTS),
    )
    return tuple(Mount(source, target) for source, target in pairs if source.is_dir())


def container_name(job: Path) -> str:
    """A name that no other submission has: run, job and a random end, in letters that every platform takes."""
    run = job.parent.parent.name
    readable = re.sub(r"[^a-z0-9]+", "-", f"{run.removeprefix('run_')}-{job.name}".lower()).strip("-")
    return f"deft-{readable[:_NAME_LENGTH].strip('-')}-{secrets.token_hex(4)}"


def secret_values(names: tuple[str, ...], workspace: Path) -> dict[str, str]:
    """Values of the variables that are set somewhere; to be passed on, never written or shown."""
    found = {name: credential(name, workspace) for name in names}
    return {name: value for name, value in found.items() if value}


def ending(code: int, *, out_of_memory: bool = False) -> str:
    """What an exit code says by itself, for people; empty for a plain one."""
    if out_of_memory:
        return "out of memory: the kernel killed it; lower --batch-size or give it more memory"
    if code in (137, 143):
        signal = "SIGKILL" if code == 137 else "SIGTERM"
        return f"killed by {signal}: by a person, by the platform's stop, or with its machine"
    return ""
