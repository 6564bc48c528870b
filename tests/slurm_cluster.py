"""A SLURM cluster on this machine, for tests: munged, slurmctld and a slurmd a node with files of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldPort={port}
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
{nodes}
PartitionName=debug Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""
A_NODE = "NodeName={} NodeHostname={} NodeAddr=127.0.0.1 Port={} CPUs=2 RealMemory=500 Gres=gpu:1 State=UNKNOWN"


class Cluster:
    """The daemons under `folder`, a slurmd for each of `nodes`; SLURM_CONF names the cluster to every SLURM program."""

    def __init__(self, folder: Path, nodes: Sequence[str]) -> None:
        self.folder, self.nodes = folder, tuple(nodes)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("state", *(f"spool-{node}" for node in nodes)):
            (folder / name).mkdir()
        port, *ports = free_ports(1 + len(nodes))
        lines = "\n".join(A_NODE.format(node, NODE, own) for node, own in zip(nodes, ports, strict=True))
        text = CONFIGURATION.format(node=NODE, folder=folder, port=port, nodes=lines, names=",".join(nodes))
        (folder / "slurm.conf").write_text(text)
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
            **{f"slurmd {node}": ["slurmd", "-D", "-N", node] for node in self.nodes},
        }  # fmt: skip
        for name in names or commands:
            with open(self.folder / f"{name.replace(' ', '-')}.log", "ab") as log:
                self.running[name] = subprocess.Popen(commands[name], stdout=log, stderr=log, start_new_session=True)
            if name == "munged":
                wait((self.folder / "munge.sock").exists, "munged has no socket")
        if "slurmctld" in self.running:
            wait(lambda: self.up() >= sum(name.startswith("slurmd ") for name in self.running), self.tail)

    def state(self) -> str:
        done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False)
        return done.stdout.strip().rstrip("*")

    def up(self) -> int:
        """How many nodes take jobs or have one."""
        done = subprocess.run(["sinfo", "-h", "-N", "-o", "%T"], capture_output=True, text=True, check=False)
        return sum(word in ("idle", "mixed", "allocated", "completing") for word in done.stdout.split())

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        process = self.running.pop(name)
        process.send_signal(how)
        process.wait(30)

    def tail(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-800:] for path in self.folder.glob("slurm*.log"))


@contextmanager
def own_cluster(*nodes: str) -> Iterator[Cluster]:
    """A cluster with idle nodes, one of this host's name where none is named; skips where a machine cannot have one."""
    for program, package in (("munged", "munge"), ("slurmctld", "slurm-wlm"), ("slurmd", "slurm-wlm")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt: {package})")
    if os.geteuid() != 0:
        pytest.skip("a SLURM cluster of the test's own needs root")
    folder = Path(tempfile.mkdtemp(prefix="deft-slurm-"))
    folder.chmod(0o755)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    cluster = Cluster(folder, nodes or (NODE,))
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
