"""What another machine can do for a run, asked over ssh before anything is sent: reads only."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from deft_aoi.base.credentials import credential
from deft_aoi.base.errors import InputError, Unreachable
from deft_aoi.base.finding import BLOCK, NOTE, OK
from deft_aoi.executors.base import Place, Probe
from deft_aoi.executors.docker.docker_probe import NVIDIA_REGISTRY, registry_of
from deft_aoi.executors.ssh.ssh_connection import Connection
from deft_aoi.executors.ssh.ssh_places import SHARED, SYNCHRONISED, asked_folder
from deft_aoi.executors.ssh.ssh_script import BARE, container_kind, home

_CLOCK = 5  # seconds by which the two clocks may differ
_RESERVE = 1 << 30  # bytes that a run writes there beyond what is sent, at the least
_TOOLS = ("flock", "setsid", "sha256sum")
# One line `key=value` each. $1 folder, $2 container, $3 PATH of a virtualenv, then the images.
_ASK = r"""
folder=$1 kind=$2 venv=$3; shift 3
cd; echo "user=$(id -un)"; echo "time=$(date +%s)"; echo "system=$(uname -sm)"
near=$folder; while [ ! -e "$near" ] && [ "$near" != / ] && [ "$near" != . ]; do near=$(dirname "$near"); done
[ -d "$near" ] && [ -w "$near" ] && echo write=yes
echo "near=$(cd "$near" && pwd -P)"; echo "free=$(df -Pk "$near" | awk 'NR == 2 { print $4 }')"
[ -d "$folder" ] && echo "there=$(du -sk "$folder" | cut -f1)"
for tool in flock setsid sha256sum rsync; do command -v $tool >/dev/null && echo "tool=$tool"; done
if [ "$kind" = none ]; then
    [ -z "$venv" ] || PATH=$venv/bin:$PATH
    echo "tao=$(command -v visual_changenet)"
else
    echo "server=$($kind version --format '{{.Server.Version}}' 2>&1 | tail -n 1)"
    $kind info >/dev/null 2>&1 && echo daemon=yes
    for image; do $kind image inspect -f "image=$image {{.Architecture}} {{.Size}}" "$image" 2>/dev/null; done
