"""Texts that quote figures by name (`{{far.iter2}}`) and names in backticks, and how they are resolved."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from deft_aoi.base.errors import InputError

Record = dict[str, Any]
Figures = Mapping[str, Record]
PIECE = re.compile(r"\{\{\s*(?P<name>[^{}]*?)\s*\}\}|`(?P<code>[^`]+)`")


def plain(text: str, figures: Figures) -> str:
    """`text` with its references as words, for Markdown and terminals."""
    return PIECE.sub(lambda m: f"`{m['code']}`" if m["code"] else str(look_up(m["name"], figures, "")["text"]), text)


def look_up(name: str, figures: Figures, where: str) -> Record:
    if name in figures:
        return figures[name]
    near = difflib.get_close_matches(name, figures, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"{where}: {{{{{name}}}}} is no figure of this run (report.json lists them under figures){hint}")


def code(name: str) -> str:
    """A name as it may be in a text: in backticks, which it may not itself contain."""
    return f"`{name.replace('`', chr(39))}`"
