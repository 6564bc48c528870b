"""Goldens and pictures that a person should look at before anything is trained on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deft_aoi.importers.goldens import Library, Looks
from deft_aoi.importers.likeness import Gap, Small, gap
from deft_aoi.importers.reading import Golden, Part

_LEAST = 4  # good parts that a golden can be checked against
_MOST = 8  # of a component that are compared; more cost time and say the same
_SPREADS, _FACTOR, _LEVELS = 6.0, 1.3, 12.0
_SHIFT = 0.05  # of a side beyond what good parts are apart
_EDITED = 0.004  # share of a picture without any camera noise, beyond what good parts have
_CLEAN = 0.02  # good parts with more of it are graphics or heavily compressed: nothing can be determined
_COMPRESSED = (
    5,
    0.02,
)  # so many good parts, and this share of all: JPEG makes smooth surfaces flat, nobody edits those


@dataclass(frozen=True)
class Suspect:
    """A picture to look at, and why; `golden` is the golden it is about, None for an inspected part."""

    picture: Path
    reason: str
    golden: Golden | None = None


def check_goldens(goldens: Sequence[Golden], parts: Sequence[Part], looks: Looks) -> list[Suspect]:
    """Goldens that differ from the good parts which use them more than those differ from each other: another part or
    marking, a shifted one, one that was edited; and goldens that are themselves an inspected defect."""
    users: dict[Golden, list[Part]] = defaultdict(list)
    library = Library(goldens, looks)
    by_component: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        if part.good and part.files[0][1] in looks:
            by_component[part.component].append(part)
            golden = library.golden_of(part, looks[part.files[0][1]])
            if golden is not None:
                users[golden].append(part)
    shared = {golden: by_component[golden.component] for golden in library.goldens if golden.component}
    found = []
    alone: list[tuple[Golden, Gap]] = []
    for golden in library.goldens:
        mine = _some(shared.get(golden) or users.get(golden, []), looks)
        small = looks[golden.files[0][1]].small
        if len(mine) >= _LEAST:
            reason = _against(small, mine)
            if reason:
                found.append(Suspect(golden.files[0][1], _explained(reason, golden, shared, looks), golden))
        elif mine:
            alone.append((golden, _middle([gap(part, small) for part in mine])))
    return found + _outliers(alone)


def _some(parts: Sequence[Part], looks: Looks) -> list[Small]:
    places = np.linspace(0, len(parts) - 1, min(len(parts), _MOST)).round().astype(int)
    return [looks[parts[place].files[0][1]].small for place in places]


def _middle(gaps: Sequence[Gap]) -> Gap:
    return Gap(float(np.median([one.difference for one in gaps])), float(np.median([one.shift for one in gaps])))


def _against(golden: Small, good: Sequence[Small]) -> str | None:
    """Why the golden does not fit its good parts; None where it does."""
    between = [[gap(one, other) for other in good[:number]] for number, one in enumerate(good)]
    each = [
        _middle([between[max(one, other)][min(one, other)] for other in range(len(good)) if other != one])
        for one in range(len(good))
    ]
    mine = _middle([gap(one, golden) for one in good])
    moves = max(one.shift for one in each)
    if mine.shift > moves + _SHIFT:
        return f"is shifted by {mine.shift:.0%} of its side against {len(good)} good parts"
    differences = [one.difference for one in each]
    if mine.difference > _limit(differences):
        return (
            f"differs from {len(good)} good parts by {mine.difference:.0f} grey levels, these from each other "
            f"by at most {max(differences):.0f}"
        )
    return None


def _limit(differences: Sequence[float]) -> float:
    """What no golden of these parts reaches: beyond their median by six spreads, and clearly beyond their largest."""
    middle = float(np.median(differences))
    spread = 1.4826 * float(np.median(np.abs(np.array(differences) - middle)))
    return max(middle + _SPREADS * spread, _FACTOR * max(differences), max(differences) + _LEVELS)


def _explained(reason: str, golden: Golden, shared: dict[Golden, list[Part]], looks: Looks) -> str:
    """The reason, and the component that the golden would fit instead."""
    small = looks[golden.files[0][1]].small
    for other, parts in shared.items():
        some = _some(parts, looks)[:_LEAST]
        if other.component != golden.component and len(some) == _LEAST and _against(small, some) is None:
            return f"{reason}; it fits the parts of {other.component}"
    return reason


def _outliers(alone: Sequence[tuple[Golden, Gap]]) -> list[Suspect]:
    """Goldens with too few parts of their own, against the goldens of all others."""
    if len(alone) < 2 * _LEAST:
        return []
    differences = np.array([one.difference for _, one in alone])
    low, high = np.quantile(differences, [0.25, 0.75])
    limit = max(high + 3 * (high - low), high + 2 * _LEVELS)
    shifts = float(np.quantile([one.shift for _, one in alone], 0.9)) + _SHIFT
    found = []
    for golden, one in alone:
        if one.shift > shifts:
            found.append(Suspect(golden.files[0][1], f"is shifted by {one.shift:.0%} against its good part", golden))
        elif one.difference > limit:
            reason = (
                f"differs from its good part by {one.difference:.0f} grey levels, three of four goldens by {high:.0f}"
            )
            found.append(Suspect(golden.files[0][1], reason, golden))
    return found


def check_edited(parts: Sequence[Part], goldens: Sequence[Golden], looks: Looks) -> list[Suspect]:
    """Pictures with an area that no camera takes: one value without noise, where good parts of their component have
    none. Where several good parts have one, compression makes it, and nothing can be determined."""
    good: dict[str, list[float]] = defaultdict(list)
    for part in parts:
        if part.good and part.files[0][1] in looks:
            good[part.component].append(looks[part.files[0][1]].flat)
    usual = {name: float(np.quantile(shares, 0.9)) for name, shares in good.items() if len(shares) >= _LEAST}
    found, good_ones = [], 0
    items: list[Part | Golden] = [*parts, *goldens]
    for item in items:
        path = item.files[0][1]
        flat = looks[path].flat if path in looks else 0.0
        base = usual.get(item.component)
        if base is not None and base < _CLEAN and flat > base + _EDITED:
            reason = f"looks edited: {flat:.1%} of it is without camera noise, {base:.1%} in good parts"
            found.append(Suspect(path, reason, item if isinstance(item, Golden) else None))
            good_ones += isinstance(item, Part) and item.good
    least, share = _COMPRESSED
    return [] if good_ones >= max(least, share * sum(map(len, good.values()))) else found
