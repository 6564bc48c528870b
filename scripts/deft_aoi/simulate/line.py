"""The line: what changes from lot to lot, from board to board and from part to part while everything is good."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deft_aoi.simulate.assembly import Assembly, Mess
from deft_aoi.simulate.board import Print, Site
from deft_aoi.simulate.camera import Capture
from deft_aoi.simulate.parts import CHIP_FAMILIES, VENDORS, look, marking
from deft_aoi.simulate.scene import Frame

LOTS = 4
FAMILIES = ("RES", "CAP", "DIO", "SOT", "IC")
#: Placement tolerance in crop pixels and degrees: a part inside is PASS.
OFFSET_TOLERANCE = 2.2
TURN_TOLERANCE = 2.5
#: A joint inside this range of paste volume is PASS.
VOLUME_TOLERANCE = (0.80, 1.25)


@dataclass(frozen=True)
class Lot:
    """One production lot: board batch, reels, paste, machine and lamp condition."""

    number: int
    vendor: tuple[int, ...]  # per family, in the order of FAMILIES
    second_vendor: tuple[int, ...]  # after a reel change
    date_code: str
    made: Print
    offset: tuple[float, float]  # placement machine's bias
    paste: float  # mean volume
    flux: float  # share of joints with visible residue
    dust: float  # specks in a window, on average
    defocus: float  # share of windows out of focus (warped board)
    glare: float  # share of windows with a lamp reflex
    roughness: float
    white_gain: tuple[float, float, float]
    solder_gain: tuple[float, float, float]
    ring_tilt: float
    ring_azimuth: float
    blur: float


def make_lot(seed: int, number: int) -> Lot:
    """Lot 0 is the reference lot: nominal print, vendor 0, fresh lamps."""
    rng = np.random.default_rng([seed, 11, number])
    wild = 0.0 if number == 0 else 1.0
    vendor = tuple(0 if number == 0 else int(rng.integers(VENDORS)) for _ in FAMILIES)

    return Lot(
        number=number,
        vendor=vendor,
        second_vendor=tuple((v + int(wild) * (1 + int(rng.integers(VENDORS - 1)))) % VENDORS for v in vendor),
        date_code=f"{int(rng.integers(22, 26))}{int(rng.integers(10, 53))}",
        made=Print(
            mask_tint=_about_one(rng, wild * 0.36),
            finish_tint=_about_one(rng, wild * 0.06),
            silk_shift=(float(wild * rng.uniform(-1.8, 1.8)), float(wild * rng.uniform(-1.8, 1.8))),
            silk_weight=float(1 + wild * rng.uniform(-0.3, 0.4)),
            silk_tone=float(1 + wild * rng.uniform(-0.25, 0.05)),
            weave=float(0.03 + wild * rng.uniform(0, 0.04)),
        ),
        offset=(float(wild * rng.uniform(-0.7, 0.7)), float(wild * rng.uniform(-0.7, 0.7))),
        paste=float(1 + wild * rng.uniform(-0.07, 0.08)),
        flux=float(0.05 + wild * rng.uniform(0.1, 0.5)),
        dust=float(0.1 + wild * rng.uniform(1.2, 3.4)),
        defocus=float(0.02 + wild * rng.uniform(0.04, 0.14)),
        glare=float(0.03 + wild * rng.uniform(0.03, 0.15)),
        roughness=float(0.2 + wild * rng.uniform(0, 0.4)),
        white_gain=_about_one(rng, wild * 0.40),
        solder_gain=_about_one(rng, wild * 0.24),
        ring_tilt=float(0.05 + wild * rng.uniform(0, 0.08)),
        ring_azimuth=float(rng.uniform(0, 2 * math.pi)),
        blur=float(0.55 + wild * rng.uniform(0, 0.12)),
    )


def _about_one(rng: np.random.Generator, spread: float) -> tuple[float, float, float]:
    """Three factors near 1: a common part within `spread`, two fifths of it per channel."""
    common = 1 + rng.uniform(-spread, spread)
    red, green, blue = (float(common * (1 + 0.4 * rng.uniform(-spread, spread))) for _ in range(3))
    return red, green, blue


def board_frame(rng: np.random.Generator, reach: float = 5.0) -> Frame:
    """Where the window really looks: fiducial error and stage repeatability, up to `reach` pixels and 1 degree."""
    return Frame(
        float(np.clip(rng.normal(0, reach / 2), -reach, reach)),
        float(np.clip(rng.normal(0, reach / 2), -reach, reach)),
        float(np.radians(np.clip(rng.normal(0, 0.4), -1, 1))),
    )


def golden_assembly(rng: np.random.Generator, site: Site, reference: Lot) -> Assembly:
    """The reference board's part: well placed, nominal solder, vendor 0."""
    family = site.package.family
    vendor = reference.vendor[FAMILIES.index(family)]
    return Assembly(
        look=look(family, vendor),
        words=marking(family, vendor, site.value, reference.date_code),
        volume=tuple(float(v) for v in rng.normal(1.0, 0.04, site.package.pins)),
        dx=float(rng.normal(0, 0.3)),
        dy=float(rng.normal(0, 0.3)),
        turn=float(np.radians(rng.normal(0, 0.4))),
        roughness=reference.roughness,
    )


