"""Where a workspace is on this machine and on the other one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SHARED, SYNCHRONISED = WAYS = ("shared", "sync")


@dataclass(frozen=True)
class Places:
    """The workspace's folder here and there, both absolute."""

    here: Path
    there: PurePosixPath

    @property
    def moved(self) -> bool:
        return str(self.here) != str(self.there)

    def text(self, text: str) -> str:
        """`text` with every path of the workspace as the other machine has it."""
        if not self.moved:
            return text
        return re.sub(rf"{re.escape(str(self.here))}(?=$|[/'\"\s,:])", lambda _: str(self.there), text)

    def path(self, path: Path) -> str:
        return self.text(str(path))


def default_folder(workspace: Path) -> str:
    """Where a synchronised workspace goes, below the login's folder: its name, and a mark of its path here."""
    return f"deft/{workspace.name}-{hashlib.sha256(str(workspace).encode()).hexdigest()[:8]}"


def asked_folder(workspace: Path, settings: Mapping[str, str]) -> str:
    """The folder to use there: absolute, or below the login's home (a leading ~/ is that home too)."""
    if settings.get("workspace", SYNCHRONISED) == SHARED:
        return str(workspace)
    return (settings.get("folder") or default_folder(workspace)).removeprefix("~/")
