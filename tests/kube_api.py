"""The part of the Kubernetes API that the executor talks to, over real HTTP on loopback. It is no cluster: it keeps
objects, refuses what the published schema refuses, and runs nothing; a test says what became of the pods."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

VERSION = "1.31"
# Fields that the client insists on.
VERSION_KEYS = (
    "major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform",
)  # fmt: skip
NODE_KEYS = (
    "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion", "kubeletVersion", "machineID",
    "operatingSystem", "osImage", "systemUUID",
)  # fmt: skip


class Api:
    """Objects by path, pods and their logs, and every request as (method, path)."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.refusal = ""  # why the next object is not taken, as a quota says it
        self.pods: list[dict[str, Any]] = []
        self.nodes: list[dict[str, Any]] = [node("amd64", "2")]
        self.log = "said\n"
        self.allowed = True
        self.requests: list[tuple[str, str]] = []

    def answer(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        self.requests.append((method, path))
        plain = path.split("?")[0].removesuffix("/status")
        if plain == "/version/":
            return 200, dict.fromkeys(VERSION_KEYS, "") | {"gitVersion": "v1.31.0"}
        if plain.endswith("/selfsubjectaccessreviews"):
            return 201, {"spec": (body or {})["spec"], "status": {"allowed": self.allowed}}
        if plain == "/api/v1/nodes":
            return 200, {"items": self.nodes}
        if plain.endswith("/pods"):
            return 200, {"items": self.pods}
        if plain.endswith("/log"):
            return 200, self.log
        if method == "POST":
            return self.create(plain, body or {}, keep="dryRun=All" not in path)
        if plain not in self.objects:
            return 404, status(404, f"{plain} not found")
        if method == "DELETE":
            return 200, self.objects.pop(plain)
        return 200, self.objects[plain]

    def create(self, path: str, body: dict[str, Any], *, keep: bool) -> tuple[int, Any]:
        name = f"{path}/{body['metadata']['name']}"
        if name in self.objects:
            return 409, status(409, f"{name} already exists")
        if self.refusal:
            return 403, status(403, self.refusal)
        try:
            kubernetes_validate.validate(body, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            return 422, status(422, error.message)
        made = body | {"status": {}}
        if keep:
            self.objects[name] = made
        return 201, made

    def job(self) -> dict[str, Any]:
        """The one Job that is there."""
        (found,) = [value for name, value in self.objects.items() if "/jobs/" in name]
        return found

    def end(self, code: int, reason: str = "Error", **pod: Any) -> None:
        """The job's pod ends with an exit code."""
        state = {"terminated": {"exitCode": code, "reason": reason}}
        self.pods = [pod_of("Failed" if code else "Succeeded", state, **pod)]
        condition = {
            "type": "Failed",
            "status": "True",
            "reason": "BackoffLimitExceeded",
            "message": "no retry is left",
        }
        self.job()["status"] = {"failed": 1, "conditions": [condition]} if code else {"succeeded": 1}


def status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "message": message, "code": code}


def node(architecture: str, gpus: str) -> dict[str, Any]:
    info = dict.fromkeys(NODE_KEYS, "")
    return {"status": {"allocatable": {"nvidia.com/gpu": gpus}, "nodeInfo": info | {"architecture": architecture}}}


def pod_of(phase: str, state: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    container = {"name": "task", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state or {}}
    return {"metadata": {"name": "pod-1"}, "status": {"phase": phase, "containerStatuses": [container], **more}}


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Api, ThreadingHTTPServer, Path]]:
    """(objects, server, kubeconfig) of a running server; `server.server_close()` takes it away."""
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            code, value = api.answer(self.command, self.path, body)
            data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if isinstance(value, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = reply

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = folder / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "loopback",
                "contexts": [{"name": "loopback", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    try:
        yield api, server, file
    finally:
        server.shutdown()
        server.server_close()