def good_assembly(rng: np.random.Generator, site: Site, lot: Lot) -> Assembly:
    """A part inside every tolerance, as the lot makes them; a tenth comes close to the limits."""
    family = site.package.family
    reel = lot.second_vendor if rng.random() < 0.12 else lot.vendor
    vendor = reel[FAMILIES.index(family)]
    chip = family in CHIP_FAMILIES
    edge = rng.random() < 0.12
    play = (0.7 if chip else 0.5) * (1.7 if edge else 0.75)
    limit = OFFSET_TOLERANCE if chip else OFFSET_TOLERANCE * 0.55
    turn_limit = TURN_TOLERANCE if chip else TURN_TOLERANCE * 0.4
    shared = lot.paste * rng.normal(1, 0.04)
    volume = np.clip(shared * rng.normal(1, 0.10 if edge else 0.05, site.package.pins), *VOLUME_TOLERANCE)
    return Assembly(
        look=look(family, vendor),
        words=marking(family, vendor, site.value, lot.date_code),
        volume=tuple(float(v) for v in volume),
        dx=float(np.clip(lot.offset[0] + rng.normal(0, play), -limit, limit)),
        dy=float(np.clip(lot.offset[1] + rng.normal(0, play), -limit, limit)),
        turn=float(np.radians(np.clip(rng.normal(0, 1.5 * play), -turn_limit, turn_limit))),
        roughness=float(np.clip(lot.roughness * rng.uniform(0.6, 1.4), 0, 1)),
        mark_shift=(float(rng.normal(0, 0.8)), float(rng.normal(0, 0.5))),
        mark_fade=float(rng.uniform(0, 0.35) + (0.45 if rng.random() < 0.08 else 0)),
        skin=float(rng.normal(1, 0.06)),
    )


def mess(rng: np.random.Generator, site: Site, lot: Lot) -> Mess:
    """Harmless dirt: flux near the joints, dust anywhere."""
    flux = []
    if rng.random() < lot.flux:
        for _ in range(int(rng.integers(1, 3))):
            spread = site.package.length / 2 + 4
            place = rng.uniform(-spread, spread, 2)
            flux.append((float(place[0]), float(place[1]), float(rng.uniform(6, 15)), float(rng.uniform(0.2, 0.6))))
    specks = tuple(
        (_within(rng, 44), _within(rng, 44), float(rng.uniform(0.5, 1.6)), float(rng.choice([0.08, 0.75])))
        for _ in range(int(rng.poisson(lot.dust)))
    )
    fibres: tuple[tuple[float, float, float, float, float], ...] = ()
    if rng.random() < 0.05 * lot.dust:
        x, y = rng.uniform(-38, 38, 2)
        fibres = (
            (float(x), float(y), float(rng.uniform(0, 3.14)), float(rng.uniform(10, 24)), float(rng.uniform(0.4, 0.8))),
        )
    lobes = np.column_stack([rng.uniform(0, 0.12, 3), rng.uniform(0, 2 * math.pi, 3)])
    return Mess(flux=tuple(flux), specks=specks, fibres=fibres, glint=float(rng.uniform(0.3, 1.0)), lobes=lobes)


def _scaled(gain: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return gain[0] * float(factor), gain[1] * float(factor), gain[2] * float(factor)


def _within(rng: np.random.Generator, reach: float) -> float:
    return float(rng.uniform(-reach, reach))


def capture(rng: np.random.Generator, lot: Lot, drift: tuple[float, float], *, teaching: bool = False) -> Capture:
    """One grab: the lot's lamps, the board's `drift` (white, solder factors) and the moment's chance.

    Nobody teaches a golden from a blurred or glaring picture.
    """
    blurred = rng.random() < lot.defocus and not teaching
    shiny = rng.random() < lot.glare and not teaching
    white = drift[0] * rng.normal(1, 0.02)
    ring = drift[1] * rng.normal(1, 0.02)
    return Capture(
        white_gain=_scaled(lot.white_gain, white),
        solder_gain=_scaled(lot.solder_gain, ring),
        tilt=lot.ring_tilt,
        azimuth=lot.ring_azimuth,
        slope=(float(rng.normal(0, 0.05)), float(rng.normal(0, 0.05))),
        blur=float(lot.blur + abs(rng.normal(0, 0.06)) + (rng.uniform(0.15, 0.4) if blurred else 0)),
        noise=float(rng.uniform(0.002, 0.005)),
        glare=(
            float(rng.uniform(-45, 45)),
            float(rng.uniform(-45, 45)),
            float(rng.uniform(8, 22)),
            float(rng.uniform(0.1, 0.35)) if shiny else 0.0,
        ),
        grain=(int(rng.integers(4096)), int(rng.integers(4096))),
        noise_seed=int(rng.integers(2**31)),
    )
