"""How the changed patch of a pair looks: its edge, grain and colours, and whether real parts hold anything like it.

A pair is a list of `Pair`, one for each light, of one part. Everything is measured in the part's own pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.engine.images import Pair, luminance
from deft_aoi.synthetic.dataset_source import CORE, VISIBLE, apart, defect_mask

Values = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]
Rng = np.random.Generator

_SIDE = 5  # pixels of the little squares that are looked up in real parts
_KEPT = 32  # numbers that describe a square
_SQUARES, _RIM = 100, 60  # looked up inside the patch and along its rim
_OWN = 150  # squares of the part's own surroundings, and of its golden, that they are looked up in too
_REMEMBERED, _IN_DEFECT = 60, 120  # squares kept of a good part, and of a defect's patch
_MOST = 6_000  # squares kept in all
_PERCENTILES = 50, 80, 95


def changed(pairs: Sequence[Pair]) -> Mask | None:
    """Where the part differs from its golden; None where no camera could see a difference."""
    mask = defect_mask(pairs)
    if mask is not None:
        return mask
    far = np.maximum.reduce([apart(pair) for pair in pairs])
    if float(far.max()) < VISIBLE:
        return None
    mask = np.asarray((far > CORE * far.max()) * 255, np.uint8)  # nearly all of it differs: the strongest part of it
    mask[:2] = mask[-2:] = 0  # something must be outside
    mask[:, :2] = mask[:, -2:] = 0
    return mask if mask.any() else None


@dataclass(frozen=True)
class Edge:
    """Of one pair; `grain`: log2 of the patch's grain over its surroundings', under the light where it is farthest."""

    seam: float
    grain: float


def edge(pairs: Sequence[Pair], mask: Mask) -> Edge:
    """How steep the patch begins and how its grain compares: what a person can check with the eye."""
    numbers = np.array([_of_light(pair, mask)[:2] for pair in pairs])
    return Edge(float(numbers[:, 0].max()), float(max(numbers[:, 1], key=abs)))


def _of_light(pair: Pair, mask: Mask) -> list[float]:
    """Seam, grain in the middle and of the coarsest tenth, fine over coarse edges, how far the golden still shows
    through, and how uneven the change of the colour channels is."""
    inside, rim = mask > 0, cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    test, golden = luminance(pair.test), luminance(pair.golden)
    difference = np.abs(test - golden)
    slope = np.hypot(cv2.Sobel(difference, cv2.CV_32F, 1, 0), cv2.Sobel(difference, cv2.CV_32F, 0, 1)) / 8
    steepest = cv2.dilate(slope, np.ones((5, 5), np.uint8))  # the rim is known to a pixel or two only
    fine = np.abs(test - cv2.GaussianBlur(test, (0, 0), 1.0))
    grain = [
        _ratio(*some) for some in zip(np.percentile(fine[inside], (50, 90)), np.percentile(fine[~inside], (50, 90)))
    ]
    edges = np.hypot(cv2.Sobel(test, cv2.CV_32F, 1, 0), cv2.Sobel(test, cv2.CV_32F, 0, 1))
    sharp = _ratio(np.abs(cv2.Laplacian(test, cv2.CV_32F))[inside].mean(), edges[inside].mean())
    through = _correlation(test[inside], golden[inside])
    shifts = (pair.test[inside].mean(axis=0) + 4) / (pair.golden[inside].mean(axis=0) + 4)
    around = (pair.test[~inside].mean(axis=0) + 4) / (pair.golden[~inside].mean(axis=0) + 4)
    uneven = float(np.log2(shifts / around).std()) if pair.test.ndim == 3 else 0.0
    seam = float(steepest[rim].mean() / max(float(difference[inside].max()), 1.0))
    return [seam, *grain, sharp, through, uneven, through * uneven]


def _ratio(one: float, other: float) -> float:
    return float(np.log2((one + 0.1) / (other + 0.1)))


def _correlation(one: Values, other: Values) -> float:
    if len(one) < 3 or one.std() < 1e-3 or other.std() < 1e-3:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _shape(mask: Mask) -> list[float]:
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max(outlines, key=cv2.contourArea)
    _, _, width, height = cv2.boundingRect(largest)
    return [float(cv2.contourArea(largest)) / (width * height), float((mask > 0).mean()), abs(np.log(width / height))]


def _evened(pairs: Sequence[Pair], mask: Mask | None) -> list[Values]:
    """The test pictures as bright as their goldens are outside the patch: a lamp's age is no mark of a paste."""
    outside = np.ones(pairs[0].test.shape[:2], bool) if mask is None or (mask > 0).all() else mask == 0
    return [
        np.asarray(pair.test * ((pair.golden[outside].mean() + 4) / (pair.test[outside].mean() + 4)), np.float32)
        for pair in pairs
    ]


