"""Another machine for tests: a real sshd on loopback, with a user, a home and host keys of its own.

The user's HOME differs from the home in the accounts, as it does on rented machines that mount a disk there.
"""

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
import yaml

import null_engine
from deft_aoi.executors.ssh.ssh_places import default_folder
from slurm_cluster import free_ports, wait

USER = f"deft{os.getpid()}"  # several test processes have one each
PYTHON = "/usr/bin/python3"
SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
LogLevel VERBOSE
MaxStartups 100
SetEnv HOME={home} {environment}
"""
CLIENT = """\
Host rented 127.0.0.1
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
"""


class Machine:
    """sshd under `folder`; `config` is what `ssh -F` takes, `home` the login's HOME."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "disk/home"
        self.config = folder / "config"
        (self.port,) = free_ports(1)
        self.process: subprocess.Popen[bytes] | None = None
        self.home.mkdir(parents=True)
        for name in ("key", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        (folder / "authorized").write_text((folder / "key.pub").read_text())
        self.config.write_text(CLIENT.format(port=self.port, user=USER, folder=folder))
        self.know((folder / "host_key.pub").read_text())
        self.own(self.home)

    def know(self, key: str) -> None:
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {' '.join(key.split()[:2])}\n")

    def own(self, path: Path) -> None:
        user = pwd.getpwnam(USER)
        for one in (path, *path.rglob("*")):
            os.chown(one, user.pw_uid, user.pw_gid, follow_symlinks=False)

    def start(self, **environment: str) -> None:
        told = " ".join(f"{name}={value}" for name, value in environment.items())
        text = SSHD.format(port=self.port, folder=self.folder, home=self.home, environment=told)
        (self.folder / "sshd_config").write_text(text)
        with open(self.folder / "sshd.log", "ab") as log:
            self.process = subprocess.Popen(
                [str(shutil.which("sshd")), "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait(lambda: self.ask("true").returncode == 0, (self.folder / "sshd.log").read_text)

    def stop(self) -> None:
        """End sshd and every session of it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
            self.process = None
        self.cut()

    def cut(self) -> int:
        """Kill every session of this sshd, as a lost network does; how many there were."""
        found = [pid for pid in processes() if f"sshd: {USER}" in words(pid)]
        for pid in found:
            kill(pid)
        return len(found)

    def owns(self, pid: int) -> bool:
        """Whether a process belongs to this machine's user."""
        return owner(pid) == pwd.getpwnam(USER).pw_uid

    def ask(self, line: str) -> subprocess.CompletedProcess[str]:
        called = ["ssh", "-F", str(self.config), "-o", "BatchMode=yes", "rented", line]
        return subprocess.run(called, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    def null_tao(self, folder: str = "tao") -> str:
        """A virtualenv's folder with the null engine in TAO's place, below the home; its path as a setting takes it."""
        home = self.home / folder
        (home / "bin").mkdir(parents=True)
        shutil.copy(null_engine.__file__, home)
        shutil.copytree(Path(yaml.__file__).parent, home / "yaml", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        program = home / "bin/visual_changenet"
        program.write_text(
            f'#!/bin/sh\ndate +%s%N >>"$HOME/count-$1"; [ ! -e "$HOME/slow" ] || sleep "$(cat "$HOME/slow")"\n'
            f'PYTHONDONTWRITEBYTECODE=1 exec {PYTHON} {home}/null_engine.py visual_changenet "$@"\n'
        )
        program.chmod(0o755)
        self.own(home)
        return f"~/{folder}"

    def shell(self, folder: str = "tools") -> str:
        """The same with a program that takes the file after `-e` for a shell script."""
        program = self.home / folder / "bin/visual_changenet"
        program.parent.mkdir(parents=True)
        program.write_text('#!/bin/sh\nexec sh "$3"\n')
        program.chmod(0o755)
        self.own(self.home / folder)
        return f"~/{folder}"

    def workspace(self, here: Path) -> Path:
        """Where the workspace of this machine at `here` is on the other one by default."""
        return self.home / default_folder(here)

    def counted(self, task: str) -> int:
        """How often that task of the stand-in was started here."""
        path = self.home / f"count-{task}"
        return len(path.read_text().splitlines()) if path.is_file() else 0


@contextmanager
def own_machine(**environment: str) -> Iterator[Machine]:
    """A machine that answers; skips where this one cannot have it."""
    for program, package in (("sshd", "openssh-server"), ("ssh", "openssh-client"), ("rsync", "rsync")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt: {package})")
    if os.geteuid() != 0:
        pytest.skip("an sshd with another user needs root")
    Path("/run/sshd").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="deft-ssh-"))
    folder.chmod(0o755)
    subprocess.run(
        ["useradd", "--home-dir", f"{folder}/account", "--create-home", "--shell", "/bin/sh", USER], check=True
    )
    subprocess.run(["usermod", "--password", "*", USER], check=True)  # not locked, and no password fits
    machine = Machine(folder)
    try:
        machine.start(**environment)
        yield machine
    finally:
        machine.stop()
        for pid in (pid for pid in processes() if machine.owns(pid)):
            kill(pid)
        subprocess.run(["userdel", USER], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def words(pid: int) -> str:
    """Command line of a process, empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def owner(pid: int) -> int:
    """User id of a process, -1 where it is gone."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return -1


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
