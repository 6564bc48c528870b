"""An assembled position: solder joints and the part itself, drawn from the facts of one `Assembly`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from deft_aoi.simulate.board import Site
from deft_aoi.simulate.parts import CHIP_FAMILIES, Land, Look, lands
from deft_aoi.simulate.scene import Canvas, Colour, Frame, Map, Patch, blob, box, disc, text

SOLDER: Colour = (0.80, 0.80, 0.79)
CERAMIC: Colour = (0.70, 0.69, 0.66)


@dataclass(frozen=True)
class Bridge:
    """Solder between two places in the part's frame."""

    start: tuple[float, float]
    end: tuple[float, float]
    width: float
    tall: float


@dataclass(frozen=True)
class Assembly:
    """What the line did at one position. Volumes are relative to the nominal paste print."""

    look: Look
    words: tuple[str, ...]
    volume: tuple[float, ...]  # per pin
    placed: bool = True
    dx: float = 0.0  # placement offset, pixels
    dy: float = 0.0
    turn: float = 0.0  # radians
    tilt: float = 0.0  # tombstone: radians from the board
    tilt_end: int = 1  # the end that stays down, -1 or 1
    flipped: bool = False
    underside: float = 0.0  # how pale the underside is, 0..1
    lift: tuple[float, ...] = ()  # per pin: rise of the lead's tip, pixels
    bridges: tuple[Bridge, ...] = ()
    roughness: float = 0.0  # grain of the joint, 0..1
    mark_shift: tuple[float, float] = (0.0, 0.0)
    mark_fade: float = 0.0  # 0 crisp .. 1 gone
    skin: float = 1.0  # brightness factor of the body


@dataclass(frozen=True)
class Mess:
    """Dirt that does no harm: flux residue, dust, fibres. Positions are in the window's frame."""

    flux: tuple[tuple[float, float, float, float], ...] = ()  # x, y, radius, strength
    specks: tuple[tuple[float, float, float, float], ...] = ()  # x, y, radius, tone
    fibres: tuple[tuple[float, float, float, float, float], ...] = ()  # x, y, angle, length, tone
    glint: float = 0.0  # how strongly dust throws the ring light back, 0..1
    lobes: np.ndarray = field(default_factory=lambda: np.zeros((3, 2)))


def draw_assembly(canvas: Canvas, site: Site, part: Frame, job: Assembly) -> None:
    """Draw joints and part at `part` (the land pattern's frame)."""
    pads = lands(site.package)
    body = part.at(job.dx, job.dy, job.turn)
    standing = job.placed and not job.flipped
    for index, land in enumerate(pads):
        lifted = bool(job.lift) and job.lift[index] > 0
        pad = land.frame(part)
        if not standing and (not job.placed or site.package.family not in CHIP_FAMILIES):
            _dome(canvas, pad, land, job.volume[index])
        elif site.package.family in CHIP_FAMILIES:
            _chip_joint(canvas, site, part, land, job, index)
        elif lifted:
            _dome(canvas, pad, land, job.volume[index] * 0.8)
        else:
            _lead_joint(canvas, body, pad, land, site.package.lead, job.volume[index])
    for bridge in job.bridges:
        _bridge(canvas, part, bridge)
    if not job.placed:
        return
    if site.package.family in CHIP_FAMILIES:
        _draw_chip(canvas, site, body, job)
    else:
        _draw_leaded(canvas, site, body, job)
    for index, land in enumerate(pads):
        if job.volume[index] > 1.6 and standing and not (job.lift and job.lift[index] > 0):
            _overflow(canvas, site, part, land, job, index)


def _dome(canvas: Canvas, pad: Frame, land: Land, volume: float) -> None:
    """Solder that wetted an open pad: a shallow lens."""
    grow = 1 + 0.1 * max(0.0, volume - 1.3)
    patch = box(pad, land.long * 0.96 * grow, land.wide * 0.96 * grow, 2.5)
    if patch is not None:
        lens = _lens(patch, land.long * grow, land.wide * grow)
        canvas.paint(patch, SOLDER, metal=1.0, height=0.5 + np.float32(2.4 * volume) * lens)


def _lens(patch: Patch, long: float, wide: float) -> Map:
    along = patch.along / np.float32(long / 2)
    across = patch.across / np.float32(wide / 2)
    return np.clip((1 - along**2) * (1 - across**2), 0, 1)


