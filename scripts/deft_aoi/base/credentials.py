"""Credentials by name, from the environment or the workspace's .env: parsed, never executed, never written anywhere."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*")
_BARE = re.compile(r"[^\s#]*")


def credential(name: str, workspace: Path, environment: Mapping[str, str] | None = None) -> str | None:
    """Value of a variable that is set and not empty: the environment goes before `workspace`/.env."""
    variables = os.environ if environment is None else environment
    return variables.get(name) or read_env_file(workspace / ".env").get(name) or None


def read_env_file(path: Path) -> dict[str, str]:
    """Variables of a file of `KEY=value` or `export KEY="value"` lines; other lines are left out, nothing is expanded.

    The last line of a name counts. Empty where there is no file.
    """
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return {match[1]: _value(match[2]) for line in lines if (match := _LINE.fullmatch(line))}


def _value(text: str) -> str:
    """A quoted value without its quotes; a bare one up to a blank or comment."""
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        return text[1:end] if end > 0 else text[1:]
    found = _BARE.match(text)
    return found[0] if found else ""
