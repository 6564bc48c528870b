"""Why a sample is weak: one cause from the evidence, with the numbers that speak for it. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from deft_aoi.base.names import PASS
from deft_aoi.engine.images import REACH

LABEL, GOLDEN, REGISTRATION, DRIFT, UNSEEN, MODEL = CAUSES = (
    "label suspect", "golden suspect", "misregistered", "light drift", "no similar training row", "model",
)  # fmt: skip
SURE = 0.8  # doubt from which a label is suspected first of all; below, a hard sample looks the same
GOLDEN_RATIO = 2.5  # times that a golden may differ from goldens of the same place as those differ from each other
SHIFT = 0.8 * REACH  # pixels: the registration is about to lose the part
SHIFT_RATIO, SHIFT_LEAST = 4.0, 4.0  # times the usual shift, and at least so many pixels
SPLIT_RATIO, SPLIT_LEAST = 2.0, 4.0  # times that two lights of one part are usually registered apart, and pixels
DRIFT_RATIO, DRIFT_LEAST = 5.0, 0.15  # times the usual spread of the brightness ratio, and at least 15 %
FAR_AWAY = 1.25  # nearest training row of the label, in units of what 95 % of the training rows have


_MOVES = (
    "shift", "offset", "displac", "misplac", "misalign", "position", "rotat", "skew", "tilt", "move", "tombston",
    "versatz", "verdreht", "verschob", "decal", "décal", "desplaz", "偏移", "偏位",
    "移位", "错位", "錯位", "歪", "ずれ", "틀어짐",
)  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What was measured of one sample; NaN where it could not be.

    `doubt` of its label and `likely` a label error (see data.doubt); `golden_ratio` how many times more its golden
    differs from goldens of the same place than those among themselves; `shift` of golden to test in pixels, the
    largest over the lights, `split` between two lights, `usual_*` the 95th percentile of good parts; `gain` by light:
    brightness of test over golden; `usual_gain` by light: (median, spread) of the good parts that the model
    learned from, else of the set; `training_rows` with the sample's label; `distance` to the nearest of them, 1 where
    95 % of the training rows have a nearer one; `two_level`: the pictures are black and white, so their brightness says
    how much is drawn in them and nothing of the light.
    """

    doubt: float = math.nan
    likely: bool = False
    golden_ratio: float = math.nan
    shift: float = math.nan
    usual_shift: float = math.nan
    split: float = math.nan
    usual_split: float = math.nan
    gain: Mapping[str, float] | None = None
    usual_gain: Mapping[str, tuple[float, float]] | None = None
    training_rows: int | None = None
    distance: float = math.nan
    label: str = PASS
    two_level: bool = False


@dataclass(frozen=True)
class Cause:
    """One of CAUSES and the sentence with the numbers."""

    name: str
    evidence: str


def propose(found: Evidence) -> Cause:
    """The first cause that the numbers support: what spoils the sample itself comes before what training lacks."""
    if found.likely or found.doubt >= SURE:
        return Cause(LABEL, f"doubt {found.doubt:.2f}{', likely a label error' if found.likely else ''}")
    if found.golden_ratio >= GOLDEN_RATIO:
        return Cause(GOLDEN, f"golden differs {found.golden_ratio:.1f} times as much as its siblings do")
    far = found.shift >= SHIFT or found.shift >= max(SHIFT_RATIO * found.usual_shift, SHIFT_LEAST)
    if far and not names_a_move(found.label):
        return Cause(REGISTRATION, f"golden moved {found.shift:.1f} px, 95 % of good parts {found.usual_shift:.1f}")
    if found.split >= max(SPLIT_RATIO * found.usual_split, SPLIT_LEAST):
        return Cause(REGISTRATION, f"lights registered {found.split:.1f} px apart, usually {found.usual_split:.1f}")
    if not found.two_level and (drift := drifted(found)):
        return drift
    if found.training_rows == 0:
        return Cause(UNSEEN, "no training row has this label")
    if found.distance >= FAR_AWAY:
        return Cause(UNSEEN, f"nearest training row {found.distance:.1f} times as far as usual")
    near = f"similar training rows at {found.distance:.1f}" if not math.isnan(found.distance) else "nothing else found"
    return Cause(MODEL, f"{near}, doubt {found.doubt:.2f}" if not math.isnan(found.doubt) else near)


def names_a_move(label: str) -> bool:
    """Whether a defect's name says that the part is not where it belongs: then its shift is the defect itself."""
    plain = label.casefold()
    return any(word in plain for word in _MOVES)


def drifted(found: Evidence) -> Cause | None:
    """The light whose brightness is farthest from what good parts have, where that is far."""
    worst: tuple[float, str, float, float] | None = None
    for light, gain in (found.gain or {}).items():
        middle, spread = (found.usual_gain or {}).get(light, (math.nan, math.nan))
        away = abs(gain - middle)
        beyond = away / max(DRIFT_RATIO * spread, DRIFT_LEAST * middle)
        if beyond >= 1 and (worst is None or beyond > worst[0]):
            worst = beyond, light, gain, middle
    if worst is None:
        return None
    return Cause(DRIFT, f"{worst[1]}: brightness {worst[2]:.2f} of its golden, usual {worst[3]:.2f}")
