"""A small canvas for charts: SVG whose colours are CSS classes, so that one chart suits light, dark and print."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup


def number(value: float) -> str:
    """A coordinate with at most one decimal: short, and the same text everywhere."""
    return f"{value:.1f}".removesuffix(".0")


# Direction marks and overrides: in SVG a label could turn the text around it.
_NO_DIRECTION = dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


_BREAKS = re.compile(r"(?<=[_/@.:-])(?=[^\s_/@.:-])")


def breakable(text: str) -> Markup:
    """A name or path as HTML that breaks after its separators, not inside a word."""
    return Markup("<wbr>").join(_BREAKS.split(str(text)))


class Canvas:
    """Collects SVG elements; `markup()` gives one `<svg>` with a text alternative."""

    def __init__(self, width: int, height: int, alternative: str, name: str) -> None:
        self.width, self.height = width, height
        self._head = Markup('<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            name, width, height, alternative
        )
        self._parts: list[Markup] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        shape = Markup("<line class='{}' x1='{}' y1='{}' x2='{}' y2='{}'/>")
        self._parts.append(shape.format(kind, *(number(value) for value in (x1, y1, x2, y2))))

    def rect(
        self, x: float, y: float, width: float, height: float, kind: str, hint: str = "", radius: float = 0
    ) -> None:
        if width <= 0 or height <= 0:
            return
        title = Markup("<title>{}</title>").format(hint) if hint else Markup("")
        numbers = tuple(number(value) for value in (x, y, width, height))
        shape = Markup("<rect class='{}' x='{}' y='{}' width='{}' height='{}'").format(kind, *numbers)
        round_off = Markup(" rx='{}'").format(number(radius)) if radius else Markup("")
        self._parts.append(shape + round_off + (Markup(">") + title + Markup("</rect>") if hint else Markup("/>")))

    def circle(self, x: float, y: float, radius: float, kind: str, hint: str = "") -> None:
        shape = Markup("<circle class='{}' cx='{}' cy='{}' r='{}'><title>{}</title></circle>")
        self._parts.append(shape.format(kind, number(x), number(y), number(radius), hint))

    def path(self, points: Sequence[tuple[float, float]], kind: str, *, closed: bool = False) -> None:
        """A line through `points`, or the area within them."""
        if not points:
            return
        steps = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        tag = "polygon" if closed else "polyline"
        self._parts.append(Markup(f"<{tag} class='{{}}' points='{{}}'/>").format(kind, steps))

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start", limit: int = 60) -> None:
        """Text at its baseline; longer than `limit` characters it is cut, with the whole as its tooltip."""
        words = words.translate(_NO_DIRECTION)
        shown = words if len(words) <= limit else f"{words[: limit - 1]}…"
        whole = Markup("<title>{}</title>").format(words) if shown != words else Markup("")
        self._parts.append(
            Markup("<text class='{}' x='{}' y='{}' text-anchor='{}'>{}").format(
                kind, number(x), number(y), anchor, whole
            )
            + Markup("{}</text>").format(shown)
        )

    def open_group(self, kind: str, transform: str, **data: float) -> None:
        """A group that a script may move; `data` becomes data attributes."""
        said = Markup("").join(Markup(" data-{}='{}'").format(name, number(value)) for name, value in data.items())
        self._parts.append(Markup("<g class='{}' transform='{}'{}>").format(kind, transform, said))

    def close_group(self) -> None:
        self._parts.append(Markup("</g>"))

    def markup(self) -> Markup:
        return self._head + Markup("").join(self._parts) + Markup("</svg>")
