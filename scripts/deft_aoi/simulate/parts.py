"""The simulated catalogue: packages, land patterns, and how parts of several vendors look."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from deft_aoi.simulate.scene import Colour, Frame

CHIP_FAMILIES = ("RES", "CAP")


@dataclass(frozen=True)
class Package:
    """One outline; sizes in crop pixels (a window is cut to suit the part, as an AOI program does)."""

    name: str
    family: str  # RES CAP DIO SOT IC
    length: float  # body along x
    width: float
    tall: float
    pins: int
    share: float  # of all positions
    lead: float = 0.0  # lead width; 0 for chips
    reach: float = 0.0  # body edge to lead tip
    pitch: float = 0.0


CATALOGUE = (
    Package("0402", "RES", 29, 14.5, 5.5, 2, 0.14),
    Package("0603", "RES", 36, 18, 6.5, 2, 0.18),
    Package("0805", "RES", 44, 27, 7.5, 2, 0.08),
    Package("0402", "CAP", 29, 14.5, 8.0, 2, 0.12),
    Package("0603", "CAP", 36, 18, 9.5, 2, 0.12),
    Package("0805", "CAP", 44, 28, 12.0, 2, 0.06),
    Package("SOD-123", "DIO", 42, 28, 9.0, 2, 0.08, lead=14, reach=16),
    Package("SOT-23", "SOT", 54, 26, 8.0, 3, 0.10, lead=11, reach=16, pitch=18),
    Package("SOIC-8", "IC", 66, 34, 9.0, 8, 0.07, lead=8, reach=18, pitch=17),
    Package("SSOP-10", "IC", 66, 38, 8.0, 10, 0.05, lead=6, reach=16, pitch=13),
)


@dataclass(frozen=True)
class Land:
    """One pad: its centre and outward direction in the part's frame, its size along and across that direction.

    `face` is where the terminal or lead leaves the body, as a distance before the pad's centre.
    """

    x: float
    y: float
    angle: float
    long: float
    wide: float
    face: float

    def frame(self, site: Frame) -> Frame:
        return site.at(self.x, self.y, self.angle)


@functools.cache
def lands(package: Package) -> tuple[Land, ...]:
    """Land pattern, pin 1 first, counter-clockwise from the left end (chips) or along the lower edge (leads)."""
    if package.family in CHIP_FAMILIES:
        inner, outer = 0.22 * package.length, 4.0 + 0.12 * package.length
        centre = package.length / 2 + (outer - inner) / 2
        long, wide = inner + outer, package.width * 1.04
        face = centre - package.length / 2
        return (Land(-centre, 0, math.pi, long, wide, face), Land(centre, 0, 0.0, long, wide, face))
    long, wide = package.reach * 0.95, package.lead * 1.3 + 1
    face = package.reach * 0.72
    if package.family == "DIO":
        out = package.length / 2 + face
        return (Land(-out, 0, math.pi, long, wide, face), Land(out, 0, 0.0, long, wide, face))
    out = package.width / 2 + face
    down, up = math.pi / 2, -math.pi / 2
    places: tuple[tuple[float, float, float], ...]
    if package.family == "SOT":
        places = ((-package.pitch, out, down), (package.pitch, out, down), (0.0, -out, up))
    else:
        half = package.pins // 2
        offsets = [(number - (half - 1) / 2) * package.pitch for number in range(half)]
        places = (*((x, out, down) for x in offsets), *((x, -out, up) for x in reversed(offsets)))
    return tuple(Land(x, y, angle, long, wide, face) for x, y, angle in places)


def neighbours(package: Package) -> tuple[tuple[int, int], ...]:
    """Pairs of pins (indices) that stand side by side, where solder can bridge."""
    if package.family == "SOT":
        return ((0, 1),)
    half = package.pins // 2
    if package.family != "IC":
        return ()
    return tuple((first + side, first + side + 1) for side in (0, half) for first in range(half - 1))


@dataclass(frozen=True)
class Look:
    """What distinguishes one vendor's part: all of it is good."""

    body: Colour
    mark: Colour
    style: int  # marking code style
    weight: float  # marking stroke
    terminal: float  # terminal length as a share of the body (chips)
    tin: Colour  # terminal or lead surface
    matte: float  # metal of the terminals, 0..1: lower is duller
    gloss: float
    band: float  # width of a polarity band as a share of the body; 0 = a dot


_BLACKS: tuple[Colour, ...] = ((0.05, 0.05, 0.06), (0.06, 0.11, 0.28), (0.20, 0.20, 0.20), (0.04, 0.17, 0.14))
_TANS: tuple[Colour, ...] = ((0.58, 0.42, 0.27), (0.34, 0.21, 0.12), (0.45, 0.42, 0.38), (0.72, 0.62, 0.52))
_EPOXIES: tuple[Colour, ...] = ((0.07, 0.07, 0.08), (0.17, 0.17, 0.17), (0.05, 0.05, 0.07), (0.25, 0.23, 0.22))
_MARKS: tuple[Colour, ...] = ((0.86, 0.86, 0.84), (0.62, 0.62, 0.60), (0.90, 0.84, 0.62), (0.45, 0.46, 0.47))
_TINS: tuple[Colour, ...] = ((0.80, 0.80, 0.79), (0.72, 0.72, 0.73), (0.84, 0.80, 0.70), (0.76, 0.77, 0.78))
VENDORS = 4


def look(family: str, vendor: int) -> Look:
    """Appearance of a family's parts from vendor 0..3 (vendor 0 supplied the reference board)."""
    bodies = {"RES": _BLACKS, "CAP": _TANS}.get(family, _EPOXIES)
    return Look(
        body=bodies[vendor],
        mark=_MARKS[(vendor + (family == "DIO")) % VENDORS],
        style=vendor,
        weight=(1.0, 0.6, 1.5, 1.0)[vendor],
        terminal=(0.20, 0.215, 0.19, 0.205)[vendor],
        tin=_TINS[vendor],
        matte=(0.85, 0.80, 0.88, 0.83)[vendor],
        gloss=(0.10, 0.25, 0.05, 0.16)[vendor],
        band=(0.16, 0.11, 0.22, 0.14)[vendor],
    )


def marking(family: str, vendor: int, value: int, date_code: str) -> tuple[str, ...]:
    """Lines printed on the body: the same part number in each vendor's own code; the date code changes by lot."""
    if family == "CAP":
        return ()
    digits = f"{10 + value % 82}{value % 5}"
    letter = "ABCDEFHRSXYZ"[value % 12]
    if family == "RES":
        return ((digits,), (f"{value % 90 + 1:02d}{letter}",), (f"{digits}0",), ())[vendor]
    if family == "DIO":
        return ((f"{letter}{value % 10}",), (f"{value % 9}{letter}{vendor}",), (f"S{value % 10}",), ())[vendor]
    if family == "SOT":
        return ((f"{letter}{value % 90}",), (f"{value % 9}{letter}t",), (f"W{digits[:2]}",), (f"{digits[:2]}p",))[
            vendor
        ]
    name = f"{('LM', 'TS', 'NC', 'OP')[vendor]}{digits}"
    return ((name, date_code), (name, f"{letter}{date_code}"), (f"{name}D",), (name[:4], date_code, "e3"))[vendor]


def choose_package(rng: np.random.Generator) -> int:
    """Index into the catalogue, by its shares."""
    shares = np.array([package.share for package in CATALOGUE])
    return int(rng.choice(len(CATALOGUE), p=shares / shares.sum()))
