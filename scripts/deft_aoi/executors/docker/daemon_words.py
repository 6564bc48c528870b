"""Why a Docker daemon did not answer, and what to do: from the error that is below the client's own."""

from __future__ import annotations

import getpass
import grp
import os

from deft_aoi.base.errors import chain

GROUP = "docker"
_UNIX = "unix://"


def no_answer(error: BaseException, said: str) -> str:
    """One line for a person: what was asked, the cause and its remedy. `said`: the client's own words."""
    host = os.environ.get("DOCKER_HOST", "")
    where = host or "its default socket"
    start = f"the Docker daemon at {where} does not answer"
    below = list(chain(error))
    if any(isinstance(one, PermissionError) for one in below) or "Permission denied" in said:
        return f"this user may not use the Docker daemon at {where} ({said}); {_membership()}"
    if os.environ.get("DOCKER_CERT_PATH") and not os.path.isdir(os.environ["DOCKER_CERT_PATH"]):
        return f"{start}: DOCKER_CERT_PATH names {os.environ['DOCKER_CERT_PATH']}, which is not there; set or unset it"
    if "paramiko" in said or "Invalid bind address" in said or "Install " in said:
        return f"{start} ({said}); DOCKER_HOST takes unix:///path/to/docker.sock or tcp://host:port here"
    if any(isinstance(one, FileNotFoundError) for one in below):
        path = host.removeprefix(_UNIX) if host.startswith(_UNIX) else "/var/run/docker.sock"
        return f"{start}: there is no socket {path}; start Docker (sudo systemctl start docker), or set DOCKER_HOST"
    return f"{start} ({said}); start it, or set DOCKER_HOST"


def _membership() -> str:
    """How this user gets into the group that may use the socket."""
    user = getpass.getuser()
    remedy = f"add the user to group {GROUP} and log in again: sudo usermod -aG {GROUP} {user}"
    try:
        group = grp.getgrnam(GROUP)
    except KeyError:
        return f"{remedy} (sudo groupadd {GROUP} first: there is no such group)"
    if user in group.gr_mem and group.gr_gid not in os.getgroups():
        return f"{user} is in group {GROUP}, but this login is older: log out and log in again"
    return remedy