def _squares(pictures: Sequence[Values], points: npt.NDArray[np.int64]) -> Values:
    """(points, side x side x channels of all lights): little squares around (row, column)."""
    whole = np.concatenate([picture.reshape(*picture.shape[:2], -1) for picture in pictures], axis=2)
    half = _SIDE // 2
    padded = np.pad(whole, ((half, half), (half, half), (0, 0)), mode="reflect")
    steps = np.arange(_SIDE)
    rows = (points[:, 0, None] + steps)[:, :, None]
    columns = (points[:, 1, None] + steps)[:, None, :]
    return np.asarray(padded[rows, columns].reshape(len(points), _SIDE * _SIDE * whole.shape[2]), np.float32)


def _drawn(points: npt.NDArray[np.int64], count: int, rng: Rng) -> npt.NDArray[np.int64]:
    return points[rng.permutation(len(points))[:count]]


class Memory:
    """Little squares of real parts, and how far anything is from the nearest of them."""

    def __init__(self, parts: Sequence[tuple[int, Sequence[Pair], Mask | None]], rng: Rng) -> None:
        """`parts`: board, pictures, and the defect's patch where there is one."""
        owners: list[npt.NDArray[np.int64]] = []
        tables = []
        for board, pairs, mask in parts:
            everywhere = np.argwhere(np.ones(pairs[0].test.shape[:2], bool))
            points = _drawn(everywhere, _REMEMBERED, rng)
            if mask is not None:
                points = np.concatenate([points, _drawn(_wide(mask), _IN_DEFECT, rng)])
            tables.append(_squares(_evened(pairs, mask), points))
            owners.append(np.full(len(points), board))
        table, owner = np.concatenate(tables), np.concatenate(owners)
        some = np.sort(rng.permutation(len(table))[:_MOST])
        table, self.owner = table[some], owner[some]
        self.mean = table.mean(axis=0)
        _, axes = np.linalg.eigh(np.cov((table - self.mean).T))
        self.axes = np.asarray(axes[:, -_KEPT:], np.float32)
        self.known = np.asarray((table - self.mean) @ self.axes, np.float32)
        self.norms = (self.known**2).sum(axis=1)
        self.boards: dict[int, tuple[Values, Values]] = {}

    def away(self, squares: Values, board: int, beside: Values) -> tuple[Values, Values]:
        """(distance to the nearest square of `beside` or of another board than `board`, what no square is made of)."""
        inner, lengths, rest = self._told(squares)
        near, norms, _ = self._told(beside)
        others, other_norms = self._without(board)
        closest = [(known_norms - 2 * inner @ known.T).min(axis=1) for known, known_norms in
                   ((others, other_norms), (near, norms))]  # fmt: skip
        return np.sqrt(np.maximum(lengths + np.minimum(*closest), 0)), rest

    def _without(self, board: int) -> tuple[Values, Values]:
        """(squares of the other boards, their squared lengths); of all where there is no other."""
        if board not in self.boards:
            keep = self.owner != board
            keep = keep if keep.any() else np.ones(len(keep), bool)
            self.boards[board] = (self.known[keep], self.norms[keep])
        return self.boards[board]

    def _told(self, squares: Values) -> tuple[Values, Values, Values]:
        centred = squares - self.mean
        inner = np.asarray(centred @ self.axes, np.float32)
        lengths = (inner**2).sum(axis=1)
        rest = np.sqrt(np.maximum((centred**2).sum(axis=1) - lengths, 0))
        return inner, lengths, np.asarray(rest, np.float32)


def _wide(mask: Mask) -> npt.NDArray[np.int64]:
    return np.argwhere(cv2.dilate(mask, np.ones((_SIDE, _SIDE), np.uint8)) > 0)


def looks(pairs: Sequence[Pair], mask: Mask, memory: Memory, board: int, rng: Rng) -> list[float]:
    """Numbers that tell a real change from a paste. `board`: the part's own, whose squares do not count."""
    rim = np.argwhere(cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0)
    numbers = [value for pair in pairs for value in _of_light(pair, mask)] + _shape(mask)
    tests = _evened(pairs, mask)
    outside = np.argwhere(cv2.dilate(mask, np.ones((_SIDE + 4, _SIDE + 4), np.uint8)) == 0)
    everywhere = np.argwhere(np.ones(mask.shape, bool))
    beside = np.concatenate(
        [
            _squares(tests, _drawn(outside, _OWN, rng)),
            _squares([pair.golden for pair in pairs], _drawn(everywhere, _OWN, rng)),
        ]
    )
    for points in (_drawn(_wide(mask), _SQUARES, rng), _drawn(rim if len(rim) else _wide(mask), _RIM, rng)):
        for far in memory.away(_squares(tests, points), board, beside):
            numbers += [float(value) for value in np.percentile(far, _PERCENTILES)]
    return numbers
