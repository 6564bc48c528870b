"""What the environment of `scripts/deft` is made of, where, and the words in which its set-up fails.

Like every `setup_` module: standard library only, and nothing of ours but its siblings, since it runs before anything
is installed, with whatever Python >= 3.10 the launcher found.
"""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SKILL_ROOT = Path(__file__).resolve().parents[3]
LOCK = SKILL_ROOT / "requirements.lock"
LEFT_OUT = SKILL_ROOT / "left-out.txt"
NEEDED_MB, TEST_MB, EXTRA_MB = 1200, 500, 1500  # torch without CUDA; with it the installer itself needs more
OPTIONAL = ("net", "backbones", "kubernetes")


class SetupError(Exception):
    """The environment cannot be made; the message is one line for a person."""


class StepError(Exception):
    """One command of the set-up failed; holds what it printed."""

    def __init__(self, output: Sequence[str]) -> None:
        super().__init__(output[-1] if output else "no output")
        self.output = list(output)


@dataclass(frozen=True)
class Plan:
    """What to build and where."""

    home: Path
    env: Path
    requirements: tuple[str, ...]
    constraints: Path
    needed_mb: int
    hashes: Path = LOCK  # of every file that the base may be made of
    bundle: Path | None = None  # made by `deft bundle` elsewhere: nothing is downloaded
    more: bool = False  # optional parts, pinned by version: a torch without CUDA is another file than the index's

    log = property(lambda self: self.env.with_name(self.env.name + ".log"))
    lock = property(lambda self: self.env.with_name(self.env.name + ".lock"))
    scratch = property(lambda self: self.env.with_name(self.env.name + ".tmp"))  # gone when the set-up ends
    python = property(lambda self: self.env / "bin/python")
    marker = property(lambda self: self.env / ".complete")

    @property
    def complete(self) -> bool:
        return self.marker.is_file() and os.access(self.python, os.X_OK)

    @property
    def packages(self) -> Path:
        """site-packages of the environment, once `venv` has made it."""
        return next((self.env / "lib").glob("python*/site-packages"))


def requirements(pyproject: str, *extras: str) -> tuple[str, ...]:
    """The dependency list of a pyproject.toml text and those of its `extras` (Python 3.10 has no tomllib)."""
    found: list[str] = []
    for name in ("dependencies", *extras):
        block = re.search(rf"^{name} = \[\n(.*?)^\]", pyproject, re.MULTILINE | re.DOTALL)
        if block is None:
            raise SetupError(f"{SKILL_ROOT / 'pyproject.toml'}: no list {name!r}; install the skill again")
        found += ast.literal_eval(f"[{block.group(1)}]")
    return tuple(found)


def make_plan(home: Path, *, test: bool, optional: Sequence[str] = (), bundle: Path | None = None) -> Plan:
    """Name the environment by everything that decides what is in it. Raises SetupError for an unknown optional part."""
    constraints = SKILL_ROOT / "constraints.txt"
    if unknown := sorted(set(optional) - set(OPTIONAL)):
        raise SetupError(f"DEFT_EXTRAS: {unknown[0]!r} is no optional part; expected some of {', '.join(OPTIONAL)}")
    extras = (*(["test"] if test else []), *optional)
    try:
        asked = requirements((SKILL_ROOT / "pyproject.toml").read_text(encoding="utf-8"), *extras)
        pins = constraints.read_bytes() + LOCK.read_bytes()
    except OSError as error:
        raise SetupError(f"{error.filename}: {error.strerror}; install the skill again") from None
    version = f"{sys.implementation.cache_tag}-{platform.system()}-{platform.machine()}"
    digest = hashlib.sha256("\n".join([version, *asked]).encode() + b"\n" + pins).hexdigest()[:12]
    needed = NEEDED_MB + (TEST_MB if test else 0) + (EXTRA_MB if optional else 0)
    return Plan(
        home, home / "-".join(["env", digest, *extras]), asked, constraints, needed, bundle=bundle, more=bool(extras)
    )


def left_out() -> set[str]:
    """Names of the packages that the base does without although others name them as their requirement."""
    return set(re.findall(r"^([a-z0-9-]+)", LEFT_OUT.read_text(encoding="utf-8"), re.MULTILINE))


def interpreter() -> str:
    """What an environment is made for: this Python and this kind of machine."""
    return f"Python {sys.version_info[0]}.{sys.version_info[1]} on {platform.system()} {platform.machine()}"


def base_python() -> str:
    """The real file behind this interpreter: when the system moves on to another Python, the link dangles and shows."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def say(text: str) -> None:
    print(f"deft: {text}", file=sys.stderr, flush=True)
