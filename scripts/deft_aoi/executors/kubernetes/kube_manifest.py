"""The Kubernetes objects of one task: a Job that is never retried, and a headless Service for several nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.executors.base import Mount, Place
from deft_aoi.executors.containers import ACCOUNTS, Wanted

CONTAINER = "task"
_PORT = 29500
_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
_TOLERATION = re.compile(r"([\w./-]+)(?:=([\w.-]*))?(?::(NoSchedule|PreferNoSchedule|NoExecute))?")
_UNITS = {"k": "Ki", "m": "Mi", "g": "Gi"}


def job_manifest(asked: Wanted, place: Place, user: str) -> dict[str, Any]:
    """The Job; `user` is "uid:gid" of the caller, for tasks and settings that run as the caller."""
    settings, labels = place.settings, {"app.kubernetes.io/name": "deft-aoi", "deft-aoi/job": asked.name}
    volumes, mounts = volumes_of(asked, place)
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": CONTAINER,
                "image": asked.image,
                "imagePullPolicy": "Never" if place.air_gapped else "IfNotPresent",
                # `args` leaves the image's entry point as it is, as `docker run` does.
                "args": list(asked.command),
                "workingDir": asked.workdir,
                "env": environment(asked, settings),
                "resources": resources(asked, settings),
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
    if asked.host_ipc:
        pod["hostIPC"] = True
    if asked.user or settings.get("run_as") == "caller":
        uid, gid = map(int, (asked.user or user).split(":"))
        pod["securityContext"] = {"runAsUser": uid, "runAsGroup": gid}
    if settings.get("pull_secret"):
        pod["imagePullSecrets"] = [{"name": settings["pull_secret"]}]
    if settings.get("node_selector"):
        pod["nodeSelector"] = dict(pair.split("=", 1) for pair in settings["node_selector"].split(","))
    if settings.get("tolerations"):
        pod["tolerations"] = [toleration(text) for text in settings["tolerations"].split(",")]
    spec: dict[str, Any] = {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}}
    if asked.nodes > 1:
        spec |= {"completions": asked.nodes, "parallelism": asked.nodes, "completionMode": "Indexed"}
        pod["subdomain"] = asked.name
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": asked.name, "labels": labels}, "spec": spec}


def toleration(text: str) -> dict[str, str]:
    """`key=value:Effect` or `key:Effect` (any value); without an effect, all. Raises InputError for anything else."""
    match = _TOLERATION.fullmatch(text)
    if match is None:
        raise InputError(f"--set tolerations={text}: expected key=value:Effect, as nvidia.com/gpu:NoSchedule")
    key, value, effect = match.groups()
    found = {"key": key, "operator": "Exists"} if value is None else {"key": key, "operator": "Equal", "value": value}
    return found | ({"effect": effect} if effect else {})


def service_manifest(asked: Wanted) -> dict[str, Any]:
    """The headless Service by which the pods of a job on several nodes find the first of them."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": asked.name, "labels": {"deft-aoi/job": asked.name}},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"deft-aoi/job": asked.name},
            "ports": [{"name": "launcher", "port": _PORT}],
        },
    }


def environment(asked: Wanted, settings: Mapping[str, str]) -> list[dict[str, Any]]:
    """Plain values, secrets by reference, and where the launcher of each node finds the others."""
    found: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in asked.environment.items()]
    if store := settings.get("secret"):
        found += [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": store, "key": name, "optional": True}}}
            for name in asked.secrets
        ]
    if asked.nodes > 1:  # TAO's launcher hands these to torchrun; WORLD_SIZE is the number of nodes in its language
        found += [
            {"name": "NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}},
            {"name": "MASTER_ADDR", "value": f"{asked.name}-0.{asked.name}"},
            {"name": "MASTER_PORT", "value": str(_PORT)},
            {"name": "WORLD_SIZE", "value": str(asked.nodes)},
            {"name": "NUM_GPU_PER_NODE", "value": str(max(1, asked.gpus))},
        ]
    return found


def resources(asked: Wanted, settings: Mapping[str, str]) -> dict[str, Any]:
    """Limits; Kubernetes takes them as requests too. GPUs as TAO's spec has them, on each node."""
    limits = {name: settings[name] for name in ("cpu", "memory") if settings.get(name)}
    if asked.gpus and settings.get("gpu_resource"):
        limits[settings["gpu_resource"]] = str(asked.gpus)
    return {"limits": limits} if limits else {}


def volumes_of(asked: Wanted, place: Place) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(volumes, mounts): the workspace from a claim or from the node's disk, each mount a part of it, /dev/shm.

    Raises InputError for a mount that a claim cannot give, since it is outside the workspace.
    """
    claim = place.settings.get("pvc", "")
    if claim:
        root: dict[str, Any] = {"persistentVolumeClaim": {"claimName": claim}}
    else:
        root = {"hostPath": {"path": str(place.workspace), "type": "Directory"}}
    volumes, mounts = [{"name": "workspace", **root}], []
    # The accounts of this machine are no file of the cluster's nodes.
    for mount in (m for m in asked.mounts if m.source not in ACCOUNTS):
        if mount.source.is_relative_to(place.workspace):
            mounts.append(_part(mount, place, claim))
        elif claim:
            raise InputError(f"{mount.source}: is outside the workspace, which is all that volume {claim} holds")
        else:
            name = f"extra-{len(volumes)}"
            volumes.append({"name": name, "hostPath": {"path": str(mount.source)}})
            mounts.append({"name": name, "mountPath": mount.target, "readOnly": mount.read_only})
    if not asked.host_ipc:
        size = asked.shm[:-1] + _UNITS.get(asked.shm[-1], asked.shm[-1])
        volumes.append({"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": size}})
        mounts.append({"name": "dshm", "mountPath": "/dev/shm"})
    return volumes, mounts


def _part(mount: Mount, place: Place, claim: str) -> dict[str, Any]:
    """The mount of a folder or file below the workspace; in a claim the workspace is at the setting `pvc_path`."""
    inside = Path(place.settings.get("pvc_path", "") if claim else "") / mount.source.relative_to(place.workspace)
    part = {} if inside == Path() else {"subPath": str(inside)}
    return {"name": "workspace", "mountPath": mount.target, "readOnly": mount.read_only, **part}
