"""What a Docker daemon can do for a run, asked before any job: images, architecture, login, GPUs. Nothing is pulled."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from docker.auth import INDEX_NAME, resolve_repository_name
from docker.errors import APIError, ImageNotFound
from docker.types import DeviceRequest

from deft_aoi.base.credentials import credential
from deft_aoi.base.finding import BLOCK, NOTE, OK
from deft_aoi.executors.base import GPUS, Place, Probe

NVIDIA_REGISTRY = "nvcr.io"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_QUERY = ["--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]


def probes(client: Any, place: Place, gpu_request: list[DeviceRequest]) -> list[Probe]:
    """Checks 3 to 6 and 8 of Pre-Flight for every image that the plan uses."""
    here = {name: image_here(client, name) for key in place.needs if (name := place.images[key])}
    missing = [name for name, found in here.items() if found is None]
    found = [credential_probe(missing, place), login_probe(missing, place)]
    found += [image_probe(name, attributes, place) for name, attributes in here.items()]
    host = _ARCHITECTURES.get(client.info()["Architecture"], client.info()["Architecture"])
    present = {name: attributes for name, attributes in here.items() if attributes is not None}
    found += [architecture_probe(name, attributes, host) for name, attributes in present.items()]
    found += gpu_probes(client, next(iter(present), None), gpu_request)
    return found


def image_here(client: Any, name: str) -> dict[str, Any] | None:
    """The attributes of an image that the daemon holds."""
    try:
        attributes: dict[str, Any] = client.images.get(name).attrs
    except ImageNotFound:
        return None
    return attributes


def image_probe(name: str, attributes: dict[str, Any] | None, place: Place) -> Probe:
    if attributes is not None:
        return Probe(5, OK, f"image {name} is here ({attributes['Size'] / 1e9:.1f} GB)")
    if place.air_gapped:
        text = f"image {name} is not here, and air-gapped nothing is pulled; docker load it from a file"
        return Probe(5, BLOCK, text)
    return Probe(5, NOTE, f"image {name} is not here; the first job that needs it pulls it")


def architecture_probe(name: str, attributes: dict[str, Any], host: str) -> Probe:
    built = attributes["Architecture"]
    if built != host:
        return Probe(6, BLOCK, f"image {name} is built for {built}, this daemon runs {host}")
    return Probe(6, OK, f"architecture: image {name} and daemon are {host}")


def credential_probe(missing: list[str], place: Place) -> Probe:
    """(3) by presence only."""
    wanted = [name for name in missing if registry_of(name) == NVIDIA_REGISTRY]
    if not wanted or place.air_gapped:
        return Probe(3, OK, "credentials: no image needs to be pulled from NVIDIA's registry")
    if registry_login(wanted[0], place.workspace):
        return Probe(3, OK, "credentials: a login for NVIDIA's registry is there")
    remedy = f"put NGC_KEY into the environment or {place.workspace}/.env, or type: docker login {NVIDIA_REGISTRY}"
    return Probe(3, BLOCK, f"image {wanted[0]} is not here and no login for {NVIDIA_REGISTRY}: {remedy}")


def login_probe(missing: list[str], place: Place) -> Probe:
    """(4) whether a registry will be asked, and with which login."""
    if not missing or place.air_gapped:
        return Probe(4, OK, "registry login: not needed, no image is pulled")
    ways = {name: registry_login(name, place.workspace) for name in missing}
    told = ", ".join(f"{registry_of(name)} by {way or 'nobody (anonymous)'}" for name, way in ways.items())
    return Probe(4, OK, f"registry login: {told}")


def registry_of(image: str) -> str:
    """Host of the registry that an image comes from."""
    registry, _ = resolve_repository_name(image)
    return str(registry)


def registry_login(image: str, workspace: Path) -> str:
    """Where a pull of `image` takes its login from: `docker login`, NGC_KEY, or nowhere (empty)."""
    registry = registry_of(image)
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}
    names = {registry, f"https://{registry}", *([f"https://index.{INDEX_NAME}/v1/"] if registry == INDEX_NAME else [])}
    helper = config.get("credsStore") or names & set(config.get("credHelpers", {}))
    logins = config.get("auths", {})
    if any(_has_login(logins[name], bool(helper)) for name in names & set(logins)):
        return "docker login"
    if registry == NVIDIA_REGISTRY and credential("NGC_KEY", workspace):
        return "NGC_KEY"
    return ""


def _has_login(entry: dict[str, Any], helped: bool) -> bool:
    """Whether an entry of Docker's configuration carries a login; a helper keeps it elsewhere."""
    if helped or entry.get("identitytoken"):
        return True
    try:
        return b":" in base64.b64decode(entry.get("auth", ""))
    except ValueError:
        return False


def gpu_probes(client: Any, image: str | None, request: list[DeviceRequest]) -> list[Probe]:
    """(6, 8) whether a container gets a GPU, and which; needs an image that is here."""
    if not request:
        return [Probe(6, NOTE, "GPU: none asked for (gpus=0); NVIDIA's images need one")]
    if image is None:
        return [Probe(6, NOTE, "GPU: not tried, no image is here yet")]
    try:
        code, said = run_once(client, image, "nvidia-smi", _QUERY, device_requests=request)
    except APIError as error:
        code, said = 125, " ".join(str(error.explanation or error).split())
    if code:
        remedy = "install nvidia-container-toolkit, or pass --set gpus=0 for an image that needs none"
        return [Probe(6, BLOCK, f"no container gets a GPU here: {said.strip()}; {remedy}")]
    cards = [line.rsplit(",", 1) for line in said.strip().splitlines()]
    shown = ", ".join(f"{name.strip()} ({int(memory) / 1024:.0f} GiB)" for name, memory in cards)
    return [Probe(6, OK, "GPU: a container gets it"), Probe(8, OK, f"{GPUS}{shown}")]


def run_once(client: Any, image: str, program: str, arguments: list[str], **more: Any) -> tuple[int, str]:
    """(exit code, output) of one short program in a container without network, which never stays behind."""
    container = client.containers.create(image, arguments, entrypoint=[program], network_mode="none", **more)
    try:
        container.start()
        code = int(container.wait()["StatusCode"])
        return code, container.logs().decode(errors="replace")
    finally:
        container.remove(force=True)
