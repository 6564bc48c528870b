"""Rootless Podman for tests: its service under a user of its own, spoken to as a Docker daemon is."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from docker_daemon import Daemon
from slurm_cluster import wait

USER = f"deftpod{os.getpid()}"
PROGRAMS = {"podman": "podman", "runc": "runc", "newuidmap": "uidmap", "useradd": "passwd", "setpriv": "util-linux"}


class Service(Daemon):
    """`podman system service` of a user without rights; `folder` is that user's home."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.host = f"unix://{folder}/podman.sock"
        settings = folder / ".config/containers/storage.conf"
        settings.parent.mkdir(parents=True)
        settings.write_text('[storage]\ndriver = "overlay"\n')
        user = pwd.getpwnam(USER)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)

    def command(self, *words: str) -> list[str]:
        """A command line of Podman, as that user types it."""
        variables = [f"PATH={os.environ['PATH']}", f"HOME={self.folder}", f"XDG_RUNTIME_DIR={self.folder}"]
        as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
        podman = ["podman", "--runtime=runc", "--cgroup-manager=cgroupfs", "--events-backend=file"]
        return ["env", "-i", *variables, *as_user, *podman, *words]

    def start(self) -> None:
        with open(self.folder / "podman.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command("system", "service", "--time=0", self.host), stdout=log, stderr=log,
                cwd="/", start_new_session=True,
            )  # fmt: skip
        wait((self.folder / "podman.sock").exists, (self.folder / "podman.log").read_text)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the service: rootless Podman starts itself again in a namespace, so the whole group is ended."""
        if self.process is not None:
            os.killpg(self.process.pid, how)
            self.process.wait(60)
            self.process = None


@contextmanager
def own_podman() -> Iterator[Service]:
    """A running service named by DOCKER_HOST; skips where a machine cannot have one."""
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt: {package})")
    if os.geteuid() != 0:
        pytest.skip("a user of the test's own needs root")
    folder = Path(tempfile.mkdtemp(prefix="deft-podman-"))
    folder.chmod(0o755)
    subprocess.run(["useradd", "--home-dir", str(folder), "--no-create-home", USER], check=True)
    before = os.environ.get("DOCKER_HOST")
    service = Service(folder)
    tunnel, mode = Path("/dev/net/tun"), Path("/dev/net/tun").stat().st_mode
    tunnel.chmod(0o666)  # as everywhere but in some containers: networks of users need it
    try:
        service.start()
        os.environ["DOCKER_HOST"] = service.host
        yield service
    finally:
        service.stop()
        tunnel.chmod(mode)
        subprocess.run(service.command("system", "reset", "--force"), check=False, capture_output=True, cwd="/")
        subprocess.run(["userdel", USER], check=False, capture_output=True)
        os.environ.pop("DOCKER_HOST", None)
        os.environ |= {"DOCKER_HOST": before} if before is not None else {}
        shutil.rmtree(folder, ignore_errors=True)
