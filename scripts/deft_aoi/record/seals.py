"""Heads of a journal's chain, kept where whoever rewrites a run has no access: in a second place, signed, or both.

`DEFT_SEAL_FILE` names a file outside the workspace; it gets one line for each line of a journal. `DEFT_SEAL_KEY` names
a private key of OpenSSH; it signs the same line (`ssh-keygen -Y sign`) into the run's `seals/`, where anyone who has
the public key can check it. Both are read from the environment: what a run says of itself, a forger can say too.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_text, utc_now
from deft_aoi.base.paths import RunPaths

FILE, KEY = "DEFT_SEAL_FILE", "DEFT_SEAL_KEY"
HEADS = re.compile(r"\bchain ([0-9a-f]{16,64})\b")
_RUN = re.compile(r"\brun_\d{8}_\d{6}(?:_\d+)?\b")
_PUBLIC = ("ssh-", "ecdsa-", "sk-")  # how a line of a public key begins
_NAMESPACE, _SIGNER = "deft-chain", "deft"
_SECONDS = 60  # a key on a token waits for a touch


@dataclass(frozen=True)
class Seals:
    """Where heads are kept: a file outside the workspace, a private key that signs them; None: not asked for."""

    file: Path | None = None
    key: Path | None = None

    @classmethod
    def asked(cls, workspace: Path) -> Seals:
        """What the environment asks for. Raises InputError for a place that cannot serve."""
        file, key = (Path(os.environ[n]).expanduser() if os.environ.get(n) else None for n in (FILE, KEY))
        if file is not None and (not file.is_absolute() or file.resolve().is_relative_to(workspace.resolve())):
            raise InputError(f"{FILE} {file}: expected an absolute path outside the workspace {workspace}")
        if file is not None and not file.parent.is_dir():
            raise InputError(f"{FILE} {file}: no such folder {file.parent}; make it, or name another file")
        if key is not None and not key.is_file():
            raise InputError(f"{KEY} {key}: no such file; to make a key: ssh-keygen -t ed25519 -N '' -f {key}")
        return cls(file, key)

    def __bool__(self) -> bool:
        return self.file is not None or self.key is not None

    def try_out(self) -> None:
        """Raise InputError where the file cannot be written or the key does not sign."""
        if self.file is not None:
            _append(self.file, "")
        if self.key is not None:
            with tempfile.TemporaryDirectory() as scratch:
                text = Path(scratch) / "try.txt"
                text.write_text("try\n", encoding="utf-8")
                _sign(self.key, text)

    def words(self) -> str:
        """Where heads go, for the Summary."""
        places = [f"written to {self.file}"] if self.file else []
        places += [f"signed by {self.key}"] if self.key else []
        return f"after each stage the head of the journal's chain is {' and '.join(places)}"


def keep(paths: RunPaths, workspace: Path, entry: Mapping[str, Any], head: str) -> str:
    """Seal the journal's last line `entry`, unless it is sealed already; returns what went wrong, empty where nothing
    did: the line is written, and the next seal covers it too."""
    try:
        seals = Seals.asked(workspace)
        line = f"{utc_now()} {paths.root.name} line {entry['seq']} {entry['iter']}/{entry['stage']} chain {head}\n"
        if seals.file is not None and not (seals.file.is_file() and head in seals.file.read_text(errors="replace")):
            _append(seals.file, line)
        text = paths.seals / f"{entry['seq']:05d}.txt"
        if seals.key is not None and not (_signature(text).is_file() and head in text.read_text(errors="replace")):
            atomic_write_text(text, line)
            _sign(seals.key, text)
    except (InputError, OSError) as error:
        return f"the head of the chain was not sealed: {error}"
    return ""


def noted_heads(text: str, run_name: str) -> list[str]:
    """Heads in a saved output or in a file of heads; lines that name another run are left out."""
    lines = [line for line in text.splitlines() if run_name in _RUN.findall(line) or not _RUN.search(line)]
    return list(dict.fromkeys(head for line in lines for head in HEADS.findall(line)))


def is_public_key(text: str) -> bool:
    return text.startswith(_PUBLIC)


def signed_heads(paths: RunPaths, public: Path) -> tuple[list[str], list[str]]:
    """(heads that the key has signed, in their order; one line for each seal that it has not signed)."""
    heads, problems = [], []
    with tempfile.TemporaryDirectory() as scratch:
        allowed = Path(scratch) / "signers"
        allowed.write_text(f"{_SIGNER} {public.read_text(encoding='utf-8').strip()}\n", encoding="utf-8")
        for text in sorted(paths.seals.glob("[0-9]*.txt")):
            found = text.read_bytes()
            asked = ("verify", "-f", str(allowed), "-I", _SIGNER, "-n", _NAMESPACE, "-s", str(_signature(text)))
            if _signature(text).is_file() and _keygen(asked, found).returncode == 0:
                heads += HEADS.findall(found.decode(errors="replace"))
            else:
                problems.append(f"{paths.relative(text)}: not signed by {public}")
    return heads, problems


def unsigned_lines(heads: Sequence[str], signed: Sequence[str]) -> list[str]:
    """Lines of a journal, whose heads are `heads`, that come after the newest signed one."""
    last = max((number for number, head in enumerate(heads, start=1) if head in signed), default=0)
    if last == len(heads):
        return []
    return [f"loop_log.jsonl: lines {last + 1} to {len(heads)} are not covered by any signature of this key"]


def _signature(text: Path) -> Path:
    return text.with_name(f"{text.name}.sig")


def _append(path: Path, line: str) -> None:
    try:
        with open(path, "ab") as stream:
            stream.write(line.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise InputError(f"{FILE} {path}: cannot be written ({error.strerror})") from error


def _sign(key: Path, text: Path) -> None:
    _signature(text).unlink(missing_ok=True)
    done = _keygen(("sign", "-q", "-f", str(key), "-n", _NAMESPACE, str(text)))
    if done.returncode != 0 or not _signature(text).is_file():
        said = " ".join(done.stderr.decode(errors="replace").split())[:200] or "no signature came"
        raise InputError(f"{KEY} {key}: {said}; expected a private key without a passphrase, or one that ssh-agent has")


def _keygen(words: Sequence[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """`ssh-keygen -Y`; it must not ask for a passphrase, so it gets no terminal."""
    try:
        return subprocess.run(
            ("ssh-keygen", "-Y", *words), check=False, capture_output=True, input=given, timeout=_SECONDS,
            env=os.environ | {"SSH_ASKPASS_REQUIRE": "never"}, start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise InputError("ssh-keygen: not found; signed seals need it: install OpenSSH's client") from error
    except subprocess.TimeoutExpired as error:
        raise InputError(f"ssh-keygen: no answer in {_SECONDS} s; does the key's token wait for a touch?") from error
