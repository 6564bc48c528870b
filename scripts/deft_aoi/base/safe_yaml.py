"""YAML and JSON from outside: read with limits, refused in one line, never a traceback and never an expansion."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from deft_aoi.base.errors import InputError

MAX_YAML_BYTES = 1 << 20
MAX_ALIASES = 64
MAX_DEPTH = 64
MAX_NODES = 100_000


class TooMuch(ValueError):
    """A document within the grammar and beyond our limits."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader (no object is ever made but plain values) that counts depth, nodes and aliases.

    Aliases are shared in memory and grow only where somebody walks the value: a kilobyte can stand for 10^9 leaves.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = self.nodes = self.aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        self.nodes += 1
        self.aliases += bool(self.check_event(yaml.events.AliasEvent))
        for count, limit, name in (
            (self.depth, MAX_DEPTH, "nested levels"), (self.nodes, MAX_NODES, "values"),
            (self.aliases, MAX_ALIASES, "aliases"),
        ):  # fmt: skip
            if count > limit:
                raise TooMuch(f"more than {limit:,} {name}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text. Raises InputError naming `where` for anything that is no YAML, or too much of it."""
    if len(text) > MAX_YAML_BYTES:
        raise InputError(f"{where}: {len(text):,} characters of YAML; expected at most {MAX_YAML_BYTES:,}")
    try:
        loader = _Loader(text)
        try:
            value = loader.get_single_data()
        finally:
            loader.dispose()
        if loader.aliases and _leaves(value) > MAX_NODES:
            raise TooMuch(f"more than {MAX_NODES:,} values once its aliases are followed")
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError, AttributeError, KeyError) as error:
        raise InputError(f"{where}: not valid YAML: {' '.join(str(error).split())[:300]}") from error
    return value


def _leaves(value: Any) -> int:
    """Values that a walk through `value` would meet, counted no further than the limit."""
    count = 0
    for _ in _walk(value):
        count += 1
        if count > MAX_NODES:
            break
    return count


def _walk(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        one = stack.pop()
        yield one
        stack += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()


def read_yaml(path: Path) -> Any:
    """The value of a YAML file. Raises InputError as :func:`parse_yaml` does, OSError where it cannot be opened."""
    return yaml_of(yaml_bytes(path), str(path))


def yaml_bytes(path: Path) -> bytes:
    """The bytes of a YAML file. Raises InputError where they are too many, OSError where it cannot be opened."""
    size = os.stat(path).st_size
    if size > MAX_YAML_BYTES:
        raise InputError(f"{path}: {size:,} bytes of YAML; expected at most {MAX_YAML_BYTES:,}")
    return path.read_bytes()


def yaml_of(content: bytes, where: str) -> Any:
    """The value of a YAML file's bytes. Raises InputError as :func:`parse_yaml` does."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not valid YAML: no UTF-8 ({error.reason} at byte {error.start})") from error
    return parse_yaml(text, where)


def parse_json(text: str | bytes) -> Any:
    """`json.loads` whose every refusal is a ValueError: nesting that exhausts the stack too."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
