"""Bringing a pair of pictures to size and registering them, as an ONNX graph: :mod:`deft_aoi.engine.images` again.

Pictures come in as they are decoded, (h, w, 3) RGB of 8 bits, grey ones with three equal channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deft_aoi.engine.images import PIXEL_COST, REACH, REACH_COST, SUBPIXEL
from deft_aoi.engine.onnx_expr import Expr, concat
from deft_aoi.spec.tree import Optics

_SLIVER = 1e-3  # of a pixel: OpenCV leaves smaller shares out
_ONE = 2048  # weight 1 of OpenCV's linear interpolation of bytes
_GREY = (0.299, 0.587, 0.114)
_GREY_BYTES = (9798, 19235, 3735)  # the same for bytes, of 1 << 15


@dataclass(frozen=True)
class Registered:
    """Test and moved golden, float32 (channels, h, w); rows and columns [first, last) where the golden has pixels of
    its own, int64 ()."""

    test: Expr
    golden: Expr
    rows: tuple[Expr, Expr]
    columns: tuple[Expr, Expr]


def register_pair(test: Expr, golden: Expr, optics: Optics, *, grey: bool) -> Registered:
    """`grey`: bring the pictures to one channel first."""
    sides = [resize(channels(side, grey=grey), optics) for side in (test, golden)]
    light = [luminance(side, grey=grey) for side in sides]
    dx, dy = shift(light[1], light[0], optics)
    return Registered(
        sides[0], translate(sides[1], dx, dy, optics), _covered(optics.height, dy), _covered(optics.width, dx)
    )


def channels(picture: Expr, *, grey: bool) -> Expr:
    """float32 (3, h, w), or (1, h, w)."""
    planes = picture.cast("float32").transpose(2, 0, 1)
    if not grey:
        return planes
    whole = (planes.cast("float64") * np.reshape(_GREY_BYTES, (3, 1, 1))).sum(0)
    return ((whole + (1 << 14)) / (1 << 15)).apply("Floor").cast("float32")


def luminance(planes: Expr, *, grey: bool) -> Expr:
    """(h, w) of (1, h, w) or RGB (3, h, w)."""
    if grey:
        return planes.take(0)
    red, green, blue = (planes.take(number) * weight for number, weight in enumerate(_GREY))
    return red + green + blue


def resize(planes: Expr, optics: Optics) -> Expr:
    """To the size of the spec: area average when shrinking, linear when growing, as OpenCV rounds both."""
    height, width = (planes.size(axis).cast("float64") for axis in (1, 2))
    shrinks = (height * width).above(optics.width * optics.height)
    both = shrinks & height.above(optics.height - 1) & width.above(optics.width - 1)
    rows, columns = height / optics.height, width / optics.width
    mean = _area(planes, height, width, rows, columns, optics)
    return both.where(mean, _linear(planes, height, width, rows, columns, shrinks, optics))


def _area(planes: Expr, height: Expr, width: Expr, rows: Expr, columns: Expr, optics: Optics) -> Expr:
    blocks = rows.equals(rows.apply("Round")) & columns.equals(columns.apply("Round"))  # of whole pixels: summed first
    across, down = (
        (_shares(count, length, scale) / blocks.where(scale * 0.0 + 1.0, scale)).cast("float32")
        for count, length, scale in ((optics.width, width, columns), (optics.height, height, rows))
    )
    part = (blocks.where(rows * 0.0 + 1.0, rows * columns) / (rows * columns)).cast("float32")
    mean = down @ (planes @ across.transpose(1, 0)) * part
    halves = rows.equals(2.0) & columns.equals(2.0)  # OpenCV's own way for blocks of 2 x 2 rounds up
    return halves.where((mean + 0.5).apply("Floor"), mean.apply("Round"))


def _shares(count: int, length: Expr, scale: Expr) -> Expr:
    """float64 (count, length): how much of each pixel is in each cell."""
    cells, pixels = length.sheet.range(count).reshape(-1, 1), length.sheet.range(length).reshape(1, -1)
    first, last = cells * scale, (cells + 1.0) * scale
    common = last.smaller(pixels + 1.0) - first.larger(pixels)
    return common.above(_SLIVER).where(common, common * 0.0)


def _linear(planes: Expr, height: Expr, width: Expr, rows: Expr, columns: Expr, shrinks: Expr, optics: Optics) -> Expr:
    left, right = _neighbours(optics.width, width, columns, shrinks, rim=True)
    top, bottom = _neighbours(optics.height, height, rows, shrinks, rim=False)
    across = planes.take(left.place, 2) * left.weight + planes.take(right.place, 2) * right.weight
    sixteenth = (across / 16.0).apply("Floor").cast("float64")
    parts = [
        (sixteenth.take(side.place, 1) * side.weight.cast("float64").reshape(-1, 1) / 65536.0).apply("Floor")
        for side in (top, bottom)
    ]
    return ((parts[0] + parts[1] + 2.0) / 4.0).apply("Floor").cast("float32")


@dataclass(frozen=True)
class _Side:
    """One of the two pixels that a new one is between: its place, int64 (count,), and its weight of 2048."""

    place: Expr
    weight: Expr


def _neighbours(count: int, length: Expr, scale: Expr, shrinks: Expr, *, rim: bool) -> tuple[_Side, _Side]:
    """`rim`: a pixel beyond the rim weighs nothing; else the rim's own replaces it."""
    at = length.sheet.range(count)
    middle = ((at + 0.5) * scale - 0.5).cast("float32").cast("float64")
    whole = middle.apply("Floor")
    inside = (at * scale).apply("Floor")  # where the other axis shrinks, OpenCV counts by the cells' edges
    edge = ((at + 1.0) - (inside + 1.0) / scale).cast("float32").cast("float64")
    place = shrinks.where(inside, whole)
    rest = shrinks.where(edge.above(0).where(edge - edge.apply("Floor"), edge * 0.0), middle - whole)
    last = length - 1.0
    if rim:
        rest = place.below(0).where(rest * 0.0, rest) * place.below(last).cast("float64")
    sides = ((place, 1.0 - rest), (place + 1.0, rest))
    first, second = (
        _Side(p.larger(0).smaller(last).cast("int64"), (w * float(_ONE)).apply("Round").cast("float32"))
        for p, w in sides
    )
    return first, second


