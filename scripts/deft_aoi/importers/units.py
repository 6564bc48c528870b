"""What must stay in one set: the parts of a board, or, without boards, pictures of the same scene."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deft_aoi.data.duplicates import Near, copies_from, near_within
from deft_aoi.data.fingerprints import READABLE, Prints, by_light
from deft_aoi.data.pairs import Skipped
from deft_aoi.importers.reading import Part

Alike = tuple[tuple[Part, Part, float], ...]  # two parts and how alike they are
_KNOWN = 0.95  # share of the parts whose board is known from which on boards decide
_TOO_MUCH = 0.4  # share of the parts in one unit from which on no split is possible that deserves the name


@dataclass(frozen=True)
class Clean:
    """Parts that may be used, those left out with the reason, and pairs of parts that show one scene."""

    parts: tuple[Part, ...]
    skipped: tuple[Skipped, ...]
    near: Alike


@dataclass(frozen=True)
class Units:
    """`unit` of each part by name; `by` is board or scene; `reason` says it to a person; `near` joined units."""

    unit: dict[str, str]
    by: str
    reason: str
    near: Alike


def clean(parts: Sequence[Part]) -> Clean:
    """Leave out what is unreadable, each further copy of a picture, and every picture that has two labels."""
    if not parts:
        return Clean((), (), ())
    files = [[str(part.files[light][1]) for part in parts] for light in range(len(parts[0].files))]
    prints = by_light(files)
    skipped, kept = _whole_and_single(parts, prints)
    rows = [row for row, part in enumerate(parts) if part.name in kept]
    some = [Prints(one.records[rows], 0) for one in prints]
    near = near_within(some, [[names[row] for row in rows] for names in files])
    left = [parts[row] for row in rows]
    pairs = tuple((left[one.first], left[one.second], one.likeness) for one in _sorted(near))
    return Clean(tuple(left), tuple(skipped), pairs)


def _sorted(near: Iterable[Near]) -> list[Near]:
    return sorted(near, key=lambda one: (-one.likeness, one.first, one.second))


def _whole_and_single(parts: Sequence[Part], prints: Sequence[Prints]) -> tuple[list[Skipped], set[str]]:
    skipped: list[Skipped] = []
    same: dict[bytes, list[Part]] = defaultdict(list)
    for row, part in enumerate(parts):
        broken = [path for one, (_, path) in zip(prints, part.files) if one.state[row] != READABLE]
        if broken:
            skipped.append(Skipped(broken[0].name, "not a readable image"))
        else:
            same[b"".join(one.records["sha"][row].tobytes() for one in prints)].append(part)
    kept: set[str] = set()
    for group in same.values():
        labels = sorted({part.label for part in group})
        if len(labels) > 1:
            skipped += [
                Skipped(p.files[0][1].name, f"one picture under two labels: {', '.join(labels)}") for p in group
            ]
            continue
        kept.add(group[0].name)
        skipped += [Skipped(part.files[0][1].name, f"a copy of {group[0].name}") for part in group[1:]]
    return skipped, kept


def find_units(found: Clean, by: str | None = None) -> Units:
    """Boards where nearly every part has one, joined where pictures of two boards show one scene; else scenes.

    `by` asks for board or scene. Where look-alikes would join most of the parts, as on a line whose good parts are all
    the same, only those count that are far more alike than the others: copies.
    """
    boards = {part.name: part.board for part in found.parts if part.board}
    known = len(boards) >= _KNOWN * len(found.parts)
    if by == "scene" or (by is None and not known):
        base = {part.name: part.name for part in found.parts}
        named, what = "scene", "no board or serial in the names: pictures of the same scene stay together"
    else:
        base = {part.name: boards.get(part.name, part.name) for part in found.parts}
        named, what = "board", f"{len(set(base.values()))} boards: the parts of one board stay together"
    near = found.near
    joined = _join(base, near)
    if _largest(joined) > _TOO_MUCH:
        near = _copies(near)
        joined = _join(base, near)
        what += ", look-alikes are so many that only copies are"
        if named == "scene":
            what += "; name the boards in a table (--labels, column board) for a split that can be trusted"
    if _largest(joined) > _TOO_MUCH:
        near, joined = (), base
    more = len(set(base.values())) - len(set(joined.values()))
    return Units(joined, named, what + (f"; {more} joined by near-duplicates" if more else ""), near)


def _largest(units: dict[str, str]) -> float:
    """Share of the parts in the largest unit; 0 where each is alone."""
    most = max(Counter(units.values()).values(), default=0)
    return most / len(units) if most > 1 else 0.0


def _copies(near: Alike) -> Alike:
    """Pairs far more alike than most: re-encoded or moved copies."""
    limit = copies_from([likeness for _, _, likeness in near])
    return tuple(pair for pair in near if pair[2] >= limit)


def _join(base: dict[str, str], pairs: Alike) -> dict[str, str]:
    """Units after joining those of each pair; a joined unit has the first name in order."""
    parent = {unit: unit for unit in base.values()}

    def top(unit: str) -> str:
        while parent[unit] != unit:
            parent[unit] = parent[parent[unit]]
            unit = parent[unit]
        return unit

    for one, other, _ in pairs:
        first, second = sorted((top(base[one.name]), top(base[other.name])))
        parent[second] = first
    return {name: top(unit) for name, unit in base.items()}
