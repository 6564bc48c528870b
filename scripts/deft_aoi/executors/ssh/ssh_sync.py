"""Bring a workspace to another machine and a task's results back: rsync over the same connection, only what changed.

Every file arrives under another name and is renamed, a cut transfer goes on where it was, and what comes back is
compared with the hashes that were taken there.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from deft_aoi.base.files import sha256_file
from deft_aoi.executors.base import EXIT, HANDLE, LOG, Task
from deft_aoi.executors.local import LocalExecutor
from deft_aoi.executors.ssh.ssh_connection import CUT, Connection, no_connection
from deft_aoi.executors.ssh.ssh_places import Places

SEND, FETCH = "send", "fetch"  # folders of the two transfers, in the job's own
HASHES = "outputs"
_PARTIAL = ".deft-partial"
# Secrets and what no task reads stay here.
_NEVER = ("/.env*", ".git/", _PARTIAL, "*.failed-*")
_NOT_OF_A_RUN = ("*.html", "loop_log.*", "deft_state.json", "*.lock", "/label_review*")
_JOB_OWN = (HANDLE, EXIT, LOG, f"{SEND}*", f"{FETCH}*", "alive.lock")
# rsync's exit codes of a connection that broke: protocol, socket I/O, signal, I/O, timeouts.
_BROKE = (CUT, 10, 12, 20, 30, 35)
_SIGNAL = 128  # above it, and below 0, a transfer was killed here
_LINE = re.compile(r"([0-9a-f]{64})  \./(.+)")


class Courier(LocalExecutor):
    """Runs one transfer as a process that outlives the caller; the command of its task is the shell line."""

    def command(self, task: Task) -> list[str]:
        return list(task.command)


def send_lines(connection: Connection, places: Places, run: Path, output: Path, job: Path) -> str:
    """Shell lines: the workspace with this run and no other, the task's output folder as it is here, the job's folder.

    Nothing is deleted there but what the task's own output folder holds and this one does not.
    """
    rsync = _rsync(connection)
    inside = [path.relative_to(places.here).as_posix() for path in (run, output, job.parent)]
    rules = [f"--exclude={name}" for name in _NEVER]
    rules += [f"--exclude=/{inside[0]}/{name.lstrip('/')}" for name in _NOT_OF_A_RUN]
    rules += [f"--exclude=/{inside[1]}/", f"--exclude=/{inside[2]}/"]
    rules += ["--include=/results/", f"--include=/{inside[0]}/", "--exclude=/results/*"]
    here, there = f"{places.here}/", f"{connection.host}:{places.there}/"
    folders = [places.path(output), places.path(job)]
    own = [f"--exclude={name}" for name in _JOB_OWN]
    return "\n".join(
        [
            "set -e",
            shlex.join([*connection.program, "-T", connection.host, shlex.join(["mkdir", "-p", *folders])]),
            shlex.join([*rsync, *rules, here, there]),
            shlex.join([*rsync, "--delete", f"--exclude={_PARTIAL}", f"{output}/", f"{connection.host}:{folders[0]}/"]),
            shlex.join([*rsync, *own, f"{job}/", f"{connection.host}:{folders[1]}/"]),
        ]
    )


def fetch_lines(connection: Connection, places: Places, output: Path, control: Path) -> str:
    """Shell lines: the task's output folder, then the list of its hashes."""
    rsync = _rsync(connection)
    return "\n".join(
        [
            "set -e",
            shlex.join([*rsync, f"--exclude={_PARTIAL}", f"{connection.host}:{places.path(output)}/", f"{output}/"]),
            shlex.join([*rsync, f"{connection.host}:{places.path(control / HASHES)}", f"{control}/"]),
        ]
    )


def differing(output: Path, control: Path) -> list[Path]:
    """Files of `output` that are missing or hold other bytes than the hash taken on the other machine says."""
    lines = (control / HASHES).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    wanted = [match.groups() for line in lines if (match := _LINE.fullmatch(line))]
    files = [(output / name, digest) for digest, name in wanted]
    return [path for path, digest in files if not path.is_file() or sha256_file(path) != digest]


def trouble(connection: Connection, code: int, said: str) -> str:
    """Why a transfer ended with `code`, in words. Raises Unreachable where the connection broke."""
    if "No space left" in said or "Disk quota exceeded" in said:
        return (
            f"no space left on {connection.host} or here: {_last(said)}; free space, nothing that arrived is sent again"
        )
    if code in _BROKE or code < 0 or code > _SIGNAL:
        raise no_connection(connection.host, said)
    if code == 127 or "rsync: not found" in said or "rsync: command not found" in said:
        return f"rsync is missing here or on {connection.host}; install it (apt: rsync)"
    return f"the transfer failed (exit {code}): {_last(said)}"


def _last(said: str) -> str:
    return " ".join(" ".join(line for line in said.splitlines() if line.startswith("rsync"))[-300:].split())


def _rsync(connection: Connection) -> list[str]:
    """Times are kept, so that an unchanged file is known by size and time; a link that leads out becomes its file."""
    return [
        "rsync", "-rlt", "-s", "--copy-unsafe-links", f"--partial-dir={_PARTIAL}", "--timeout=60",
        f"--rsh={shlex.join(connection.program)}",
    ]  # fmt: skip
