"""What a check found: one record for Pre-Flight, the platforms' probes and the audit."""

from __future__ import annotations

from dataclasses import dataclass, field

OK, NOTE, BLOCK = LEVELS = ("ok", "note", "block")


@dataclass(frozen=True)
class Finding:
    """`check` is the number of the contract's ordered check, `level` one of LEVELS.

    `what` was found `where` (a file and line, a setting), what was `expected`, what to do `next`; all but `what` may be
    empty, as where an error's own line says everything.
    """

    check: int
    level: str
    what: str
    where: str = field(default="", kw_only=True)
    expected: str = field(default="", kw_only=True)
    next: str = field(default="", kw_only=True)

    @property
    def text(self) -> str:
        """One line for people."""
        lead = f"{self.where}: " if self.where else ""
        expected = f"; expected {self.expected}" if self.expected else ""
        return f"{lead}{self.what}{expected}" + (f"; {self.next}" if self.next else "")

    def record(self) -> dict[str, str | int]:
        """JSON form of it, as preflight.json keeps it."""
        parts = {name: getattr(self, name) for name in ("where", "what", "expected", "next")}
        return {"check": self.check, "level": self.level, **parts, "text": self.text}
