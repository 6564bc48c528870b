"""One inspected position: the test pictures and the golden's, both lights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deft_aoi.simulate.assembly import Assembly, Mess, draw_assembly, draw_mess
from deft_aoi.simulate.board import Print, Site, draw_board
from deft_aoi.simulate.camera import LIGHTS, Capture, expose, relief
from deft_aoi.simulate.defects import inflict
from deft_aoi.simulate.line import Lot, board_frame, capture, golden_assembly, good_assembly, mess
from deft_aoi.simulate.scene import Frame

Picture = NDArray[np.uint8]
Pictures = dict[str, Picture]  # by light


@dataclass(frozen=True)
class Moment:
    """Everything about one grab that is not the part itself."""

    board: Frame
    made: Print
    beside: tuple[Assembly, ...]  # the neighbours' parts
    mess: Mess
    capture: Capture


def take(site: Site, moment: Moment, job: Assembly) -> Pictures:
    """Pictures of one position under every light, (96, 96, 3) uint8 RGB."""
    canvas = draw_board(site, moment.board, moment.made)
    for frame, part in zip(site.side_frames(moment.board), moment.beside, strict=True):
        draw_assembly(canvas, site, frame, part)
    draw_assembly(canvas, site, site.frame(moment.board), job)
    draw_mess(canvas, moment.board, moment.mess)
    surface = relief(canvas, job.roughness, moment.capture)
    return {light: expose(canvas, surface, light, moment.capture) for light in LIGHTS}


def line_moment(rng: np.random.Generator, site: Site, lot: Lot, drift: tuple[float, float]) -> Moment:
    """A grab on the running line."""
    return Moment(
        board=board_frame(rng),
        made=lot.made,
        beside=tuple(good_assembly(rng, site, lot) for _ in site.beside),
        mess=mess(rng, site, lot),
        capture=capture(rng, lot, drift),
    )


def golden_pictures(rng: np.random.Generator, site: Site, reference: Lot) -> Pictures:
    """The reference board's pictures, taken when the program was taught."""
    clean = Moment(
        board=board_frame(rng, reach=2.0),
        made=reference.made,
        beside=tuple(golden_assembly(rng, site, reference) for _ in site.beside),
        mess=Mess(),
        capture=capture(rng, reference, (1.0, 1.0), teaching=True),
    )
    return take(site, clean, golden_assembly(rng, site, reference))


def line_pictures(
    rng: np.random.Generator, site: Site, lot: Lot, drift: tuple[float, float], defect: str | None, severity: float
) -> Pictures:
    """Pictures of a test board's position; `defect` None is a part inside every tolerance."""
    moment = line_moment(rng, site, lot, drift)
    job = good_assembly(rng, site, lot)
    return take(site, moment, job if defect is None else inflict(rng, site, job, defect, severity))


def synthetic_pair(
    rng: np.random.Generator, site: Site, lot: Lot, defect: str, severity: float
) -> tuple[Pictures, Pictures]:
    """(NG, OK) as an image generator makes them: the same grab with and without the defect."""
    moment = line_moment(rng, site, lot, (1.0, 1.0))
    good = good_assembly(rng, site, lot)
    return take(site, moment, inflict(rng, site, good, defect, severity)), take(site, moment, good)
