"""Run tasks as Jobs of a Kubernetes cluster, through the official client."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from deft_aoi.base.errors import Unreachable
from deft_aoi.base.files import atomic_write
from deft_aoi.base.finding import BLOCK
from deft_aoi.executors.base import LOG, JobState, Place, Probe, Task
from deft_aoi.executors.containers import Wanted, ending, wanted
from deft_aoi.executors.kubernetes.kube_manifest import job_manifest, service_manifest
from deft_aoi.executors.kubernetes.kube_probe import batch, core, probes, words
from deft_aoi.executors.records import (
    add_to_handle,
    open_handle,
    read_handle,
    record_end,
    recorded_end,
    settled,
    write_handle,
)

PLATFORM = "kubernetes"
_TIMEOUT = (10, 60)  # seconds to connect, to answer
_LOG_EVERY = 10.0  # seconds between two copies of a running pod's log
_AWAY = (401, 408, 429)  # and 5xx: says nothing of the job
_DISRUPTED = ("Evicted", "NodeLost", "NodeShutdown", "Terminated", "Preempting", "Shutdown", "UnexpectedAdmissionError")


class KubernetesExecutor:
    """One Job a task, named in the handle before it is made, never retried by the cluster (backoffLimit 0).

    The workspace must be on a volume that this machine and the pods see.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.namespace = place.settings.get("namespace") or "default"

    def submit(self, task: Task, job: Path) -> None:
        """Raises InputError where the job runs already, Unreachable without a cluster."""
        with self._cluster() as api:
            client.VersionApi(api).get_code(_request_timeout=_TIMEOUT)
            asked = wanted(task, job, self.place)
            job_manifest(asked, self.place, _caller())  # refuses what cannot be mounted before anything is noted
            write_handle(job, task, PLATFORM, container=asked.to_json(), namespace=self.namespace)
            self._create(api, job, asked)

    def poll(self, job: Path) -> JobState:
        if (handle := open_handle(job)) is None:
            return settled(job)
        seconds = time.time() - handle["epoch"]
        with self._cluster() as api:
            asked = Wanted.from_json(handle["container"])
            try:
                found = batch(api).read_namespaced_job_status(asked.name, self.namespace, _request_timeout=_TIMEOUT)
            except ApiException as error:
                if error.status != 404:
                    raise
                return self._without_job(api, job, handle, asked, seconds)
            pods = self._pods(api, asked)
            if (found.status.succeeded or 0) >= asked.nodes:
                return self._finish(api, job, asked, pods, 0, "")
            failed = [c for c in found.status.conditions or [] if c.type == "Failed" and c.status == "True"]
            if failed:
                return self._failed(api, job, asked, pods, failed[0], seconds)
            self._copy_log(api, job, pods)
            return JobState("running", seconds=seconds, reason=waiting_for(pods))

    def log(self, job: Path) -> Path:
        return job / LOG

    def cancel(self, job: Path) -> None:
        if (handle := open_handle(job)) is None:
            return
        add_to_handle(job, cancelled=True)
        with self._cluster() as api:
            asked = Wanted.from_json(handle["container"])
            self._copy_log(api, job, self._pods(api, asked), every=0)
            self._delete(api, asked)

    def describe(self) -> str:
        context = self.place.settings.get("context")
        where = f"context {context}" if context else "the current context"
        volume = self.place.settings.get("pvc")
        data = f"workspace from volume claim {volume}" if volume else "workspace from the node's own disk"
        return f"Kubernetes ({where}, namespace {self.namespace}), in NVIDIA's containers, {data}"

    def probe(self) -> list[Probe]:
        try:
            with self._cluster() as api:
                return probes(api, self.place, self.namespace)
        except Unreachable as error:
            return [Probe(6, BLOCK, str(error))]

    @contextlib.contextmanager
    def _cluster(self) -> Iterator[client.ApiClient]:
        """A client of the cluster that KUBECONFIG and the setting `context` name, else of the one around this pod."""
        try:
            try:
                # Named here since the client reads the variable only once, when it is imported.
                file = os.environ.get("KUBECONFIG") or None
                api = config.new_client_from_config(file, context=self.place.settings.get("context") or None)
            except ConfigException:
                if "KUBERNETES_SERVICE_HOST" not in os.environ:
                    raise
                config.load_incluster_config()
                api = client.ApiClient()
            with api:
                yield api
        except ConfigException as error:
            raise Unreachable(f"Kubernetes: {_short(error)}; set KUBECONFIG or --set context=NAME") from error
        except ApiException as error:
            told = f"the cluster reported {error.status} {words(error)}"
            raise Unreachable(f"Kubernetes: {told}; fix that, then type the same command again") from error
        except HTTPError as error:
            raise Unreachable(
                f"Kubernetes does not answer ({_short(error)}); nothing is lost, type the same command again"
            ) from error

    def _create(self, api: client.ApiClient, job: Path, asked: Wanted) -> None:
        """Make the objects; what the cluster refuses for good is the job's end."""
        try:
            if asked.nodes > 1:
                core(api).create_namespaced_service(self.namespace, service_manifest(asked))
            manifest = job_manifest(asked, self.place, _caller())
            batch(api).create_namespaced_job(self.namespace, manifest, _request_timeout=_TIMEOUT)
        except ApiException as error:
            if error.status == 409:  # it is there: an earlier call got through
                pass
            elif error.status in _AWAY or error.status >= 500:
                raise
            else:
                record_end(job, 1, 0, f"Kubernetes refused the job: {words(error)}")
                return
        add_to_handle(job, created=True)

    def _without_job(
        self, api: client.ApiClient, job: Path, handle: dict[str, Any], asked: Wanted, seconds: float
    ) -> JobState:
        """No Job of that name: cancelled, deleted by somebody, or never made since the caller died."""
        if handle.get("cancelled"):
            return record_end(job, 143, seconds, "cancelled")
        if handle.get("created"):
            return JobState("lost", seconds=seconds, reason="its Job was deleted")
        self._create(api, job, asked)
        return recorded_end(job) or JobState("running", seconds=seconds)

    def _failed(
        self, api: client.ApiClient, job: Path, asked: Wanted, pods: Sequence[Any], condition: Any, seconds: float
    ) -> JobState:
        """The end of a Job that the cluster calls failed: its command's, or that of what it ran on."""
        for pod in pods:
            targets = [c for c in pod.status.conditions or [] if c.type == "DisruptionTarget" and c.status == "True"]
            if targets or pod.status.reason in _DISRUPTED:
                why = targets[0].message or targets[0].reason if targets else pod.status.message or pod.status.reason
                self._copy_log(api, job, pods, every=0)
                self._delete(api, asked)
                return JobState("lost", seconds=seconds, reason=f"its pod was taken away: {why}")
        ends = [end for pod in pods if (end := terminated(pod)) is not None and end.exit_code]
        if ends:
            memory = ends[0].reason == "OOMKilled"
            told = ending(ends[0].exit_code, out_of_memory=memory) or (ends[0].message or "")
            return self._finish(api, job, asked, pods, ends[0].exit_code, told)
        if not pods:
            self._delete(api, asked)
            return JobState("lost", seconds=seconds, reason="its pod is gone, with its node")
        return self._finish(api, job, asked, pods, 1, f"{condition.reason}: {condition.message}")

    def _finish(
        self, api: client.ApiClient, job: Path, asked: Wanted, pods: Sequence[Any], code: int, reason: str
    ) -> JobState:
        self._copy_log(api, job, pods, every=0)
        ended = record_end(job, code, time.time() - (read_handle(job) or {})["epoch"], reason)
        self._delete(api, asked)
        return ended

    def _pods(self, api: client.ApiClient, asked: Wanted) -> list[Any]:
        """Pods of the job, the first node's first."""
        found = core(api).list_namespaced_pod(
            self.namespace, label_selector=f"deft-aoi/job={asked.name}", _request_timeout=_TIMEOUT
        )
        return sorted(found.items, key=lambda pod: str(pod.metadata.name))

    def _copy_log(self, api: client.ApiClient, job: Path, pods: Sequence[Any], every: float = _LOG_EVERY) -> None:
        path = job / LOG
        if not pods or (path.is_file() and time.time() - path.stat().st_mtime < every):
            return
        try:
            answer = core(api).read_namespaced_pod_log(
                pods[0].metadata.name, self.namespace, _preload_content=False, _request_timeout=_TIMEOUT
            )
        except ApiException:  # not started yet, or its node is gone: a log is no reason to stop
            return
        atomic_write(path, lambda stream: [stream.write(part) for part in answer.stream(1 << 16)])

    def _delete(self, api: client.ApiClient, asked: Wanted) -> None:
        """Remove what was made; the records on disk say how it ended."""
        with contextlib.suppress(ApiException):
            batch(api).delete_namespaced_job(asked.name, self.namespace, propagation_policy="Background")
        if asked.nodes > 1:
            with contextlib.suppress(ApiException):
                core(api).delete_namespaced_service(asked.name, self.namespace)


def waiting_for(pods: Sequence[Any]) -> str:
    """What keeps the pods of a job from running; empty when all run."""
    for pod in pods:
        if pod.status.phase != "Pending":
            continue
        for condition in pod.status.conditions or []:
            if condition.type == "PodScheduled" and condition.status == "False":
                return f"waiting for a node ({condition.message or condition.reason})"
        for status in pod.status.container_statuses or []:
            if status.state.waiting is not None:
                said = ": ".join(filter(None, (status.state.waiting.reason, status.state.waiting.message)))
                return f"waiting for its container ({said})"
        return "waiting for its container"
    return "" if pods else "waiting for a pod"


def terminated(pod: Any) -> Any:
    """The end of the pod's container, None while there is none."""
    for status in pod.status.container_statuses or []:
        if status.state.terminated is not None:
            return status.state.terminated
    return None


def _caller() -> str:
    return f"{os.getuid()}:{os.getgid()}"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
