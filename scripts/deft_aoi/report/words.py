"""How the report writes numbers: one place, so that page, summary and narrative never differ."""

from __future__ import annotations

import math
import posixpath
from pathlib import Path


def pct(value: float | None) -> str:
    """A rate in percent: two decimals, two significant digits below 0.1 %, a dash where there is none."""
    if value is None:
        return "–"
    if value == 0:
        return "0%"
    if abs(value) >= 0.1:
        return f"{value:.2f}%"
    return f"{value:.{max(1 - math.floor(math.log10(abs(value))), 2)}f}%"


def exact_pct(value: float | None) -> str:
    """A percentage that somebody chose, such as a target: without padding."""
    return "–" if value is None else f"{value:.10g}%"


def count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def fraction(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def short(value: float | None) -> str:
    """Six significant digits, for reading; the exact value is next to it wherever it matters."""
    return "–" if value is None else f"{value:.6g}"


def signed(value: float) -> str:
    """With its sign, four significant digits; a zero as ±0."""
    return "±0" if value == 0 else f"{value:+.4g}".replace("-", "−")


def duration(seconds: int | None) -> str:
    """`12s`, `3m 05s`, `1h 04m`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"


def size(number: int) -> str:
    for unit, step in (("MB", 1 << 20), ("KB", 1 << 10)):
        if number >= step:
            return f"{number / step:.1f} {unit}"
    return f"{number} B"


def steps(number: int) -> str:
    """A distance to the threshold, counted in good parts."""
    if number == 0:
        return "next to the threshold: no good part is between"
    return f"{plural(abs(number), 'good part')} {'above' if number > 0 else 'below'} the threshold"


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def shown_path(text: str | None, run_dir: Path) -> str:
    """A path as the page shows it: relative to the run, or `<workspace>/...`, never with the machine's folders."""
    if not text:
        return ""
    path = posixpath.normpath(text)
    for root, name in ((run_dir, ""), (run_dir.parent.parent, "<workspace>/")):
        prefix = f"{root.as_posix()}/"
        if path.startswith(prefix):
            return name + path[len(prefix) :]
    return path if not path.startswith("/") else f".../{posixpath.basename(path)}"
