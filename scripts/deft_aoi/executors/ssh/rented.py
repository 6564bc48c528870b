"""Rented machines by the name of their instance: the provider's own command line says how ssh reaches it.

Instances are neither started nor stopped nor deleted here.
"""

from __future__ import annotations

import os
import re
import subprocess

from deft_aoi.base.errors import InputError, Unreachable
from deft_aoi.executors.base import Place
from deft_aoi.executors.ssh.ssh import SshExecutor
from deft_aoi.executors.ssh.ssh_connection import Connection

_TIMEOUT = 120  # seconds for one answer of a provider's command line
_WIDE = {"COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb"}  # tables are not to be broken into lines
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class RentedExecutor(SshExecutor):
    """A machine that the setting `instance` names; `find` asks the provider, once for an executor."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.found: Connection | None = None

    def connection(self) -> Connection:
        if self.found is None:
            self.found = self.find(instance_name(self.settings.get("instance", "")))
        return self.found

    def find(self, name: str) -> Connection:
        raise NotImplementedError

    def machine(self) -> str:
        return f"{self.platform} instance {self.settings.get('instance') or '(none named)'}"


class BrevExecutor(RentedExecutor):
    """NVIDIA Brev: `brev refresh` writes each instance into ssh's configuration under its own name, and `brev ls` lists
    name and status (docs.nvidia.com/brev, CLI Reference)."""

    platform = "brev"

    def find(self, name: str) -> Connection:
        said(["brev", "refresh"])
        rows = [line.split() for line in said(["brev", "ls"]).splitlines()]
        row = next((row for row in rows if row and row[0] == name), None)
        if row is None:
            raise InputError(f"--set instance={name}: brev ls lists no such instance")
        if len(row) > 1 and row[1] != "RUNNING":
            raise Unreachable(f"Brev instance {name} is {row[1]}; start it, which costs: brev start {name}")
        return Connection.of({"host": name, "ssh_config": self.settings.get("ssh_config", "")})


class LeptonExecutor(RentedExecutor):
    """NVIDIA DGX Cloud Lepton: `lep pod list` shows the ssh command of each pod (docs.nvidia.com/dgx-cloud/lepton, lep
    pod). A pod is a container itself, so tasks run bare in it."""

    platform = "lepton"

    def find(self, name: str) -> Connection:
        rows = [line for line in said(["lep", "pod", "list", "--pattern", f"^{name}$"]).splitlines() if name in line]
        if not rows:
            raise InputError(f"--set instance={name}: lep pod list shows no such pod")
        match = re.search(r"ssh -p (\d+) (\S+@[\w.:-]+)", rows[0])
        if match is None:
            raise Unreachable(f"Lepton pod {name} has no ssh command yet (lep pod list); wait until it is Ready")
        settings = {"host": match[2], "ssh_config": self.settings.get("ssh_config", "")}
        return Connection.of(settings, port=int(match[1]))


def said(command: list[str]) -> str:
    """Output of a provider's command line. Raises InputError where it is not installed, Unreachable where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", errors="replace",
            timeout=_TIMEOUT, check=False, stdin=subprocess.DEVNULL, env=os.environ | _WIDE,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise InputError(
            f"{command[0]} is not installed here; install and log in, or name the machine yourself: --platform ssh "
            "--set host=NAME"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"{command[0]} gave no answer in {_TIMEOUT} s; type the same command again") from error
    if done.returncode:
        words = " ".join(_COLOUR.sub("", done.stderr or done.stdout).split())[-200:]
        raise Unreachable(f"{' '.join(command)}: {words}; log in again, then type the same command again")
    return _COLOUR.sub("", done.stdout)


def instance_name(text: str) -> str:
    """The name of an instance as the setting has it. Raises InputError for what no instance is called."""
    if not _NAME.fullmatch(text):
        raise InputError(f"--set instance={text}: expected the name of an instance or pod")
    return text