fi
nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits 2>/dev/null | sed 's/^/gpu=/'
true
"""


def probes(connection: Connection, place: Place) -> list[Probe]:
    """Checks 3 to 6, 8 and 9 of Pre-Flight; a machine that does not answer is the only finding then."""
    settings = place.settings
    folder, kind = asked_folder(place.workspace, settings), container_kind(settings)
    images = [place.images[key] for key in place.needs] if kind != BARE else []
    line = f"sh -s -- {' '.join(map(home, (folder, kind, settings.get('venv', ''), *images)))}"
    began = time.time()
    try:
        said = connection.ask_once(line, _ASK, 120)
    except (InputError, Unreachable) as error:
        return [Probe(6, BLOCK, str(error))]
    facts: dict[str, list[str]] = {}
    for text in said.splitlines():
        key, mark, value = text.partition("=")
        if mark:
            facts.setdefault(key, []).append(value)
    one = {key: values[0] for key, values in facts.items()}
    found = [Probe(6, OK, f"{connection.host} answers as {one.get('user')} ({one.get('system')})")]
    found += [clock_probe(connection.host, int(one.get("time", 0)), began, time.time())]
    found += place_probes(connection.host, place, folder, one, facts.get("tool", []))
    found += program_probes(connection.host, place, kind, one, facts.get("image", []))
    return [*found, *gpu_probes(connection.host, settings, facts.get("gpu", []))]


def clock_probe(host: str, theirs: int, before: float, after: float) -> Probe:
    """(6) rsync knows a changed file by its time, so the clocks should agree."""
    off = max(before - theirs - 1, theirs - after, 0)
    if off > _CLOCK:
        return Probe(6, NOTE, f"the clock of {host} is {off:.0f} s off; set it (timedatectl set-ntp true)")
    return Probe(6, OK, f"the clock of {host} agrees with this machine's")


def place_probes(host: str, place: Place, folder: str, one: Mapping[str, str], tools: list[str]) -> list[Probe]:
    """(8) the folder there can be written, has room for what is sent, and the programs that a job needs are there."""
    shared = place.settings.get("workspace", SYNCHRONISED) == SHARED
    found = []
    needed = [*_TOOLS, *(() if shared else ("rsync",))]
    if missing := [tool for tool in needed if tool not in tools]:
        found.append(Probe(8, BLOCK, f"{host} has no {', '.join(missing)}; install it there (apt: util-linux, rsync)"))
    if "write" not in one:
        found.append(Probe(8, BLOCK, f"{one.get('user')} may not write to {folder} on {host}; --set folder=FOLDER"))
    elif shared and one.get("near") != folder:
        text = f"{host} does not see the workspace at {folder}; --set workspace=sync sends it there"
        found.append(Probe(8, BLOCK, text))
    else:
        found.append(Probe(8, OK, f"{folder} on {host} can be written"))
    free = int(one.get("free", 0)) * 1024
    size = 0 if shared else max(0, bytes_to_send(place.workspace) - int(one.get("there", 0)) * 1024)
    text = f"disk of {host}: {free / 1e9:.1f} GB free, {size / 1e9:.2f} GB to send"
    short = free < size + _RESERVE
    expected = (
        f"{text}; a run needs {_RESERVE / 1e9:.1f} GB more than what is sent; free space there, or --set folder=FOLDER"
    )
    return [*found, Probe(8, BLOCK, expected) if short else Probe(8, OK, text)]


def bytes_to_send(workspace: Path) -> int:
    """Size of the workspace without its results, as far as it can be read."""
    total = 0
    for folder, folders, files in os.walk(workspace):
        if Path(folder) == workspace:
            folders[:] = [name for name in folders if name not in ("results", ".git")]
        for name in files:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def program_probes(host: str, place: Place, kind: str, one: Mapping[str, str], images: list[str]) -> list[Probe]:
    """(3, 4, 5, 6) TAO there: its program, or the images and who may pull them."""
    if kind == BARE:
        free = [Probe(3, OK, "credentials: none, no image is pulled"), Probe(4, OK, "registry login: not needed")]
        if one.get("tao"):
            return [*free, Probe(5, OK, f"images: none; {one['tao']} on {host}")]
        return [
            *free,
            Probe(
                5, BLOCK, f"{host} has no visual_changenet in its PATH; --set venv=FOLDER, or --set container=docker"
            ),
        ]
    if "daemon" not in one:
        said = one.get("server", "") or "no answer"
        return [Probe(6, BLOCK, f"{kind} on {host} does not answer ({said}); start it there, or --set container=")]
    found = [Probe(6, OK, f"{kind} {one.get('server', '')} answers on {host}")]
    here = {name: (built, int(size)) for name, built, size in (text.rsplit(" ", 2) for text in images)}
    missing = [name for key in place.needs if (name := place.images[key]) not in here]
    found += [
        Probe(5, OK, f"image {name} is on {host} ({size / 1e9:.1f} GB, {built})")
        for name, (built, size) in here.items()
    ]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(one.get("system", "").split()[-1], "")
    for name, (built, _) in here.items():
        if built != machine:
            found.append(Probe(6, BLOCK, f"image {name} is built for {built}, {host} is {machine}"))
    for name in missing:
        if place.air_gapped:
            found.append(Probe(5, BLOCK, f"image {name} is not on {host}, and air-gapped nothing is pulled"))
        else:
            found.append(Probe(5, NOTE, f"image {name} is not on {host}; the first job that needs it pulls it there"))
    nvidia = [name for name in missing if registry_of(name) == NVIDIA_REGISTRY]
    if nvidia and not place.air_gapped and not credential("NGC_KEY", place.workspace):
        text = f"no NGC_KEY here for the pull of {nvidia[0]}; {kind} on {host} must be logged in to {NVIDIA_REGISTRY}"
        return [*found, Probe(3, NOTE, text), Probe(4, NOTE, f"registry login: that of {host}, not seen from here")]
    return [
        *found,
        Probe(3, OK, "credentials: what a pull needs is there"),
        Probe(4, OK, "registry login: by NGC_KEY, or not needed"),
    ]


def gpu_probes(host: str, settings: Mapping[str, str], cards: list[str]) -> list[Probe]:
    """(6, 8, 9) the GPUs there."""
    if settings.get("gpus", "all") == "0":
        return [Probe(6, NOTE, "GPU: none asked for (gpus=0); NVIDIA's images need one")]
    found = [match.groups() for card in cards if (match := re.fullmatch(r"(.+), *(\d+)", card))]
    if not found:
        return [Probe(6, BLOCK, f"{host} has no GPU that nvidia-smi shows; --set gpus=0 for an image that needs none")]
    shown = ", ".join(f"{name} ({int(size) / 1024:.0f} GiB)" for name, size in found)
    return [Probe(8, OK, f"GPUs of {host}: {shown}", gpu_memory=tuple(int(size) << 20 for _, size in found))]
