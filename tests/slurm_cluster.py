"""A SLURM cluster of one node on this machine, for tests: munged, slurmctld and slurmd with files of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NODE = socket.gethostname().split(".")[0]
CONFIGURATION = """\
ClusterName=deft
SlurmctldHost={node}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={port}
SlurmdPort={node_port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.log
MinJobAge=3600
KillWait=2
SlurmdTimeout=300
GresTypes=gpu
NodeName={node} NodeAddr=127.0.0.1 CPUs=2 RealMemory=500 Gres=gpu:1 State=UNKNOWN
PartitionName=debug Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """The three daemons under `folder`; SLURM_CONF names the cluster to every SLURM program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("state", "spool"):
            (folder / name).mkdir()
        ports = dict(zip(("port", "node_port"), free_ports(2), strict=True))
        (folder / "slurm.conf").write_text(CONFIGURATION.format(node=NODE, folder=folder, **ports))
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)

    def start(self, *names: str) -> None:
        """Start the daemons that are named, all without names, and wait until the node takes jobs."""
        commands = {
            "munged": [
                "munged", "--foreground", "--force", f"--socket={self.folder}/munge.sock",
                f"--key-file={self.folder}/munge.key", f"--log-file={self.folder}/munge.log",
                f"--pid-file={self.folder}/munge.pid", f"--seed-file={self.folder}/munge.seed",
            ],
            "slurmctld": ["slurmctld", "-D"],
            "slurmd": ["slurmd", "-D", "-N", NODE],
        }  # fmt: skip
        for name in names or commands:
            with open(self.folder / f"{name}.log", "ab") as log:
                self.running[name] = subprocess.Popen(commands[name], stdout=log, stderr=log, start_new_session=True)
            if name == "munged":
                wait((self.folder / "munge.sock").exists, "munged has no socket")
        if "slurmctld" in self.running and "slurmd" in self.running:
            wait(lambda: self.state() in ("idle", "mixed", "allocated"), self.tail)

    def state(self) -> str:
        done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False)
        return done.stdout.strip().rstrip("*")

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        process = self.running.pop(name)
        process.send_signal(how)
        process.wait(30)

    def tail(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-800:] for path in self.folder.glob("slurm*.log"))


@contextmanager
def own_cluster() -> Iterator[Cluster]:
    """A cluster with an idle node; skips where a machine cannot have one."""
    for program, package in (("munged", "munge"), ("slurmctld", "slurm-wlm"), ("slurmd", "slurm-wlm")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt: {package})")
    if os.geteuid() != 0:
        pytest.skip("a SLURM cluster of the test's own needs root")
    folder = Path(tempfile.mkdtemp(prefix="deft-slurm-"))
    folder.chmod(0o755)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        if "slurmctld" in cluster.running:
            subprocess.run(["scancel", "--full", "--user=root"], capture_output=True, check=False)
        for name in reversed(list(cluster.running)):
            cluster.stop(name)
        os.environ.pop("SLURM_CONF")
        os.environ |= {"SLURM_CONF": before} if before is not None else {}
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait(condition: Callable[[], bool], what: str | Callable[[], str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.1)