def _fillet(along: Map, width: float, rise: float, volume: float) -> Map:
    """Height of a meniscus that starts `rise` tall at 0 and ends at `width`.

    Lean joints are hollow (power above 1), fat ones bulge (power below 1): the curvature an inspector reads.
    """
    t = np.clip(along / np.float32(max(width, 0.5)), 0, 1)
    power = np.float32(np.clip(2.6 - 1.0 * volume, 0.45, 2.6))
    return np.float32(rise) * (1 - t) ** power


def _chip_joint(canvas: Canvas, site: Site, part: Frame, land: Land, job: Assembly, index: int) -> None:
    """End fillet between a chip's terminal and the pad's outer edge; follows the part where it really sits."""
    volume, package = job.volume[index], site.package
    side = 1 if land.x > 0 else -1
    if job.tilt and side != job.tilt_end:
        _dome(canvas, land.frame(part), land, volume)
        return
    face = part.at(job.dx, job.dy, job.turn).at(side * package.length / 2, 0, 0 if side > 0 else math.pi)
    outer = land.frame(part)
    gap = (outer.x - face.x) * math.cos(outer.angle) + (outer.y - face.y) * math.sin(outer.angle)
    spread = min(1.0, 0.45 + 0.6 * volume)
    reach = gap + land.long / 2 * spread + max(0.0, volume - 1.5) * 1.6
    wide = land.wide * min(1.0, 0.55 + 0.5 * volume) + max(0.0, volume - 1.5) * 1.6
    if reach <= 0.5:
        _dome(canvas, outer, land, volume * 0.6)
        return
    # Underneath, solder fills the pad too: it shows where the part has moved away.
    _dome(canvas, outer, land, min(volume, 1.0) * 0.45)
    centre = outer.at(reach - gap - (reach + 6) / 2, 0)
    patch = box(centre, reach + 6, wide, 3.0)
    if patch is None:
        return
    along = patch.along + np.float32((reach + 6) / 2 - 6)
    rise = package.tall * min(0.92, 0.25 + 0.55 * volume)
    shape = _fillet(along, reach, rise, volume) * np.clip(1 - (np.abs(patch.across) * 2 / wide) ** 4, 0, 1)
    canvas.paint(patch, SOLDER, metal=1.0, height=0.5 + shape, raise_only=True)


def _lead_joint(canvas: Canvas, body: Frame, pad: Frame, land: Land, lead: float, volume: float) -> None:
    """Toe and side fillets around a gull-wing foot."""
    grow = max(0.0, volume - 1.5) * 1.4
    wetted = 0.97 * min(1.0, 0.6 + 0.7 * volume)
    patch = box(pad, land.long * wetted + grow, land.wide * wetted + grow, 1.5)
    if patch is None:
        return
    foot = land.frame(body)
    c, s = math.cos(pad.angle), math.sin(pad.angle)
    ox, oy = foot.x - pad.x, foot.y - pad.y
    along = patch.along - np.float32(c * ox + s * oy)
    across = np.abs(patch.across - np.float32(c * oy - s * ox)) - np.float32(lead / 2)
    distance = np.maximum(np.maximum(along - np.float32(land.long / 2 - 2.8), across), 0)
    rise = 2.8 * min(1.15, 0.15 + 0.85 * volume)
    shape = _fillet(distance, 3.2 * min(1.0, 0.4 + 0.6 * volume) + grow, rise, volume)
    canvas.paint(patch, SOLDER, metal=1.0, height=0.5 + shape)


def _overflow(canvas: Canvas, site: Site, part: Frame, land: Land, job: Assembly, index: int) -> None:
    """Too much solder climbs over the terminal or hides the lead's foot under a bulge."""
    extra = job.volume[index] - 1.6
    if site.package.family in CHIP_FAMILIES:
        end = land.frame(part.at(job.dx, job.dy, job.turn)).at(-land.face, 0)
        long, wide = 9.0 + 5.0 * extra, site.package.width * 1.06
        patch = box(end.at(-1.0 - extra, 0), long, wide, long * 0.45, soft=1.0)
        tall, swell = site.package.tall * 0.94, 1.6 + 1.4 * extra
    else:
        long, wide = land.long * 1.2, land.wide * 1.2
        patch = disc(land.frame(part), land.wide * (0.56 + 0.07 * extra), land.long / land.wide, soft=1.0)
        tall, swell = 1.2, 4.0 + 1.5 * extra
    if patch is not None:
        lens = _lens(patch, long, wide)
        canvas.paint(patch, SOLDER, metal=1.0, height=np.float32(tall) + np.float32(swell) * lens)


