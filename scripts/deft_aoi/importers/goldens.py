"""Which golden a part is compared with: the one named for it, the nearest of its component's, or one that is built."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deft_aoi.base import safe_images
from deft_aoi.data.pairs import encode
from deft_aoi.engine.images import luminance, register, resize, translate
from deft_aoi.importers.likeness import Look, Small, coarse, looks_of, nearest
from deft_aoi.importers.reading import Files, Golden, Part

MEDIAN_LEAST, MEDIAN_MOST = 5, 25  # good parts that a median is made of
_NEAREST_MOST = 60  # good parts of a component that are kept as goldens where no median can be made
# Coarse correlation with their median from which on parts show one thing. On the simulated line half of the parts of a
# part number have at least 0.76, of mixed part numbers 0.41; where no component is known, parts may be mixed.
_AGREE, _AGREE_MIXED = 0.6, 0.8
_SPREADS = 4.0

Looks = Mapping[Path, Look]


class Library:
    """Goldens by name and by component; `looks` has the first light's picture of each, unreadable ones are left out."""

    def __init__(self, goldens: Sequence[Golden], looks: Looks) -> None:
        self.goldens = tuple(golden for golden in goldens if golden.files[0][1] in looks)
        self._looks = looks
        self._by_name: dict[str, list[Golden]] = defaultdict(list)
        self._by_component: dict[str, list[Golden]] = defaultdict(list)
        for golden in self.goldens:
            for name in {golden.key, golden.key.rpartition("/")[2]}:
                self._by_name[name].append(golden)
            self._by_component[golden.component].append(golden)

    def golden_of(self, part: Part, look: Look) -> Golden | None:
        """The golden that is named for the part or named as it is, else the nearest of its component's and
        shape; without components the nearest of all of its shape. A part is never its own golden."""
        names = [name for name in (part.golden, part.key.rpartition("/")[2]) if name]
        named = [golden for name in names for golden in self._by_name.get(name, ()) if golden.files != part.files]
        if named:
            return named[0]
        # A component that no imported part had gave its golden no component: there the golden's name tells it.
        own = self._by_component.get(part.component) or self._by_name.get(part.component, [])
        able = [golden for golden in own if golden.files != part.files]
        looks = [self._looks[golden.files[0][1]] for golden in able]
        fitting = [place for place, other in enumerate(looks) if other.shaped_as(look)]
        if not fitting:
            return None
        return able[fitting[nearest(look.small, [looks[place].small for place in fitting])]]


def build(component: str, teachers: Sequence[Part], looks: Looks, work: Path, number: int) -> list[Golden]:
    """Goldens of a component that has none, from good parts; medians are written into `work`, one file for each light.

    Parts that agree give a median, those of another shape or look one of their own where they are enough. A few that
    differ are left out: each would only be its own group. Where few agree, parts are goldens as they are.
    """
    agree = _AGREE if component else _AGREE_MIXED
    rest = [part for part in teachers if part.files[0][1] in looks]
    found: list[Golden] = []
    while rest:
        likeness = _agreement([looks[part.files[0][1]] for part in rest])
        order = [int(place) for place in np.argsort(-likeness, kind="stable")]
        limit = _limit(likeness, agree)
        agreeing = [rest[place] for place in order if likeness[place] >= limit]
        if len(agreeing) < max(MEDIAN_LEAST, int((likeness >= 0).sum()) / 2):
            break
        chosen = agreeing[:MEDIAN_MOST]
        files = _medians(chosen, work, f"{number:04d}_{len(found)}")
        if files is None:
            break
        names = tuple(sorted(part.name for part in chosen))
        key = f"{component or 'all'}_median" + (f"_{len(found) + 1}" if found else "")
        found.append(Golden(key, files, component, f"median of {len(chosen)} good parts", names))
        rest = [part for part, agrees in zip(rest, likeness >= limit) if not agrees]
    if found:  # only parts of a shape that no median has stand for themselves
        shapes = looks_of([golden.files[0][1] for golden in found]).values()
        rest = [part for part in rest if not any(looks[part.files[0][1]].shaped_as(shape) for shape in shapes)]
    return found + _as_they_are(component, rest)


def _limit(likeness: NDArray[np.float32], agree: float) -> float:
    """Likeness that a part needs to be of one look with the others: `agree`, or more where enough parts are of a second
    look, as another supplier's, far below the rest by four times their spread."""
    known = likeness[likeness >= agree]
    if known.size == 0:
        return agree
    middle = float(np.median(known))
    low = middle - _SPREADS * 1.4826 * float(np.median(np.abs(known - middle)))
    return low if (known < low).sum() >= MEDIAN_LEAST else agree


def _agreement(looks: Sequence[Look]) -> NDArray[np.float32]:
    """(n,) coarse correlation of each picture with the median of all; -1 where its shape is not the usual one."""
    if not looks:
        return np.empty(0, np.float32)
    usual = sorted(looks, key=lambda look: look.shape)[len(looks) // 2]
    middle = coarse(
        np.median(np.stack([look.small for look in looks if look.shaped_as(usual)]), axis=0).astype(np.uint8)
    )
    return np.array([coarse(look.small) @ middle if look.shaped_as(usual) else -1 for look in looks], np.float32)


def _as_they_are(component: str, parts: Sequence[Part]) -> list[Golden]:
    """Good parts as goldens, at most 60 of them."""
    places = np.linspace(0, len(parts) - 1, min(len(parts), _NEAREST_MOST)).round().astype(int)
    kept = [parts[place] for place in places]
    return [Golden(part.key, part.files, component, f"good part {part.name}", (part.name,)) for part in kept]


def _medians(parts: Sequence[Part], work: Path, number: str) -> Files | None:
    """One median picture for each light; None where a picture cannot be read."""
    files = []
    for place, (light, _) in enumerate(parts[0].files):
        median = median_picture([part.files[place][1] for part in parts])
        if median is None:
            return None
        path = work / f"median_{number}_{light}.png"
        path.write_bytes(encode(median, ".png"))
        files.append((light, path))
    return tuple(files)


def median_picture(paths: Sequence[Path]) -> Small | None:
    """Median of pictures after each is registered onto the first, in the first one's size and channels."""
    first = safe_images.read(paths[0])
    if first is None:
        return None
    flags = cv2.IMREAD_GRAYSCALE if first.ndim == 2 else cv2.IMREAD_COLOR
    target = luminance(first.astype(np.float32))
    moved = [first]
    for path in paths[1:]:
        image = safe_images.read(path, flags)
        if image is None:
            return None
        same = resize(image, first.shape[1], first.shape[0]).astype(np.float32)
        move = register(luminance(same), target)
        moved.append(np.clip(np.rint(translate(same, *move)), 0, 255).astype(np.uint8))
    return np.asarray(np.median(np.stack(moved), axis=0).round(), np.uint8)
