"""Commands for one machine over this system's OpenSSH client, with the user's configuration, agent and known hosts."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deft_aoi.base.errors import InputError, Unreachable

TIMEOUT = 60  # seconds for one answer
CUT = 255  # ssh's own exit code: no connection, or it broke
_PAUSES = (1.0, 3.0)  # seconds before another try: a broken connection often passes by itself
_OPTIONS = (
    "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3",
)  # fmt: skip
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:%+-]*")  # never begins as an option does


class Refused(InputError):
    """The other machine answered and its command failed; `code` is the command's exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Connection:
    """How one machine is called: a name of ~/.ssh/config or user@address, and a configuration file in place of the
    user's own (empty: the user's), a port (0: ssh's)."""

    host: str
    config: str = ""
    port: int = 0

    @classmethod
    def of(cls, settings: Mapping[str, str], setting: str = "host", port: int = 0) -> Connection:
        """Raises InputError where the setting names no machine."""
        host = settings.get(setting, "")
        if not _HOST.fullmatch(host):
            raise InputError(
                f"--set {setting}={host}: expected a name of ~/.ssh/config or user@address; try it with: ssh NAME true"
            )
        return cls(host, settings.get("ssh_config", ""), port)

    @property
    def program(self) -> list[str]:
        """ssh with its options, without the machine."""
        port = ["-p", str(self.port)] if self.port else []
        return ["ssh", *(["-F", self.config] if self.config else []), *port, *_OPTIONS]

    def ask(self, command: Sequence[str], stdin: str | None = None, seconds: float = TIMEOUT) -> str:
        """Output of a command there. Raises Refused with its words where it fails, Unreachable where the machine cannot
        be asked. A broken connection is tried again, so `command` must be one that may run twice."""
        for pause in _PAUSES:
            try:
                return self.ask_once(shlex.join(command), stdin, seconds)
            except Broken:
                time.sleep(pause)
        return self.ask_once(shlex.join(command), stdin, seconds)

    def ask_once(self, line: str, stdin: str | None, seconds: float) -> str:
        """As `ask`, for a line of the other machine's shell, tried once."""
        called = [*self.program, "-T", self.host, line]
        try:
            done = subprocess.run(
                called, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True,
                text=True, encoding="utf-8", errors="replace", timeout=seconds, check=False,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise Unreachable("ssh is not installed here; install OpenSSH's client (apt: openssh-client)") from error
        except subprocess.TimeoutExpired as error:
            raise Broken(f"{self.host} gave no answer in {seconds:.0f} s; type the same command again") from error
        if done.returncode == CUT or done.returncode < 0:  # below 0: our ssh was killed
            raise no_connection(self.host, done.stderr)
        if done.returncode:
            words = " ".join((done.stderr or done.stdout).split())[-300:]
            raise Refused(f"{self.host}: {words or f'exit {done.returncode}'}", done.returncode)
        return done.stdout


class Broken(Unreachable):
    """No connection, for a reason that may pass by itself."""


def no_connection(host: str, said: str) -> Unreachable:
    """One line for a person: why ssh has no connection and what to type. `said`: what ssh printed."""
    if "IDENTIFICATION HAS CHANGED" in said:
        key = re.search(r"fingerprint for the (\S+) key sent by the remote host is\s*(\S+?)\.?\s", said)
        forget = re.search(r"ssh-keygen -f .*", said)
        shown = f" ({key[1]} {key[2]})" if key else ""
        command = forget[0].strip() if forget else "ssh-keygen -R HOST"
        return Unreachable(
            f"{host}: its host key has changed{shown}, so nothing was sent; if the machine was rented again or "
            f"reinstalled, remove the old key: {command}, and accept the new one: ssh {host} true"
        )
    if "Host key verification failed" in said:
        return Unreachable(f"{host}: its host key is unknown; compare and accept it once with: ssh {host} true")
    if "Permission denied" in said:
        return Unreachable(
            f"{host}: no key of this user is accepted; ssh-add FILE, or name it as IdentityFile in ~/.ssh/config"
        )
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith(("@", "Warning:"))]
    words = " ".join(lines[-1].split())[:200] if lines else "the connection broke"
    return Broken(f"{host} does not answer ({words}); nothing is lost, type the same command again")