def _bridge(canvas: Canvas, part: Frame, bridge: Bridge) -> None:
    (x0, y0), (x1, y1) = bridge.start, bridge.end
    middle = part.at((x0 + x1) / 2, (y0 + y1) / 2, math.atan2(y1 - y0, x1 - x0))
    length = math.hypot(x1 - x0, y1 - y0) + bridge.width * 0.5
    patch = box(middle, length, bridge.width, bridge.width / 2, soft=0.6)
    if patch is not None:
        waist = 0.75 + 0.25 * np.abs(patch.along) / np.float32(length / 2)
        hump = np.clip(1 - (patch.across * 2 / np.float32(bridge.width)) ** 2, 0, 1) * waist
        canvas.paint(patch, SOLDER, metal=1.0, height=0.5 + np.float32(bridge.tall) * hump, raise_only=True)


def _draw_chip(canvas: Canvas, site: Site, body: Frame, job: Assembly) -> None:
    if job.tilt:
        _draw_standing_chip(canvas, site, body, job)
        return
    package, look = site.package, job.look
    resistor = package.family == "RES"
    colour = np.array(look.body) * job.skin
    if job.flipped:
        pale = np.array(CERAMIC) * (0.55 + 0.45 * job.underside)
        colour = colour + (pale - colour) * (0.35 + 0.65 * job.underside)
    canvas.paint(
        box(body, package.length, package.width, 1.2, soft=0.9), tuple(np.clip(colour, 0, 1)),
        metal=0.0, gloss=look.gloss, height=package.tall * (0.92 if resistor else 1.0),
    )  # fmt: skip
    if resistor and not job.flipped:
        for side in (-1, 1):  # the ceramic shows next to the coating
            rim = body.at(0, side * (package.width / 2 - 0.5))
            canvas.paint(box(rim, package.length * 0.6, 0.9), (0.55, 0.54, 0.52), metal=0.0)
    share = look.terminal * (1.5 if job.flipped else 1.0)
    for side in (-1, 1):
        end = body.at(side * package.length * (1 - share) / 2, 0)
        cover = box(end, package.length * share, package.width * 1.02, 1.5, soft=0.9)
        canvas.paint(cover, look.tin, metal=look.matte, gloss=0.1, height=package.tall)
    if job.words and not job.flipped and package.length > 30:
        _print(canvas, body, job, package.width * 0.44)


def _draw_standing_chip(canvas: Canvas, site: Site, body: Frame, job: Assembly) -> None:
    """A tombstone seen from above: the top face shortened, and the free end's underside facing the camera."""
    package, look = site.package, job.look
    c, s = math.cos(job.tilt), math.sin(job.tilt)
    pivot = body.at(job.tilt_end * package.length / 2, 0, 0 if job.tilt_end > 0 else math.pi)
    near, far = package.tall * s, package.tall * s - package.length * c
    top = box(pivot.at((near + far) / 2, 0), max(near - far, 0.6), package.width, 0.8, soft=0.8)
    if top is not None:
        slope = np.clip((np.float32(near) - top.along) / np.float32(max(near - far, 0.6)), 0, 1)
        rising = np.float32(package.tall * c) + np.float32(package.length * s) * slope
        canvas.paint(top, tuple(np.array(look.body) * job.skin), metal=0.0, gloss=look.gloss, height=rising)
        share = look.terminal
        ends = np.maximum(np.clip((share - slope) * 20 + 0.5, 0, 1), np.clip((slope - 1 + share) * 20 + 0.5, 0, 1))
        bands = Patch(top.roi, (top.cover * ends).astype(np.float32), top.along, top.across)
        canvas.paint(bands, look.tin, metal=look.matte)
    face = box(pivot.at(far - near / 2, 0), max(near, 0.6), package.width, 0.8, soft=0.8)
    if face is not None:
        fall = np.clip((np.float32(far) - face.along) / np.float32(max(near, 0.6)), 0, 1)
        tall = np.float32(package.length * s) + np.float32(package.tall * c) * (1 - fall)
        canvas.paint(face, look.tin, metal=look.matte, gloss=0.1, height=tall)


