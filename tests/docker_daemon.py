"""A Docker daemon of one's own for tests, and images made from this machine's files: no registry is asked."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

PROGRAMS = (
    "bash",
    "sh",
    "sleep",
    "cat",
    "ls",
    "id",
    "env",
    "chown",
    "stat",
    "mkdir",
    "mktemp",
    "touch",
    "df",
    "dd",
    "head",
    "tail",
    "rm",
)
SPARE = ("/__pycache__", "/tests", "/test", "/include", "/onnxruntime/transformers")


class Daemon:
    """dockerd with its own data, socket and process group under `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.folder / "dockerd.pid").unlink(missing_ok=True)
        with open(self.folder / "dockerd.log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    "dockerd",
                    *("--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"),
                    *("--pidfile", f"{self.folder}/dockerd.pid", "-H", self.host),
                    *(
                        "--bridge",
                        "none",
                        "--iptables=false",
                        "--shutdown-timeout",
                        "3",
                    ),  # no test needs a network; nothing of the host changes
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not self.answers():
            log = (self.folder / "dockerd.log").read_text(errors="replace")
            assert self.process.poll() is None, f"dockerd did not start:\n{log[-2000:]}"
            assert time.monotonic() < deadline, f"dockerd does not answer:\n{log[-2000:]}"
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            client = docker.DockerClient(base_url=self.host, timeout=20)
        except docker.errors.DockerException:
            return False
        client.close()
        return True

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.host, timeout=180)


@contextmanager
def own_daemon() -> Iterator[Daemon]:
    """A running daemon named by DOCKER_HOST; skips where a machine cannot have one."""
    if shutil.which("dockerd") is None:
        pytest.skip("dockerd is not installed (apt: docker.io)")
    if os.geteuid() != 0:
        pytest.skip("a Docker daemon of the test's own needs root")
    folder = Path(tempfile.mkdtemp(prefix="deft-docker-"))  # a short path, open to every user as a socket's must be
    folder.chmod(0o755)
    daemon, before = Daemon(folder), os.environ.get("DOCKER_HOST")
    try:
        daemon.start()
        os.environ["DOCKER_HOST"] = daemon.host
        yield daemon
    finally:
        if daemon.process is not None:
            clear(daemon)
        daemon.stop()
        os.environ.pop("DOCKER_HOST")
        os.environ |= {"DOCKER_HOST": before} if before is not None else {}
        subprocess.Popen(["rm", "-rf", str(folder)])  # half a gigabyte of small files; nobody waits for it


def clear(daemon: Daemon) -> None:
    """Nothing that a test started stays alive, whatever became of the test."""
    client = daemon.client()
    for container in client.containers.list(all=True):
        container.remove(force=True)
    client.close()


def host_image(daemon: Daemon, name: str, extra: Iterable[Path] = (), texts: dict[str, str] | None = None) -> None:
    """Import an image of bash, coreutils and their libraries from this machine, with `extra` files and folders at
    their own paths and `texts`: path -> executable script."""
    wanted = {found for program in PROGRAMS if (found := shutil.which(program))}
    files = {Path(name) for name in wanted} | {Path(name) for name in libraries(*wanted)}
    archive, staging = daemon.folder / "image.tar", daemon.folder / "text"
    with tarfile.open(archive, "w", dereference=True) as tar:
        for path in sorted(files | set(extra)):
            tar.add(path, filter=without_caches)
        for target, text in {"/etc/passwd": "root:x:0:0:root:/root:/bin/bash\n", **(texts or {})}.items():
            staging.write_text(text)
            staging.chmod(0o755)
            tar.add(staging, arcname=target)
        for folder in ("/tmp", "/root", "/workspace/paidf-anomalygen"):
            tar.add("/tmp", arcname=folder, recursive=False)
    repository, tag = name.rsplit(":", 1)
    client = daemon.client()
    said = client.api.import_image_from_file(str(archive), repository, tag)
    client.close()
    archive.unlink()
    assert "sha256" in said, said


def libraries(*binaries: str | Path) -> set[str]:
    """What `ldd` names for programs and libraries, the loader too."""
    done = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False)
    return {os.path.normpath(word) for word in done.stdout.split() if word.startswith("/") and word[-1] != ":"}


def without_caches(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """No caches, tests, headers, nor the parts of Arrow that talk to networks: an image is copied twice."""
    spare = entry.name.endswith(SPARE) or any(part in entry.name for part in ("libarrow_flight", "libarrow_s3"))
    return None if spare else entry
