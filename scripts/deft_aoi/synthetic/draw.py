"""Draw a defect that has no example: where the part, its joints and the board are is told from the picture itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.synthetic.patches import Mask, Picture, Rng, feathered, grown, rounded, shrunk, softened, without
from deft_aoi.synthetic.picture_parts import Body, Solder, find_body, solder_of

_FARTHEST = 0.1  # of the picture's side: a part is never shifted farther
_WEB = 0.15  # of the picture's side: a wider gap is not bridged through the air
_SHADOW = 0.3  # of the light that a part keeps from the board beside it


Near = tuple[float, tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Drawn:
    """A drawn defect: the pictures of all lights with it, and where it is."""

    pictures: list[Picture]
    mask: Mask


@dataclass(frozen=True)
class Scene:
    """What a maker works on: the pictures, what stands in them, how the solder shines."""

    lights: Sequence[Picture]
    body: Body
    solder: Solder


def draw(anomaly: str, lights: Sequence[Picture], rng: Rng, solder: Solder | None = None) -> Drawn:
    """A defect with no example, of one shape under every light. `solder` as it was learned, else the picture's own.

    Raises KeyError for a defect that cannot be drawn.
    """
    body = find_body(lights)
    own = solder if solder is not None and len(solder.ramps) == len(lights) else solder_of(lights, body)
    return MAKERS[anomaly](Scene(lights, body, own), rng)


def bare(scene: Scene, rng: Rng) -> tuple[list[Picture], Mask]:
    """(pictures, mask): the place without its part, its wetted pads open to the light."""
    body = scene.body
    gone = grown(body.mask, 2)
    empty = [without(picture, gone, body.ground, rng) for picture in scene.lights]
    pads = np.zeros_like(body.mask)
    for joint in body.joints:
        x, y, width, height = cv2.boundingRect(joint)
        if (joint > 0).sum() > 0.5 * width * height:
            cv2.rectangle(pads, (x, y), (x + width - 1, y + height - 1), 255, -1)
        else:
            pads = np.maximum(pads, joint)
    return scene.solder.paint(empty, pads, rng, flat=True), gone


def _missing(scene: Scene, rng: Rng) -> Drawn:
    return Drawn(*bare(scene, rng))


def _shift(scene: Scene, rng: Rng) -> Drawn:
    """The whole part off its place or skewed."""
    x, y, w, h = scene.body.box
    angle = float(rng.uniform(-1, 1)) * (18 if rng.random() < 0.4 else 4)
    far = min(float(rng.uniform(0.15, 0.4)) * min(w, h), _FARTHEST * min(scene.body.mask.shape)) * (
        1 if rng.random() < 0.5 else -1
    )
    move = (0.2 * far, far) if scene.body.is_wide else (far, 0.2 * far)
    turn = np.asarray(cv2.getRotationMatrix2D((x + w / 2, y + h / 2), angle, 1.0), np.float64)
    return _moved(scene, rng, turn + np.array([[0, 0, move[0]], [0, 0, move[1]]]))


def _tombstone(scene: Scene, rng: Rng) -> Drawn:
    """One end up: from above the part is short, and sits at the other end."""
    x, y, w, h = scene.body.box
    keep, end = float(rng.uniform(0.4, 0.65)), int(rng.integers(2))
    if scene.body.is_wide:
        fixed = x + end * w
        matrix = np.array([[keep, 0, fixed * (1 - keep)], [0, 1, 0]])
    else:
        fixed = y + end * h
        matrix = np.array([[1, 0, 0], [0, keep, fixed * (1 - keep)]])
    return _moved(scene, rng, matrix)


def _moved(scene: Scene, rng: Rng, matrix: npt.NDArray[np.float64]) -> Drawn:
    """The part warped by `matrix`, over its open pads, with a soft shadow beside it."""
    body = scene.body
    size = body.mask.shape[::-1]
    there = np.asarray(cv2.warpAffine(body.mask, matrix, size, flags=cv2.INTER_NEAREST), np.uint8)
    empty, gone = bare(scene, rng)
    dim = 1 - _SHADOW * softened(there, 0.018 * min(size) + 0.6)[:, :, None]
    pictures = []
    for below, picture in zip(empty, scene.lights):
        warped = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        shaded = rounded(below.astype(np.float32) * dim)
        pictures.append(feathered(shaded, np.asarray(warped, np.uint8), there))
    return Drawn(pictures, np.maximum(gone, grown(there, 2)))


def _bridge(scene: Scene, rng: Rng) -> Drawn:
    """A web of solder between two joints that lie beside each other; along the part's side where none do."""
    mask = np.zeros_like(scene.body.mask)
    gap, first, second = _neighbours(scene.body, rng)
    wide = max(3, round(float(rng.uniform(0.03, 0.055)) * min(mask.shape)))
    path = [first, second]
    if gap > _WEB * min(mask.shape):
        x, y, w, h = scene.body.box
        far = rng.random() < 0.5
        if scene.body.is_wide:
            side = min(y + h + wide // 2, mask.shape[0] - 1) if far else max(y - wide // 2, 0)
            path = [first, (first[0], side), (second[0], side), second]
        else:
            side = min(x + w + wide // 2, mask.shape[1] - 1) if far else max(x - wide // 2, 0)
            path = [first, (side, first[1]), (side, second[1]), second]
    cv2.polylines(mask, [np.array(path, np.int32)], False, 255, wide)
    for point in (first, second):  # it wets the joints: broader there
        cv2.circle(mask, point, max(2, round(0.75 * wide)), 255, -1)
    return Drawn(scene.solder.paint(scene.lights, mask, rng), mask)


def _neighbours(body: Body, rng: Rng) -> Near:
    """The gap between two joints that face each other, one of them this part's, and a point in each."""
    joints = list(body.joints)
    beside = _neighbouring_joints(body)
    pairs = []
    for number, joint in enumerate(joints):
        for other in [*joints[number + 1 :], *beside]:
            near = _nearest(joint, other)
            if near is not None:
                pairs.append(near)
    shortest = min(gap for gap, _, _ in pairs)
    close = [near for near in pairs if near[0] <= 1.3 * shortest + 2]
    return close[int(rng.integers(len(close)))]


def _neighbouring_joints(body: Body) -> list[Mask]:
    """Of each neighbouring part what lies level with a joint of this one."""
    found = []
    for joint in body.joints:
        jx, jy, jw, jh = cv2.boundingRect(joint)
        band = np.zeros_like(body.mask)
        if body.is_wide:
            band[:, jx : jx + jw] = 255
        else:
            band[jy : jy + jh, :] = 255
        level = np.minimum(band, body.others)
        count, numbers = cv2.connectedComponents(level)
        found += [np.where(numbers == n, 255, 0).astype(np.uint8) for n in range(1, count)]
    return found


def _nearest(one: Mask, other: Mask) -> Near | None:
    """(gap, a point of one, a point of the other), each a little inside: a web from rim to rim would not touch."""
    first, second = np.argwhere(shrunk(one, 1)), np.argwhere(shrunk(other, 1))
    if not len(first) or not len(second):
        first, second = np.argwhere(one), np.argwhere(other)
    if not len(first) or not len(second):
        return None
    apart = np.hypot(*(first[:, None, :] - second[None, :, :]).transpose(2, 0, 1))
    near = np.argwhere(apart <= apart.min() + 0.8)
    a, b = near[len(near) // 2]
    (y0, x0), (y1, x1) = first[a], second[b]
    return float(apart[a, b]), (int(x0), int(y0)), (int(x1), int(y1))


def _excess(scene: Scene, rng: Rng) -> Drawn:
    """One joint bulges: a rounded body of solder over it, a little beyond its pad."""
    joint = scene.body.joints[int(rng.integers(len(scene.body.joints)))]
    x, y, width, height = cv2.boundingRect(joint)
    gain = float(rng.uniform(0.55, 0.68))
    mask = np.zeros_like(joint)
    half = (max(3, round(gain * width)), max(3, round(gain * height)))
    cv2.ellipse(mask, (x + width // 2, y + height // 2), half, 0, 0, 360, 255, -1)
    mask[shrunk(scene.body.others, 1) > 0] = 0
    return Drawn(scene.solder.paint(scene.lights, mask, rng), mask)


def _insufficient(scene: Scene, rng: Rng) -> Drawn:
    """One joint starved: its outer solder is gone, board and the flat of its pad show."""
    body = scene.body
    joint = body.joints[int(rng.integers(len(body.joints)))]
    depth = cv2.distanceTransform(body.mask, cv2.DIST_L2, 3)
    deep = max(2.0, float(rng.uniform(0.35, 0.7)) * float(depth[joint > 0].max()))
    gone = np.where((grown(joint, 1) > 0) & (depth <= deep) & (shrunk(body.others, 1) == 0), 255, 0).astype(np.uint8)
    empty = [without(picture, gone, body.ground, rng) for picture in scene.lights]
    pad = np.where((gone > 0) & (depth > 0.5 * deep), 255, 0).astype(np.uint8)
    return Drawn(scene.solder.paint(empty, pad, rng, flat=True), gone)


MAKERS: dict[str, Callable[[Scene, Rng], Drawn]] = {
    "missing": _missing,
    "shift": _shift,
    "tombstone": _tombstone,
    "bridge": _bridge,
    "excess_solder": _excess,
    "insufficient_solder": _insufficient,
}