def shift(golden: Expr, test: Expr, optics: Optics) -> tuple[Expr, Expr]:
    """(dx, dy) of golden, float64 ()."""
    surface, reach = _difference_surface(golden, test, optics)
    side = 2 * reach + 1
    offsets = np.arange(-reach, reach + 1)
    far = np.hypot(offsets[:, None], offsets[None, :]).reshape(-1)
    still = surface.take(reach * side + reach)
    cost = surface + still * (REACH_COST * far / max(reach, 1)) + golden.sheet.constant(PIXEL_COST * far, "float64")
    best = cost.apply("ArgMin", axis=0, keepdims=0)
    best = Expr(best.sheet, best.name, "int64").cast("float64")
    row = (best / float(side)).apply("Floor")
    column = best - row * float(side)
    whole = (column - float(reach), row - float(reach))
    inner = row.above(0) & row.below(2 * reach) & column.above(0) & column.below(2 * reach)
    fine = (whole[0] + _vertex(surface, best, 1, side), whole[1] + _vertex(surface, best, side, side))
    gain = _difference(golden, test, fine, optics).below(_difference(golden, test, whole, optics) - 1e-4)
    keep = inner & gain
    return keep.where(fine[0], whole[0]), keep.where(fine[1], whole[1])


def _difference_surface(golden: Expr, test: Expr, optics: Optics) -> tuple[Expr, int]:
    reach = min(REACH, optics.height // 4, optics.width // 4)
    pixels = float(optics.height * optics.width)
    first, second = (side - side.sum(0, 1) / pixels for side in (golden, test))

    def against(wide: Expr, narrow: Expr) -> Expr:
        big = wide.pad([reach, reach], [reach, reach], "edge").reshape(1, 1, optics.height + 2 * reach, -1)
        small = narrow.reshape(1, 1, optics.height, optics.width)
        common = big.sheet.call("Conv", [big, small]).cast("float64") / pixels
        around = (big * big).apply("AveragePool", kernel_shape=(optics.height, optics.width)).cast("float64")
        own = (small * small).cast("float64").sum(0, 1, 2, 3) / pixels
        return around + own - common * 2.0

    worse = against(first, second).flip(2, 3).larger(against(second, first))
    return worse.larger(0).reshape(-1), reach


def _vertex(surface: Expr, best: Expr, step: int, side: int) -> Expr:
    def value(offset: int) -> Expr:
        return surface.take((best + float(offset)).larger(0).smaller(float(side * side - 1)).cast("int64"))

    low, middle, high = value(-step), value(0), value(step)
    curve = low - middle * 2.0 + high
    some = curve.above(1e-9)
    place = ((low - high) * 0.5 / some.where(curve, curve * 0.0 + 1.0)).larger(-0.5).smaller(0.5)
    return some.where((place * float(SUBPIXEL)).apply("Round") / float(SUBPIXEL), curve * 0.0)


def _difference(golden: Expr, test: Expr, move: tuple[Expr, Expr], optics: Optics) -> Expr:
    moved = translate(golden.reshape(1, optics.height, optics.width), *move, optics).take(0)
    return (moved - test).apply("Abs").cast("float64").sum(0, 1).reshape(1).take(0) / float(
        optics.height * optics.width
    )


def translate(planes: Expr, dx: Expr, dy: Expr, optics: Optics) -> Expr:
    """(channels, h, w) moved right by dx and down by dy; linear, the edge repeated."""
    for axis, move, length in ((1, dy, optics.height), (2, dx, optics.width)):
        at = planes.sheet.range(length) - move
        whole = at.apply("Floor")
        rest = (at - whole).cast("float32")
        weight = rest.reshape(-1, 1) if axis == 1 else rest
        near, next_one = (
            planes.take((whole + step).larger(0).smaller(float(length - 1)).cast("int64"), axis) for step in (0.0, 1.0)
        )
        planes = near * (1.0 - weight) + next_one * weight
    return planes


def _covered(length: int, move: Expr) -> tuple[Expr, Expr]:
    first = move.apply("Ceil").larger(0).cast("int64")
    return first, (move.apply("Floor").smaller(0.0) + float(length)).cast("int64")


def as_bytes(pair: Registered) -> tuple[Expr, Expr]:
    """Test and golden, uint8 (1, channels, h, w), as a network takes them."""
    whole = [side.apply("Round").larger(0).smaller(255.0).cast("uint8") for side in (pair.test, pair.golden)]
    one, other = (side.sheet.call("Unsqueeze", [side, side.sheet.constant([0], "int64")]) for side in whole)
    return one, other


def batch(sides: list[Expr]) -> Expr:
    """(n, channels, h, w) of n sides."""
    zero = sides[0].sheet.constant([0], "int64")
    return concat([side.sheet.call("Unsqueeze", [side, zero]) for side in sides], 0)
