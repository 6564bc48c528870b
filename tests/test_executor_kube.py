"""Kubernetes: manifests against the published schema of several releases, and the client against an API server on
loopback. No cluster was at hand: nothing here ever ran in a pod."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from deft_aoi.base.errors import InputError, Unreachable
from deft_aoi.base.versions import platform
from deft_aoi.executors import platform_choice
from deft_aoi.executors.base import ANOMALYGEN, DATA_SERVICES, PAIDF_ANOMALYGEN, TAO_PYT, Container, Mount, Place, Task
from deft_aoi.executors.containers import wanted
from deft_aoi.executors.kubernetes.kube import KubernetesExecutor
from deft_aoi.executors.kubernetes.kube_manifest import job_manifest, service_manifest, toleration
from kube_api import Api, node, pod_of, serving

IMAGE = "nvcr.io/nvidia/tao/tao-toolkit:7.0.1-pyt"
DEFAULTS = {name: setting.default for name, setting in platform("kubernetes").settings.items()}
RELEASES = ("1.29", "1.31", "1.34")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for folder in ("kpi/images", "train/base", "augmentation/backbone"):
        (tmp_path / folder).mkdir(parents=True)
    settings = DEFAULTS | {"pvc": "line-data", "pvc_path": "aoi/ws", "pull_secret": "ngc", "secret": "tokens"}
    return Place("kubernetes", settings, tmp_path, {TAO_PYT: IMAGE, PAIDF_ANOMALYGEN: IMAGE}, "tao")


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Api, ThreadingHTTPServer]]:
    with serving(tmp_path) as (api, server, file):
        monkeypatch.setenv("KUBECONFIG", str(file))
        yield api, server


@pytest.fixture
def api(served: tuple[Api, ThreadingHTTPServer]) -> Api:
    return served[0]


def task(place: Place, container: Container | None = None, gpus: int = 2, nodes: int = 1) -> Task:
    command = ("visual_changenet", "train", "-e", f"{place.workspace}/spec.yaml")
    return Task("train", command, place.workspace, (), None, None, TAO_PYT, gpus, nodes, container or Container())


def job_of(place: Place) -> Path:
    return place.workspace / "results/run_1/jobs/baseline-train-train"


def manifest(place: Place, one: Task) -> dict[str, Any]:
    """The Job, after every release's schema has taken it, unknown keys refused."""
    made = job_manifest(wanted(one, job_of(place), place), place, "1000:1000")
    for release in RELEASES:
        kubernetes_validate.validate(made, release, strict=True)
    return made


