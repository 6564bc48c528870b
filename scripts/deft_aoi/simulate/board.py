"""The bare board of one product: which part sits at which position, and what surrounds it.

A site depends on (seed, product, position) alone, so every board of a product and its golden share it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from deft_aoi.simulate.parts import CATALOGUE, CHIP_FAMILIES, Package, choose_package, lands
from deft_aoi.simulate.scene import Canvas, Colour, Frame, box, disc, text, texture

PRODUCTS = ("ECU-A", "INV-B", "SNS-C")
_MASKS: tuple[Colour, ...] = ((0.045, 0.22, 0.11), (0.03, 0.17, 0.12), (0.04, 0.10, 0.27))
_FINISHES: tuple[Colour, ...] = ((0.80, 0.80, 0.80), (0.86, 0.72, 0.40), (0.80, 0.80, 0.80))  # tin, gold, tin
_LETTERS = {"RES": "R", "CAP": "C", "DIO": "D", "SOT": "Q", "IC": "U"}
SILK: Colour = (0.80, 0.81, 0.78)


@dataclass(frozen=True)
class Site:
    """One component position of a product."""

    product: int
    number: int
    package: Package
    quarter: int  # rotation in quarter turns
    value: int
    beside: tuple[int, ...]  # -1 / +1: a parallel chip on that side
    beside_gap: float
    outline: bool
    label_x: float
    label_y: float
    label_size: float
    vias: tuple[tuple[float, float, float], ...]  # x, y, radius
    trace_bend: tuple[float, ...]  # per pad: side step of its trace
    texture_at: tuple[int, int]

    @property
    def name(self) -> str:
        """Reference designator with the panel index."""
        return f"{_LETTERS[self.package.family]}{101 + self.number}@1"

    def frame(self, board: Frame) -> Frame:
        return board.at(0, 0, self.quarter * math.pi / 2)

    def side_frames(self, board: Frame) -> tuple[Frame, ...]:
        """Where the neighbouring chips sit."""
        step = self.package.width * 1.04 + self.beside_gap
        return tuple(self.frame(board).at(0, side * step) for side in self.beside)


@functools.cache
def make_site(seed: int, product: int, number: int) -> Site:
    """Lay out position `number` of a product."""
    rng = np.random.default_rng([seed, 7, product, number])
    package = CATALOGUE[choose_package(rng)]
    chip = package.family in CHIP_FAMILIES
    roomy = chip and package.width < 20
    beside = tuple(side for side in (-1, 1) if roomy and rng.random() < 0.6)
    half = max(abs(land.y) + (land.long if land.y else land.wide) / 2 for land in lands(package))
    size = float(rng.uniform(6, 7) if len(beside) == 2 else rng.uniform(7, 9))
    free = 1 if beside == (-1,) else -1
    crowded = len(beside) == 2  # then the name is printed at the part's end
    if crowded:
        half = max(abs(land.x) + land.long / 2 for land in lands(package))
    vias = tuple(
        (float(rng.uniform(-46, 46)), float(rng.uniform(-46, 46)), float(rng.uniform(2.4, 3.4))) for _ in range(6)
    )
    return Site(
        product=product,
        number=number,
        package=package,
        quarter=int(rng.integers(4)),
        value=int(rng.integers(10_000)),
        beside=beside,
        beside_gap=float(rng.uniform(6, 9)),
        outline=bool(rng.random() < 0.6),
        label_x=half + size * 1.7 + 2 if crowded else float(rng.uniform(-6, 6)),
        label_y=float(rng.uniform(-6, 6)) if crowded else free * (half + size * 0.5 + 5),
        label_size=size,
        vias=tuple(via for via in vias if _clear(via, package)),
        trace_bend=tuple(float(bend) for bend in rng.uniform(-9, 9, package.pins)),
        texture_at=(int(rng.integers(512)), int(rng.integers(512))),
    )


def _clear(via: tuple[float, float, float], package: Package) -> bool:
    """Whether a via keeps away from the part and its pads, whichever way the part is turned."""
    reach = max(math.hypot(land.x, land.y) + land.long / 2 for land in lands(package))
    return math.hypot(via[0], via[1]) > reach + 6


@dataclass(frozen=True)
class Print:
    """How one board batch was made: all within the fabrication drawing."""

    mask_tint: Colour  # factors
    finish_tint: Colour
    silk_shift: tuple[float, float]
    silk_weight: float
    silk_tone: float  # brightness factor
    weave: float  # strength of the laminate's texture


def draw_board(site: Site, board: Frame, made: Print) -> Canvas:
    """Solder mask, traces, vias, pads and silk print of one site."""
    ground = np.array(_MASKS[site.product]) * made.mask_tint
    canvas = Canvas(tuple(ground), gloss=0.10)
    grain = texture(3.0, *site.texture_at)
    canvas.albedo *= 1 + np.float32(made.weave) * grain
    part = site.frame(board)
    traced: Colour = tuple(np.clip(ground * 1.45 + 0.015, 0, 1))
    for land, bend in zip(lands(site.package), site.trace_bend, strict=True):
        pad = land.frame(part)
        wide = min(land.wide * 0.55, 6.0)
        canvas.paint(box(pad.at(18, 0), 36, wide), traced, height=0.3)
        canvas.paint(box(pad.at(36, bend, 0.6 if bend > 0 else -0.6), 40, wide, 2), traced, height=0.3)
    for x, y, radius in site.vias:
        via = board.at(x, y)
        canvas.paint(disc(via, radius + 1.6), traced, height=0.35)
        canvas.paint(disc(via, radius * 0.55), tuple(ground * 0.35), height=0.0)
    _draw_silk(canvas, site, part.at(*made.silk_shift), made)
    _draw_pads(canvas, site, part, made)
    for side in site.side_frames(board):
        _draw_pads(canvas, site, side, made)
    return canvas


def finish(site: Site, made: Print) -> Colour:
    """Colour of the bare pads."""
    return tuple(np.clip(np.array(_FINISHES[site.product]) * made.finish_tint, 0, 1))


def _draw_pads(canvas: Canvas, site: Site, part: Frame, made: Print) -> None:
    colour = finish(site, made)
    for land in lands(site.package):
        pad = land.frame(part)
        canvas.paint(
            box(pad, land.long + 1.6, land.wide + 1.6, 1.5), (0.20, 0.16, 0.09), metal=0.0, gloss=0.0, height=0.0
        )
        canvas.paint(box(pad, land.long, land.wide, 1.2), colour, metal=1.0, height=0.4)


def _draw_silk(canvas: Canvas, site: Site, part: Frame, made: Print) -> None:
    package = site.package
    ink: Colour = tuple(np.clip(np.array(SILK) * made.silk_tone, 0, 1))
    line = 1.1 * made.silk_weight
    if site.outline and package.family in CHIP_FAMILIES and not site.beside:
        for side in (-1, 1):
            canvas.paint(box(part.at(0, side * (package.width / 2 + 5)), package.length * 0.8, line), ink, height=0.2)
    if package.family in ("IC", "DIO"):
        corner = part.at(-package.length / 2 - 5, package.width / 2 - 2)
        canvas.paint(disc(corner, 1.8 * made.silk_weight), ink, height=0.2)
    if package.family == "IC":
        for side in (-1, 1):
            canvas.paint(box(part.at(side * (package.length / 2 + 2.5), 0), line, package.width * 0.7), ink, height=0.2)
    # People read a board from two directions only.
    upright = -math.pi / 2 if site.quarter % 2 else 0.0
    place = part.at(site.label_x, site.label_y)
    name = site.name.partition("@")[0]
    canvas.paint(text(Frame(place.x, place.y, upright), name, site.label_size, made.silk_weight), ink, height=0.2)
