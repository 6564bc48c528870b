"""What a Pre-Flight check found."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, BLOCK = "ok", "note", "block"


@dataclass(frozen=True)
class Finding:
    """`level`: ok | note | block. `check` is the number of the contract's ordered check."""

    check: int
    level: str
    text: str