def test_a_training_job_is_never_retried_and_gets_gpus_memory_and_the_workspace(place: Place) -> None:
    made = manifest(place, task(place))
    assert made["spec"]["backoffLimit"] == 0
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never"
    assert container["args"] == list(task(place).command)
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "2"}}
    assert "hostIPC" not in pod
    assert {"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}} in pod["volumes"]
    assert {"name": "workspace", "persistentVolumeClaim": {"claimName": "line-data"}} in pod["volumes"]
    assert pod["imagePullSecrets"] == [{"name": "ngc"}]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts[str(place.workspace)]["subPath"] == "aoi/ws"
    assert mounts["/data/datasets/NV_PCB_Siamese/images"]["subPath"] == "aoi/ws/kpi/images"
    assert mounts["/data/pretrained_models"]["readOnly"]


def test_anomalygen_runs_as_the_caller_with_its_token_by_reference(place: Place) -> None:
    (place.workspace / ".env").write_text("HF_TOKEN=hf_secret\n")
    made = manifest(place, task(place, ANOMALYGEN))
    pod = made["spec"]["template"]["spec"]
    assert pod["hostIPC"]
    assert pod["securityContext"]["runAsUser"] >= 0
    assert {"name": "HF_HUB_DISABLE_XET", "value": "1"} in pod["containers"][0]["env"]
    reference = {"secretKeyRef": {"name": "tokens", "key": "HF_TOKEN", "optional": True}}
    assert {"name": "HF_TOKEN", "valueFrom": reference} in pod["containers"][0]["env"]
    assert "hf_secret" not in json.dumps(made)
    assert manifest(place, task(place, DATA_SERVICES, gpus=0))["spec"]["template"]["spec"]["hostIPC"]


def test_several_nodes_are_one_indexed_job_with_a_service(place: Place) -> None:
    asked = wanted(task(place, nodes=3), job_of(place), place)
    made = manifest(place, task(place, nodes=3))
    assert (made["spec"]["completions"], made["spec"]["completionMode"]) == (3, "Indexed")
    kubernetes_validate.validate(service_manifest(asked), "1.31", strict=True)
    job = job_manifest(asked, place, "0:0")
    values = {one["name"]: one.get("value") for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (values["WORLD_SIZE"], values["NUM_GPU_PER_NODE"]) == ("3", "2")
    assert values["MASTER_ADDR"] == f"{asked.name}-0.{asked.name}"


def test_a_workspace_on_the_nodes_own_disk_and_mounts_outside_of_it(place: Place) -> None:
    outside = Container(mounts=(Mount(Path("/usr"), "/opt/usr"),))
    on_disk = replace(place, settings=DEFAULTS)
    pod = manifest(on_disk, task(place, outside))["spec"]["template"]["spec"]
    assert {"name": "workspace", "hostPath": {"path": str(place.workspace), "type": "Directory"}} in pod["volumes"]
    assert {"name": "extra-1", "hostPath": {"path": "/usr"}} in pod["volumes"]
    with pytest.raises(InputError, match="/usr: is outside the workspace"):
        manifest(place, task(place, outside))


def test_air_gapped_nothing_is_pulled(place: Place) -> None:
    made = manifest(replace(place, air_gapped=True), task(place))
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert container["imagePullPolicy"] == "Never"
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in container["env"]


def test_a_job_is_made_once_watched_and_forgotten_at_its_end(api: Api, place: Place) -> None:
    executor, job = KubernetesExecutor(place), job_of(place)
    assert executor.poll(job).kind == "absent"
    executor.submit(task(place), job)
    with pytest.raises(InputError, match="already runs"):
        executor.submit(task(place), job)
    assert executor.poll(job).reason == "waiting for a pod"
    unschedulable = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: Insufficient nvidia.com/gpu"}
    api.pods = [pod_of("Pending", conditions=[unschedulable])]
    assert executor.poll(job).reason == "waiting for a node (0/3 nodes: Insufficient nvidia.com/gpu)"
    api.pods = [pod_of("Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "no login"}})]
    assert executor.poll(job).reason == "waiting for its container (ImagePullBackOff: no login)"
    api.pods = [pod_of("Running", {"running": {}})]
    assert (executor.poll(job).kind, executor.poll(job).reason) == ("running", "")
    api.log = "said\nmore\n"
    api.end(0)
    state = KubernetesExecutor(place).poll(job)
    assert (state.kind, state.returncode, state.reason) == ("finished", 0, "")
    assert executor.log(job).read_text() == "said\nmore\n"
    assert api.objects == {}
    assert executor.poll(job) == state


@pytest.mark.parametrize(
    ("code", "how", "reason"),
    [
        (7, {}, ""),
        (137, {"reason": "OOMKilled"}, "out of memory"),
        (137, {}, "killed by SIGKILL"),
    ],
)
def test_how_a_command_ended(api: Api, place: Place, code: int, how: dict[str, str], reason: str) -> None:
    executor, job = KubernetesExecutor(place), job_of(place)
    executor.submit(task(place), job)
    api.end(code, **how)
    state = executor.poll(job)
    assert (state.kind, state.returncode) == ("finished", code)
    assert state.reason.startswith(reason)


def test_a_pod_that_was_taken_away_is_lost_and_not_the_commands_fault(api: Api, place: Place) -> None:
    executor, job = KubernetesExecutor(place), job_of(place)
    executor.submit(task(place), job)
    drained = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "node drained",
    }
    api.end(137, conditions=[drained])
    state = executor.poll(job)
    assert (state.kind, state.reason) == ("lost", "its pod was taken away: node drained")
    assert api.objects == {}
    gone = place.workspace / "results/run_1/jobs/other"
    executor.submit(task(place), gone)
    api.end(1)
    api.pods = []
    assert executor.poll(gone).reason == "its pod is gone, with its node"


def test_cancelled_deleted_and_a_caller_that_died(api: Api, place: Place) -> None:
    executor, job = KubernetesExecutor(place), job_of(place)
    executor.submit(task(place), job)
    executor.cancel(job)
    assert (executor.poll(job).kind, executor.poll(job).reason) == ("finished", "cancelled")
    deleted = place.workspace / "results/run_1/jobs/deleted"
    executor.submit(task(place), deleted)
    api.objects.clear()
    assert (executor.poll(deleted).kind, executor.poll(deleted).reason) == ("lost", "its Job was deleted")
    handle = json.loads((deleted / "handle.json").read_text())
    del handle["created"]  # as on disk before the cluster was asked
    (deleted / "handle.json").write_text(json.dumps(handle))
    assert executor.poll(deleted).kind == "running"
    assert api.job()["metadata"]["name"] == handle["container"]["name"]


def test_what_the_cluster_refuses_is_told_in_its_words(api: Api, place: Place) -> None:
    executor, job = KubernetesExecutor(place), job_of(place)
    api.refusal = "exceeded quota: gpus"
    executor.submit(task(place), job)
    state = executor.poll(job)
    assert (state.kind, state.returncode) == ("finished", 1)
    assert state.reason == "Kubernetes refused the job: exceeded quota: gpus"


def test_several_nodes_are_made_and_cleared(api: Api, place: Place) -> None:
    executor, job = KubernetesExecutor(place), job_of(place)
    executor.submit(task(place, nodes=2), job)
    assert sorted(name.split("/")[-2] for name in api.objects) == ["jobs", "services"]
    api.end(0)
    assert executor.poll(job).kind == "running", "one of two is not the end"
    api.job()["status"] = {"succeeded": 2}
    assert executor.poll(job).returncode == 0
    assert api.objects == {}


def test_a_cluster_that_is_away_loses_nothing(served: tuple[Api, ThreadingHTTPServer], place: Place) -> None:
    executor, job, new = KubernetesExecutor(place), job_of(place), place.workspace / "results/run_1/jobs/new"
    executor.submit(task(place), job)
    served[1].shutdown()
    served[1].server_close()
    with pytest.raises(Unreachable, match="does not answer"):
        executor.poll(job)
    with pytest.raises(Unreachable):
        executor.submit(task(place), new)
    assert executor.poll(new).kind == "absent"
    assert [probe.level for probe in executor.probe()] == ["block"]


def test_no_kubeconfig_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(place.workspace / "none"))
    (probe,) = KubernetesExecutor(place).probe()
    assert (probe.level, "set KUBECONFIG or --set context=NAME" in probe.text) == ("block", True)


def test_probes(api: Api, place: Place) -> None:
    blocked = {
        (probe.check, probe.text.split(",")[0]) for probe in KubernetesExecutor(place).probe() if probe.level == "block"
    }
    assert blocked == {
        (3, "no Secret tokens in namespace default"),
        (4, "no Secret ngc in namespace default"),
        (8, "no volume claim line-data in namespace default"),
    }
    for kind, name in (("secrets", "tokens"), ("secrets", "ngc"), ("persistentvolumeclaims", "line-data")):
        api.objects[f"/api/v1/namespaces/default/{kind}/{name}"] = {"metadata": {"name": name}}
    found = KubernetesExecutor(place).probe()
    assert not [probe for probe in found if probe.level == "block"]
    assert any(probe.text == "GPUs: 2 nvidia.com/gpu on 1 nodes, 2 on the largest" for probe in found)
    api.allowed, api.nodes = False, [node("arm64", "0")]
    found = KubernetesExecutor(replace(place, needs=(TAO_PYT, PAIDF_ANOMALYGEN))).probe()
    told = [probe.text for probe in found if probe.level == "block"]
    assert [text.split(";")[0] for text in told] == [
        "may not create Jobs in namespace default",
        "AnomalyGen's image is built for amd64, the nodes are arm64",
        "no node offers nvidia.com/gpu",
    ]
    made = [path for method, path in api.requests if method == "POST" and "jobs" in path and "dryRun=All" not in path]
    assert not made, "a probe makes nothing"
    assert not [name for name in api.objects if "/jobs/" in name]


def test_a_server_side_dry_run_says_what_the_cluster_would_refuse(api: Api, place: Place) -> None:
    tolerant = replace(place, settings={**place.settings, "tolerations": "nvidia.com/gpu:NoSchedule,team=aoi"})
    taken = [probe for probe in KubernetesExecutor(tolerant).probe() if "dry run" in probe.text]
    assert [probe.level for probe in taken] == ["ok"]
    api.refusal = "exceeded quota: gpus"
    (refused,) = [probe for probe in KubernetesExecutor(tolerant).probe() if "dry run" in probe.text]
    assert (refused.level, refused.text.endswith("exceeded quota: gpus")) == ("block", True)
    wrong = replace(place, settings={**place.settings, "tolerations": "a b"})
    (refused,) = [probe for probe in KubernetesExecutor(wrong).probe() if "tolerations" in probe.text]
    assert (refused.level, "expected key=value:Effect" in refused.text) == ("block", True)
    assert toleration("team=aoi:NoExecute") == {
        "key": "team", "operator": "Equal", "value": "aoi", "effect": "NoExecute",
    }  # fmt: skip


def test_a_missing_client_is_named_with_what_to_type(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    monkeypatch.delitem(sys.modules, "deft_aoi.executors.kubernetes.kube")
    with pytest.raises(InputError, match=r"the Python package kubernetes is not installed; .* DEFT_EXTRAS=kubernetes"):
        platform_choice.make_executor(place)
