"""What a Kubernetes cluster can do for a run, asked before any job is made."""

from __future__ import annotations

import json
import os
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from deft_aoi.base.errors import InputError
from deft_aoi.base.finding import BLOCK, NOTE, OK
from deft_aoi.executors.base import GPUS, PAIDF_ANOMALYGEN, Mount, Place, Probe
from deft_aoi.executors.containers import Wanted
from deft_aoi.executors.kubernetes.kube_manifest import job_manifest

_TIMEOUT = (10, 60)
_SAYS_NOTHING = (401, 408, 429)  # of the Job


def core(api: client.ApiClient) -> Any:
    """Pods, Services, Secrets, nodes; untyped, since the client's types change with its releases."""
    return client.CoreV1Api(api)


def batch(api: client.ApiClient) -> Any:
    return client.BatchV1Api(api)


def probes(api: client.ApiClient, place: Place, namespace: str) -> list[Probe]:
    """Checks 3 to 6 and 8 of Pre-Flight."""
    version = client.VersionApi(api).get_code(_request_timeout=_TIMEOUT).git_version
    found = [*login_probes(api, place, namespace), *image_probes(place)]
    found.append(Probe(6, OK, f"Kubernetes answers ({version})"))
    found.append(permission_probe(api, namespace))
    found.append(dry_run_probe(api, place, namespace))
    return [*found, *node_probes(api, place), *volume_probes(api, place, namespace)]


def login_probes(api: client.ApiClient, place: Place, namespace: str) -> list[Probe]:
    """(3, 4) the Secrets that the settings name are there; their values are not looked at."""
    found = []
    for check, setting, purpose in ((3, "secret", "variables of a task"), (4, "pull_secret", "image pulls")):
        name = place.settings.get(setting, "")
        if not name:
            level, text = NOTE, f"no Secret for {purpose} (--set {setting}=NAME)"
            if setting == "pull_secret" and place.air_gapped:
                level, text = OK, "registry login: not needed, no image is pulled"
        elif _exists(core(api).read_namespaced_secret, name, namespace):
            level, text = OK, f"Secret {name} for {purpose} is there"
        else:
            level, text = BLOCK, f"no Secret {name} in namespace {namespace}, asked for by --set {setting}"
        found.append(Probe(check, level, text))
    return found


def image_probes(place: Place) -> list[Probe]:
    """(5) who brings the images."""
    how = "must be on the nodes (air-gapped)" if place.air_gapped else "is pulled by the node that needs it"
    return [Probe(5, NOTE, f"image {place.images[key]} {how}; not seen from here") for key in place.needs]


def permission_probe(api: client.ApiClient, namespace: str) -> Probe:
    """(6) whether the caller may make Jobs."""
    asked = {"namespace": namespace, "verb": "create", "group": "batch", "resource": "jobs"}
    review = {"spec": {"resourceAttributes": asked}}
    authorization: Any = client.AuthorizationV1Api(api)
    answer = authorization.create_self_subject_access_review(review, _request_timeout=_TIMEOUT)
    if answer.status.allowed:
        return Probe(6, OK, f"may create Jobs in namespace {namespace}")
    return Probe(6, BLOCK, f"may not create Jobs in namespace {namespace}; ask for the right, or --set namespace=NAME")


def dry_run_probe(api: client.ApiClient, place: Place, namespace: str) -> Probe:
    """(6) whether the cluster would take a Job of this plan: it is sent for a dry run and nothing is kept."""
    probe = Wanted(
        name="deft-dry-run", image=place.images[place.needs[0]], command=("true",), workdir=str(place.workspace),
        mounts=(Mount(place.workspace, str(place.workspace), read_only=False),), environment={}, secrets=(), shm="8g",
        host_ipc=False, user="", gpus=1, nodes=1, output=str(place.workspace),
    )  # fmt: skip
    try:
        manifest = job_manifest(probe, place, f"{os.getuid()}:{os.getgid()}")
        batch(api).create_namespaced_job(namespace, manifest, dry_run="All", _request_timeout=_TIMEOUT)
    except InputError as error:
        return Probe(6, BLOCK, str(error))
    except ApiException as error:
        if error.status in _SAYS_NOTHING or error.status >= 500:
            raise
        return Probe(6, BLOCK, f"the cluster would refuse a Job of this plan (server-side dry run): {words(error)}")
    return Probe(6, OK, "server-side dry run: the cluster would take a Job of this plan")


def words(error: ApiException) -> str:
    """The API server's own message."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def node_probes(api: client.ApiClient, place: Place) -> list[Probe]:
    """(6, 8) GPUs and architecture of the nodes, where the caller may see them."""
    kind = place.settings.get("gpu_resource", "")
    try:
        nodes = core(api).list_node(_request_timeout=_TIMEOUT).items
    except ApiException as error:
        if error.status != 403:
            raise
        return [Probe(8, NOTE, "GPUs: the nodes may not be listed, so nobody knows before the first job")]
    built = {node.status.node_info.architecture for node in nodes}
    found = []
    if PAIDF_ANOMALYGEN in place.needs and "amd64" not in built:
        found.append(
            Probe(6, BLOCK, f"AnomalyGen's image is built for amd64, the nodes are {', '.join(sorted(built))}")
        )
    if not kind:
        return [*found, Probe(6, NOTE, "GPU: none asked for (gpu_resource is empty); NVIDIA's images need one")]
    counts = [int(node.status.allocatable.get(kind, 0)) for node in nodes]
    if not any(counts):
        text = f"no node offers {kind}; install NVIDIA's device plugin, or --set gpu_resource=NAME"
        return [*found, Probe(6, BLOCK, text)]
    held = [count for count in counts if count]
    return [*found, Probe(8, OK, f"{GPUS}{sum(held)} {kind} on {len(held)} nodes, {max(held)} on the largest")]


def volume_probes(api: client.ApiClient, place: Place, namespace: str) -> list[Probe]:
    """(8) where the workspace comes from."""
    claim = place.settings.get("pvc", "")
    if not claim:
        text = (
            "workspace: from the node's own disk (hostPath); every node must see it at this path (--set pvc=NAME else)"
        )
        return [Probe(8, NOTE, text)]
    if _exists(core(api).read_namespaced_persistent_volume_claim, claim, namespace):
        return [Probe(8, OK, f"workspace: volume claim {claim} is there")]
    return [Probe(8, BLOCK, f"no volume claim {claim} in namespace {namespace}")]


def _exists(read: Any, name: str, namespace: str) -> bool:
    try:
        read(name, namespace, _request_timeout=_TIMEOUT)
    except ApiException as error:
        if error.status == 404:
            return False
        raise
    return True
