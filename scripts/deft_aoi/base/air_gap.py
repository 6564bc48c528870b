"""The air gap: how it is declared, which variables programs get under it, and which commands it forbids.

Standard library only: the agent's hook looks at every command with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

VARIABLE = "AIR_GAPPED"
# What libraries and installers of a task look at, so that none tries a network that is not there.
OFFLINE = {
    VARIABLE: "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1", "WANDB_MODE": "offline", "PIP_NO_INDEX": "1", "UV_OFFLINE": "1",
}  # fmt: skip
CONTAINERS = ("docker", "podman", "nerdctl")
_INSTALLERS = {
    "pip": ("install", "download", "wheel"), "pip3": ("install", "download", "wheel"), "pipx": ("install", "run"),
    "uv": ("add", "sync", "install", "tool"), "uvx": (), "conda": ("install", "create", "update"),
    "mamba": ("install", "create", "update"), "apt": ("install", "update", "upgrade"),
    "apt-get": ("install", "update", "upgrade"), "dnf": ("install",), "yum": ("install",), "apk": ("add",),
    "npm": ("install", "ci", "i"), "npx": (), "hf": ("download",), "huggingface-cli": ("download", "login"),
    "ngc": ("registry",),
}  # fmt: skip
_PULLS = ("pull", "login", "build")
_STARTS = ("run", "create")
_PYTHON = re.compile(r"python(3(\.\d+)?)?\Z")


def declared(environment: Mapping[str, str] | None = None) -> bool:
    """Whether AIR_GAPPED is set to anything but 0. It is declared, never found out by trying a network."""
    return (os.environ if environment is None else environment).get(VARIABLE, "") not in ("", "0")


def objection(words: Sequence[str]) -> str | None:
    """Why a command (program first) must not run under an air gap; None where nothing speaks against it."""
    if not words:
        return None
    name, rest = words[0].rpartition("/")[2], list(words[1:])
    if _PYTHON.match(name) and rest[:1] == ["-m"] and len(rest) > 1:
        name, rest = rest[1], rest[2:]
    verbs = [word for word in rest if not word.startswith("-")]
    if name in _INSTALLERS and (not _INSTALLERS[name] or set(verbs[:2]) & set(_INSTALLERS[name])):
        return f"{name} {' '.join(verbs[:1])}".strip() + " installs or downloads; bring it in a bundle (deft bundle)"
    if name in CONTAINERS and verbs[:1] and set(verbs[:2]) & set(_PULLS):
        return f"{name} {verbs[0]} asks a registry; load the image from a file: {name} load -i IMAGE.tar"
    if told := next((word for word in rest if _turns_on(word)), None):
        return f"{told} undoes the air gap"
    return None


def _turns_on(word: str) -> bool:
    """Whether a word sets one of OFFLINE to something else, as `HF_HUB_OFFLINE=0` or `--env=HF_HUB_OFFLINE=0`."""
    name, mark, value = word.removeprefix("--env=").removeprefix("-e").partition("=")
    return bool(mark) and name in OFFLINE and value.strip() in ("", "0", "false")


def closed(words: Sequence[str]) -> list[str]:
    """The command with `--pull=never` and the offline variables where it starts a container."""
    found = list(words)
    if not found or found[0].rpartition("/")[2] not in CONTAINERS:
        return found
    start = next((n for n, word in enumerate(found) if word in _STARTS), None)
    if start is None:
        return found
    told = ["--pull=never", *(f"--env={name}={value}" for name, value in OFFLINE.items())]
    kept = [word for word in found[start + 1 :] if not word.startswith("--pull=")]
    return [*found[: start + 1], *told, *kept]
