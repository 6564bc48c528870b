"""Pinned versions and known platforms, read from the skill's specs folder."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.names import check_image
from deft_aoi.base.paths import SKILL_ROOT

VERSION = "0.1.0"  # of this skill; plugin.json, its copies and SKILL.md say the same
VERSIONS = SKILL_ROOT / "specs/versions.yaml"
PLATFORMS = SKILL_ROOT / "specs/platforms.yaml"


@dataclass(frozen=True)
class Setting:
    """One setting of a platform: `default` is text, empty where it is off."""

    default: str
    help: str


@dataclass(frozen=True)
class Platform:
    """A place where heavy work may run; `works`: this version can start work there, `tried`: what was really run,
    `when`: on which day, or that CI does it."""

    name: str
    summary: str
    works: bool
    aliases: tuple[str, ...]
    needs: tuple[str, ...]
    credentials: tuple[str, ...]
    tried: str
    when: str
    settings: Mapping[str, Setting]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def pinned_value(dotted: str) -> str:
    """The value at a dotted key of versions.yaml, as `images.tao_toolkit.pyt`.

    Raises InputError naming the keys that are there where the key is unknown or names a group.
    """
    known = flat_keys(_load(VERSIONS))
    if dotted not in known:
        below = [key for key in known if key.startswith(f"{dotted}.")]
        raise InputError(f"{dotted!r} is no pinned value; expected one of {', '.join(below or known)}")
    return known[dotted]


def image(dotted: str, environment: Mapping[str, str] | None = None) -> str:
    """The container image of a key; the environment variable that versions.yaml names for it goes first."""
    variables = os.environ if environment is None else environment
    names = [name for name, key in _load(VERSIONS)["env"].items() if key == dotted]
    for name in names:
        if variables.get(name):
            return check_image(variables[name], name)
    return pinned_value(dotted)


def images() -> dict[str, str]:
    """Every pinned container image by its key, as :func:`image` gives it."""
    return {key: image(key) for key in image_keys()}


def image_keys() -> tuple[str, ...]:
    """Dotted keys of all pinned container images."""
    return tuple(key for key in flat_keys(_load(VERSIONS)) if key.startswith("images."))


def platforms() -> list[Platform]:
    """Every known platform, those that work first."""
    found = [
        Platform(
            name, entry["summary"], entry["works"], tuple(entry["aliases"]), tuple(entry["needs"]),
            tuple(entry["credentials"]), entry["tried"], str(entry["when"]),
            _settings(entry),
        )
        for name, entry in _load(PLATFORMS).items()
    ]  # fmt: skip
    return sorted(found, key=lambda platform: not platform.works)


def _settings(entry: Mapping[str, Any]) -> dict[str, Setting]:
    """Settings of a platform, its own first; those of the platform that it is built on, but for how that is found."""
    own = entry.get("settings", {})
    base = _load(PLATFORMS)[entry["settings_of"]]["settings"] if "settings_of" in entry else {}
    added = {key: setting for key, setting in base.items() if key not in own and key != "host"}
    return {key: Setting(**setting) for key, setting in {**own, **added}.items()}


def platform(name: str) -> Platform:
    """A platform by name or alias; raises InputError naming the known ones."""
    for entry in platforms():
        if name == entry.name or name in entry.aliases:
            return entry
    raise InputError(f"platform {name!r}: expected one of {', '.join(entry.name for entry in platforms())}")


def flat_keys(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Leaves of a tree by dotted key, as text."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flat_keys(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat


@functools.cache  # part of the installed skill: it does not change while this program runs
def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: missing; the skill is incomplete, install it again")
    from deft_aoi.base.safe_yaml import read_yaml  # `deft test` starts where no package is installed

    tree: dict[str, Any] = read_yaml(path)
    return tree
