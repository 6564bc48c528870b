"""The eight defects: how a good assembly goes wrong, from just outside the tolerance to plain for anyone.

`severity` runs from 0 (a trained operator needs a second look) to 1. No setting falls inside the tolerances of
`render_line`, so a label never contradicts its picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from deft_aoi.simulate.assembly import Assembly, Bridge
from deft_aoi.simulate.board import Site
from deft_aoi.simulate.parts import CHIP_FAMILIES, lands, neighbours

Rng = np.random.Generator


def _missing(rng: Rng, site: Site, good: Assembly, severity: float) -> Assembly:
    """No part; the paste has melted into lenses on the open pads."""
    return replace(good, placed=False, volume=tuple(v * float(rng.uniform(0.7, 1.1)) for v in good.volume))


def _shift(rng: Rng, site: Site, good: Assembly, severity: float) -> Assembly:
    """Off its place or skewed, beyond the tolerance."""
    chip = site.package.family in CHIP_FAMILIES
    sign = float(rng.choice([-1, 1]))
    if rng.random() < 0.35:
        degrees = (14 + 22 * severity) if chip else (6 + 9 * severity)
        return replace(good, turn=sign * math.radians(degrees))
    far = (5.0 + 6.5 * severity) * (1.0 if chip else 0.8)
    if rng.random() < 0.35:
        return replace(good, dx=sign * min(far, 0.24 * site.package.length) if chip else sign * far)
    return replace(good, dy=sign * far)


def _bridge(rng: Rng, site: Site, good: Assembly, severity: float) -> Assembly:
    """Solder from one joint to the next: a hair or a lump."""
    pads = lands(site.package)
    pairs = neighbours(site.package)
    if pairs:
        first, second = (pads[index] for index in pairs[int(rng.integers(len(pairs)))])
        slide = float(rng.uniform(-0.2, 0.4)) * first.long * (1 if first.y > 0 else -1)
        start, end = (first.x, first.y + slide), (second.x, second.y + slide)
        wide = 4.0 + 7.0 * severity
    else:
        side = site.beside[int(rng.integers(len(site.beside)))]
        pad = pads[int(rng.integers(len(pads)))]
        step = side * (site.package.width * 1.04 + site.beside_gap)
        slide = float(rng.uniform(-0.2, 0.35)) * pad.long * (1 if pad.x > 0 else -1)
        half = side * pad.wide * 0.45
        start, end = (pad.x + slide, half), (pad.x + slide, step - half)
        wide = 4.0 + 7.0 * severity
    return replace(good, bridges=(Bridge(start, end, wide, 0.9 + 1.6 * severity),))


def _tombstone(rng: Rng, site: Site, good: Assembly, severity: float) -> Assembly:
    """One end has lifted off its paste: a few degrees or bolt upright."""
    end = int(rng.choice([-1, 1]))
    tilt = math.radians(14 + 70 * severity)
    return replace(good, tilt=tilt, tilt_end=end, dx=good.dx + end * 1.5 * severity)


def _upside_down(rng: Rng, site: Site, good: Assembly, severity: float) -> Assembly:
    """The part is on its face."""
    return replace(good, flipped=True, underside=0.35 + 0.65 * severity)


def _excess_solder(rng: Rng, site: Site, good: Assembly, severity: float) -> Assembly:
    """One joint bulges over the pad and onto the part."""
    return _with_volume(rng, good, 2.1 + 1.6 * severity)


def _insufficient_solder(rng: Rng, site: Site, good: Assembly, severity: float) -> Assembly:
    """One joint is starved: a low, short fillet, in the end a bare pad."""
    return _with_volume(rng, good, 0.32 - 0.30 * severity)


def _with_volume(rng: Rng, good: Assembly, value: float) -> Assembly:
    pin = int(rng.integers(len(good.volume)))
    return replace(good, volume=tuple(value if number == pin else v for number, v in enumerate(good.volume)))


def _lifted_lead(rng: Rng, site: Site, good: Assembly, severity: float) -> Assembly:
    """One lead stands off its solder."""
    pin = int(rng.integers(site.package.pins))
    rise = 4.0 + 6.0 * severity
    return replace(good, lift=tuple(rise if number == pin else 0.0 for number in range(site.package.pins)))


_MAKERS: dict[str, Callable[[Rng, Site, Assembly, float], Assembly]] = {
    "missing": _missing,
    "shift": _shift,
    "bridge": _bridge,
    "tombstone": _tombstone,
    "upside_down": _upside_down,
    "excess_solder": _excess_solder,
    "insufficient_solder": _insufficient_solder,
    "lifted_lead": _lifted_lead,
}
DEFECTS = tuple(_MAKERS)


def can_have(site: Site, defect: str) -> bool:
    """Whether this position can show the defect (a capacitor looks the same from below; a chip has no lead)."""
    family = site.package.family
    if defect == "bridge":
        return bool(neighbours(site.package)) or bool(site.beside)
    if defect == "tombstone":
        return family in CHIP_FAMILIES
    if defect == "upside_down":
        return family in ("RES", "DIO", "SOT")
    if defect == "lifted_lead":
        return family in ("DIO", "SOT", "IC")
    return True


def inflict(rng: Rng, site: Site, good: Assembly, defect: str, severity: float) -> Assembly:
    """The good assembly with one defect of the given severity (0..1)."""
    return _MAKERS[defect](rng, site, good, severity)