def _print(canvas: Canvas, body: Frame, job: Assembly, size: float) -> None:
    """Marking on the body; faint print is mixed towards the body's own colour."""
    look = job.look
    ink = np.array(look.mark) + (np.array(look.body) - np.array(look.mark)) * job.mark_fade
    lines = len(job.words)
    for number, words in enumerate(job.words):
        down = (number - (lines - 1) / 2) * size * 1.5
        place = body.at(job.mark_shift[0], job.mark_shift[1] + down)
        canvas.paint(text(place, words, size, look.weight), tuple(ink), metal=0.0)


def _draw_leaded(canvas: Canvas, site: Site, body: Frame, job: Assembly) -> None:
    package, look = site.package, job.look
    for index, land in enumerate(lands(package)):
        rise = job.lift[index] if job.lift else 0.0
        _draw_lead(canvas, land, body, job, package.lead, rise)
    colour = np.array(look.body) * job.skin * (1.25 if job.flipped else 1.0)
    shell = box(body, package.length, package.width, 1.5, soft=1.6)
    canvas.paint(shell, tuple(np.clip(colour, 0, 1)), metal=0.0, gloss=look.gloss, height=package.tall)
    if job.flipped:
        canvas.paint(disc(body, 2.6), tuple(np.clip(colour * 1.6, 0, 1)), height=package.tall - 0.8)
        return
    _draw_polarity(canvas, site, body, job)
    if job.words:
        wide = package.width if package.family != "IC" else package.width / len(job.words)
        _print(canvas, body, job, min(wide * 0.42, 9.0))


def _draw_polarity(canvas: Canvas, site: Site, body: Frame, job: Assembly) -> None:
    package, look = site.package, job.look
    ink = tuple(np.array(look.mark) + (np.array(look.body) - np.array(look.mark)) * job.mark_fade * 0.5)
    if package.family == "DIO":
        bar = box(body.at(-package.length * (0.46 - look.band / 2), 0), package.length * look.band, package.width - 2)
        canvas.paint(bar, ink, metal=0.0)
    elif package.family == "IC" and look.style % 2:
        edge = box(body.at(0, package.width / 2 - 2.2), package.length - 3, 2.0, soft=1.0)
        canvas.paint(edge, None, height=package.tall - 1.6)
    elif package.family == "IC":
        dimple = body.at(-package.length / 2 + 5.5, package.width / 2 - 5.5)
        canvas.paint(disc(dimple, 2.4, soft=1.0), None, height=package.tall - 1.0)


def _draw_lead(canvas: Canvas, land: Land, body: Frame, job: Assembly, lead: float, rise: float) -> None:
    """A gull wing from the body's edge down to the foot; a dead bug's leads end in the air."""
    wing = land.frame(body)
    tip = land.long / 2 - 2.8 - (0.9 if rise > 2.5 else 0.0)
    length = land.face + tip
    patch = box(wing.at((tip - land.face) / 2, 0), length, lead, 0.6, soft=0.5)
    if patch is None:
        return
    out = patch.along + np.float32(length / 2)
    knee = np.float32(land.face * 0.72)
    if job.flipped:
        height: Map = 5.0 + np.clip((out - knee) / 2.5, 0, 1) * 2.5
    else:
        height = 1.1 + 3.4 * np.clip(1 - (out - 1.0) / (knee - 1.0), 0, 1) ** 1.3
        height = height + np.float32(rise) * np.clip(out / np.float32(length), 0, 1)
    canvas.paint(patch, job.look.tin, metal=job.look.matte, gloss=0.1, height=height.astype(np.float32))


def draw_mess(canvas: Canvas, board: Frame, mess: Mess) -> None:
    """Flux film, specks and fibres are on top of everything."""
    for x, y, radius, strength in mess.flux:
        canvas.stain(blob(board.at(x, y), radius, mess.lobes, soft=3.0), (0.55, 0.45, 0.22), strength, gloss=0.35)
    for x, y, radius, tone in mess.specks:
        speck = disc(board.at(x, y), radius)
        if speck is not None:
            grain = canvas.height[speck.roi] + np.float32(0.7) * speck.cover * np.float32(radius)
            canvas.paint(speck, (tone, tone, tone * 0.95), metal=mess.glint, gloss=0.3, height=grain)
    for x, y, angle, length, tone in mess.fibres:
        for step, bend in ((-0.25, -0.25), (0.25, 0.25)):
            piece = board.at(x, y, angle).at(step * length, abs(step) * length * 0.2, bend)
            canvas.paint(box(piece, length * 0.53, 0.9), (tone, tone, tone), metal=0.5 * mess.glint, gloss=0.3)
