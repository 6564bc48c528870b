"""What the names of pictures hold: the light at their end, the component, the board or its date."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.importers.words import role_of

_BREAK = re.compile(r"[/_\s+]+")
_FINE_BREAK = re.compile(r"[/_\s+-]+")
# Reference designators: the letters that stand for a kind of part, a number, maybe a pin or window.
_DESIGNATOR = re.compile(
    r"(?:R|C|L|U|Q|D|J|P|T|X|Y|F|K|S|SW|FB|TP|IC|CN|RN|CR|CON|LED|BGA|QFN|VR|ZD|MOV|XTAL|OSC)\d{1,5}(?:[-.@]\w+)*"
)
# A word for a board and a number, letters and at least three digits, or at least six digits as in a date. Fewer digits
# alone are a count: 000, 001, ... in every folder.
_SERIAL = re.compile(
    r"(?:sn|b|bd|brd|board|pcb|pcba|panel|lot|unit|id)[-.]?\d+\w*|[a-z]{1,6}[-.]?\d{3,}\w*|\d{6,}\w*|\d{4}-\d\d-\d\d\w*",
    re.I,
)
_LIGHT = re.compile(r"[^\W\d_][\w.]*")
_MOST = 0.95
_HALF = 0.5
_THIRD = 1 / 3


@dataclass(frozen=True)
class Naming:
    """Which field of a name is the board, which the component (None: neither); `fine`: fields end at hyphens too."""

    board: int | None = None
    component: int | None = None
    fine: bool = False

    def fields(self, name: str) -> list[str]:
        return fields(name, fine=self.fine)

    def board_of(self, name: str) -> str:
        return self._field(name, self.board)

    def component_of(self, name: str) -> str:
        return self._field(name, self.component)

    def _field(self, name: str, place: int | None) -> str:
        found = self.fields(name)
        return found[place] if place is not None and -len(found) <= place < len(found) else ""

    def record(self) -> dict[str, Any]:
        return dict(vars(self))


def fields(name: str, *, fine: bool = False) -> list[str]:
    return [part for part in (_FINE_BREAK if fine else _BREAK).split(name) if part]


def find_naming(names: Sequence[str], known: frozenset[str] = frozenset()) -> Naming:
    """The naming rule that these names follow; `known` are the names of goldens, which tell components.

    A component is a field that nearly always is a golden's name or a reference designator. A board is a field of serial
    numbers or dates that is neither the same for all nor different for nearly all.
    """
    if not names:
        return Naming()
    best = Naming()
    for fine in (False, True):
        table = [fields(name, fine=fine) for name in names]
        component = _component(table, known)
        found = Naming(_board(table, component), component, fine)
        if found.board is not None:
            return found
        if best.component is None:
            best = found
    return best


def _component(table: Sequence[Sequence[str]], known: frozenset[str]) -> int | None:
    for place in _places(table):
        if _share(_column(table, place), lambda word: word in known) >= _MOST:
            return place
    for place in _places(table):
        column = _column(table, place)
        if _share(column, lambda word: _DESIGNATOR.fullmatch(word) is not None) < _MOST:
            continue
        if len(set(column)) <= max(1, _THIRD * len(column)):  # more of them would be a count that looks like one
            return place
    return None


def _board(table: Sequence[Sequence[str]], component: int | None) -> int | None:
    """The serial-like field with the most boards."""
    found: list[tuple[int, int]] = []
    for place in _places(table):
        column = _column(table, place)
        boards = len(set(column))
        if place == component or not 4 <= boards <= _HALF * len(column):
            continue
        if _share(column, lambda word: _SERIAL.fullmatch(word) is not None) < _MOST:
            continue
        if component is None and _share(column, lambda word: _DESIGNATOR.fullmatch(word) is not None) >= _MOST:
            continue
        if component is not None and not _tells_apart(column, _column(table, component)):
            continue
        found.append((boards, place))
    return max(found)[1] if found else None


def _tells_apart(boards: Sequence[str], components: Sequence[str]) -> bool:
    """Whether boards hold different components: a field that only repeats the component is no board."""
    by_component: dict[str, set[str]] = defaultdict(set)
    for board, component in zip(boards, components):
        by_component[component].add(board)
    return max(len(found) for found in by_component.values()) > 1


def _places(table: Sequence[Sequence[str]]) -> list[int]:
    """Places from the end, which folders before a name do not move; from the start too where names differ in length."""
    shortest, longest = min(map(len, table)), max(map(len, table))
    places = list(range(-1, -shortest - 1, -1))
    return places if shortest == longest else [*places, *range(shortest)]


def _column(table: Sequence[Sequence[str]], place: int) -> list[str]:
    return [row[place] for row in table]


def _share(column: Sequence[str], matches: Any) -> float:
    return sum(bool(matches(word)) for word in column) / len(column)


def find_lights(stems: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Light names that end the stems, given as (folder, stem); empty where there are none.

    Endings are lights where at least two of them come with most of the parts, or where all end in one `...Light`.
    """
    endings: dict[tuple[str, str], set[str]] = defaultdict(set)
    for folder, stem in stems:
        name, mark, ending = stem.rpartition("_")
        if mark and name and _is_light(ending):
            endings[folder, name].add(ending)
    if not stems or sum(map(len, endings.values())) < _MOST * len(stems):
        return ()
    count = Counter(ending for found in endings.values() for ending in found)
    often = tuple(sorted(ending for ending, times in count.items() if times >= _HALF * len(endings)))
    called = {ending: times for ending, times in count.items() if ending in often or "light" in ending.casefold()}
    if len(often) < 2 and not any("light" in ending.casefold() for ending in called):
        return ()
    if len(called) > len(often):
        seen = ", ".join(f"{ending} {times}" for ending, times in sorted(called.items()))
        raise InputError(
            f"{len(endings)} parts do not all have the same lights ({seen} pictures); type the lights that count, as "
            f"--light {max(called, key=lambda ending: called[ending])}; parts without one of them are left out"
        )
    return often


def _is_light(word: str) -> bool:
    """Whether a word may name a light: R1 or C12 is a component, and what ends in a digit a number of something."""
    if "light" in word.casefold():
        return _LIGHT.fullmatch(word) is not None
    plain = _LIGHT.fullmatch(word) is not None and not word[-1].isdigit() and word.casefold() != "test"
    return plain and role_of(word) is None


def split_light(stem: str, lights: Sequence[str]) -> tuple[str, str | None]:
    """(name, light) of a stem; light None where it ends in none of `lights`."""
    for light in lights:
        if stem.endswith(f"_{light}") and len(stem) > len(light) + 1:
            return stem[: -len(light) - 1], light
    return stem, None
