"""How different is a test image from its golden: numbers that only grow with the difference.

Each number is a distance map pooled to its largest value, to the mean of its largest parts, or to its mean. No learned
part but the frozen trunk; the head that weighs them may only add them up, so more difference never lowers a score.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.engine.features.trunk import STRIDES, Maps, Trunk
from deft_aoi.engine.images import Image, Pair, luminance

VERSION = 2
POOLS = ("max", "top0.3", "top2", "top10", "mean")
SHARES = (0.003, 0.02, 0.1)
BOXES = (1, 3, 5, 9)
TOLERANCES = (1, 2)
TOLERANCE_BOXES = (1, 3, 5)
STRUCTURE_BOXES = (7, 11)
STRUCTURE_FLOOR = 58.5  # (0.03 * 255)^2, the constant of the structural similarity index
_TOGETHER = 2  # pairs that go through the trunk together: more leave the processor's cache
_NOWHERE = 1e18  # stands for a cell beyond the rim: its square is finite, and no distance reaches it
TRUNK_REACH = ((2, 1), (2, 2), (4, 1), (8, 1), (16, 0), (16, 1))  # (stride, cells that a match may be away)

Table = npt.NDArray[np.float32]


def map_names() -> list[str]:
    pixel = [f"abs_box{box}" for box in BOXES]
    fitted = [f"fit_box{box}" for box in TOLERANCE_BOXES[1:]]
    tolerant = [f"{kind}{r}_box{b}" for kind in ("tol", "fit_tol") for r in TOLERANCES for b in TOLERANCE_BOXES]
    structure = [f"structure{box}" for box in STRUCTURE_BOXES]
    trunk = [f"stride{s}_reach{r}_{way}" for s, r in TRUNK_REACH for way in ("test", "both")]
    return [*pixel, *fitted, *tolerant, *structure, *trunk]


def feature_names() -> list[str]:
    """Names of the numbers of one pair under one light, in order."""
    return [f"{name}.{pool}" for name in map_names() for pool in POOLS]


def pair_features(pairs: Sequence[Pair], trunk: Trunk) -> Table:
    """(n, len(feature_names())) of pairs that share one size."""
    return measure(pairs, trunk)[0]


def measure(pairs: Sequence[Pair], trunk: Trunk) -> tuple[Table, Table]:
    """:func:`pair_features`, and the trunk's embedding of each test image, which comes with its maps."""
    scratch = _scratch()
    rows, embeddings = [], []
    for first in range(0, len(pairs), _TOGETHER):
        some = pairs[first : first + _TOGETHER]
        maps, vectors = trunk([pair.test for pair in some] + [pair.golden for pair in some])
        embeddings.append(vectors[: len(some)])
        for number, pair in enumerate(some):
            scratch.rewind()
            pixel = pool(pixel_maps(pair, scratch))
            sides = [(plane[number], plane[len(some) + number]) for plane in maps]
            rows.append(np.concatenate([pixel.ravel(), *trunk_pools(pair, sides, scratch)]))
    return np.array(rows, np.float32), np.concatenate(embeddings)


class Scratch:
    """Float32 work space that is taken in the same order for every pair and used again for the next.

    Memory that comes fresh from the system and goes back to it costs many times what the arithmetic in it costs.
    """

    def __init__(self) -> None:
        self._blocks: list[Table] = []
        self._next = 0

    def rewind(self) -> None:
        self._next = 0

    def take(self, *shape: int) -> Table:
        """A contiguous array of that shape, its content undefined."""
        size = math.prod(shape)
        if self._next == len(self._blocks):
            self._blocks.append(np.empty(0, np.float32))
        if self._blocks[self._next].size < size:
            self._blocks[self._next] = np.empty(size, np.float32)
        self._next += 1
        return self._blocks[self._next - 1][:size].reshape(shape)


_by_thread = threading.local()


def _scratch() -> Scratch:
    """This thread's own: pairs are measured in parallel."""
    if not hasattr(_by_thread, "scratch"):
        _by_thread.scratch = Scratch()
    found: Scratch = _by_thread.scratch
    return found


def pool(planes: Table) -> Table:
    """(maps, 5) of (maps, ...): largest value, mean of the largest 0.3, 2 and 10 %, mean. The planes are reordered."""
    flat = planes.reshape(len(planes), -1)
    size = flat.shape[1]
    counts = [max(1, round(size * share)) for share in SHARES]
    mean = flat.mean(1)
    flat.partition(size - counts[-1], axis=1)
    top = np.sort(flat[:, size - counts[-1] :], axis=1)
    return np.stack([top[:, -1], *(top[:, -count:].mean(1) for count in counts), mean], 1)


def pixel_maps(pair: Pair, scratch: Scratch) -> Table:
    """(maps, h, w): distance planes of the pixels where the moved golden is valid, in the order of `map_names`."""
    sides = [side[pair.rows, pair.columns] for side in (pair.test, pair.golden)]
    height, width, channels = sides[0].shape
    test, golden, fitted, gap, low, high = (scratch.take(height, width, channels) for _ in range(6))
    np.copyto(test, sides[0])
    np.copyto(golden, sides[1])
    fit_light(golden, test, fitted)
    count = len(BOXES) + len(TOLERANCE_BOXES) - 1 + 2 * len(TOLERANCES) * len(TOLERANCE_BOXES)
    planes = scratch.take(count + len(STRUCTURE_BOXES), height, width)
    at = 0
    plain = scratch.take(height, width)
    for reference, boxes in ((golden, BOXES), (fitted, TOLERANCE_BOXES[1:])):
        cv2.absdiff(test, reference, dst=gap)
        largest(gap, plain)
        at = _blurred(plain, boxes, planes, at)
    ranges = {reach: _range(test, reach, scratch) for reach in TOLERANCES}
    for reference in (golden, fitted):
        for reach in TOLERANCES:
            _range(reference, reach, scratch, low, high)
            tolerant_difference(test, reference, ranges[reach], (low, high), gap, plain)
            at = _blurred(plain, TOLERANCE_BOXES, planes, at)
    structure_losses(luminance(test), luminance(golden), planes[at:], scratch)
    return planes


def _blurred(plane: Table, boxes: Sequence[int], planes: Table, at: int) -> int:
    """Box means of a plane into `planes` from `at`; what comes next. Outside counts as no difference, so a line at the
    rim is not doubled."""
    for number, box in enumerate(boxes, at):
        if box == 1:
            np.copyto(planes[number], plane)
        else:
            cv2.blur(plane, (box, box), dst=planes[number], borderType=cv2.BORDER_CONSTANT)
    return at + len(boxes)


def largest(image: Table, into: Table) -> None:
    """(h, w) largest channel of (h, w, c)."""
    np.copyto(into, image[..., 0])
    for channel in range(1, image.shape[2]):
        np.maximum(into, image[..., channel], out=into)


def fit_light(golden: Table, test: Table, into: Table) -> None:
    """Golden with gain and offset per channel matched to test by mean and deviation, gain within 0.5 to 2."""
    (mean_g, std_g), (mean_t, std_t) = (_mean_and_spread(side, into) for side in (golden, test))
    gain = np.clip((std_t + 1) / (std_g + 1), 0.5, 2)
    rows = into.reshape(len(into), -1)  # whole rows at a time: three channels are too short a loop
    np.subtract(golden.reshape(rows.shape), np.tile(mean_g, golden.shape[1]), out=rows)
    rows *= np.tile(gain, golden.shape[1])
    rows += np.tile(mean_t, golden.shape[1])


def _mean_and_spread(image: Table, work: Table) -> tuple[Table, Table]:
    """Mean and standard deviation of each channel; `work` has the image's shape and is overwritten."""
    count = np.float32(image.shape[0] * image.shape[1])
    mean = _sums(image) / count
    rows = work.reshape(len(work), -1)
    np.subtract(image.reshape(rows.shape), np.tile(mean, image.shape[1]), out=rows)
    rows *= rows
    return mean, np.sqrt(_sums(work) / count)


def _sums(image: Table) -> Table:
    """Sum of each channel as float32; the order of the additions, and so the last digit, is numpy's."""
    if image.shape[2] == 1:
        return np.asarray(np.add.reduce(image, (0, 1)))
    return np.asarray(cv2.reduce(image.reshape(-1, image.shape[2]), 0, cv2.REDUCE_SUM)[0], np.float32)


def _range(
    image: Table, reach: int, scratch: Scratch, low: Table | None = None, high: Table | None = None
) -> tuple[Table, Table]:
    """Least and largest value within `reach` pixels of each."""
    low, high = (scratch.take(*image.shape) if part is None else part for part in (low, high))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    cv2.erode(image, kernel, dst=low)
    cv2.dilate(image, kernel, dst=high)
    return low, high


def tolerant_difference(
    test: Table,
    golden: Table,
    around_test: tuple[Table, Table],
    around_golden: tuple[Table, Table],
    gap: Table,
    into: Table,
) -> None:
    """How far each pixel is outside the range of the other image's neighbourhood; both ways, largest channel.

    Zero where a displacement within that neighbourhood explains the difference. The ranges around golden are used up.
    """
    low, high = around_golden
    np.subtract(test, high, out=high)
    np.subtract(low, test, out=low)
    np.maximum(low, high, out=high)
    low_test, high_test = around_test
    np.maximum(high, np.subtract(golden, high_test, out=gap), out=high)
    np.maximum(high, np.subtract(low_test, golden, out=gap), out=high)
    largest(high, into)
    np.maximum(into, 0, out=into)


def structure_losses(test: Image, golden: Image, into: Table, scratch: Scratch) -> None:
    """1 - the contrast and structure part of SSIM (Wang et al., 2004) in box windows: 0 for equal, to 2."""
    products = [(test, test), (golden, golden), (test, golden)]
    squares = [np.multiply(one, other, out=scratch.take(*test.shape)) for one, other in products]
    mean_t, mean_g, var_t, var_g, covariance, part = (scratch.take(*test.shape) for _ in range(6))
    for number, box in enumerate(STRUCTURE_BOXES):
        size = (box, box)
        cv2.blur(test, size, dst=mean_t)
        cv2.blur(golden, size, dst=mean_g)
        for square, one, other, moment in zip(
            squares, (mean_t, mean_g, mean_t), (mean_t, mean_g, mean_g), (var_t, var_g, covariance), strict=True
        ):
            cv2.blur(square, size, dst=moment)
            np.subtract(moment, np.multiply(one, other, out=part), out=moment)
        covariance *= 2
        covariance += STRUCTURE_FLOOR
        np.add(var_t, var_g, out=var_t)
        var_t += STRUCTURE_FLOOR
        np.subtract(1, np.divide(covariance, var_t, out=part), out=part)
        np.clip(part, 0, 2, out=into[number])


def trunk_pools(pair: Pair, sides: Sequence[tuple[Maps, Maps]], scratch: Scratch) -> list[Table]:
    """Pooled local-minimum distances of the trunk's maps of test and golden, one (c, h, w) each for every stride."""
    found = []
    for stride, (test, golden) in zip(STRIDES, sides, strict=True):
        reaches = [reach for step, reach in TRUNK_REACH if step == stride]
        planes = local_minima(test, golden, reaches, scratch)
        rows = _cells(pair.rows, stride, test.shape[1])
        columns = _cells(pair.columns, stride, test.shape[2])
        found.append(pool(planes[:, rows, columns].copy()).ravel())
    return found


def local_minima(test: Maps, golden: Maps, reaches: Sequence[int], scratch: Scratch) -> Table:
    """(2 x reaches, h, w): for each reach, ascending, the distance of each test cell to the most similar golden cell at
    most `reach` cells away, and the larger of that and of the same from golden to test.

    A distance between two cells serves both ways and every reach that holds it, so it is computed once. Both maps are
    laid into a wider frame, where a shift is one offset into the flat map, and rows need no loop.
    """
    channels, height, width = test.shape
    frame = reaches[-1]
    pitch, lines = width + 2 * frame, height + 2 * frame
    framed = [scratch.take(channels, lines, pitch) for _ in range(2)]
    for wide, side in zip(framed, (test, golden), strict=True):
        wide.fill(_NOWHERE)
        wide[:, frame : frame + height, frame : frame + width] = side
    flat_test, flat_golden = (wide.reshape(channels, -1) for wide in framed)
    first = frame * pitch + frame
    length = (height - 1) * pitch + width
    gap, least = scratch.take(channels, length), scratch.take(length)
    forward, backward = scratch.take(lines * pitch), scratch.take(lines * pitch)
    forward.fill(np.inf)
    backward.fill(np.inf)
    found = scratch.take(2 * len(reaches), height, width)
    done = -1
    for number, reach in enumerate(reaches):
        for down, right in offsets(done, reach):
            start = first + down * pitch + right
            np.subtract(flat_test[:, first : first + length], flat_golden[:, start : start + length], out=gap)
            np.add.reduce(np.multiply(gap, gap, out=gap), 0, out=least)
            for nearest, place in ((forward, first), (backward, start)):
                part = nearest[place : place + length]
                np.minimum(part, least, out=part)
        done = reach
        there, back = (
            nearest.reshape(lines, pitch)[frame : frame + height, frame : frame + width]
            for nearest in (forward, backward)
        )
        np.sqrt(there, out=found[2 * number])
        np.sqrt(np.maximum(there, back), out=found[2 * number + 1])
    return found


def offsets(inner: int, outer: int) -> list[tuple[int, int]]:
    """Steps (down, right) of at most `outer` cells on either axis, but not of at most `inner`."""
    steps = range(-outer, outer + 1)
    return [(down, right) for down in steps for right in steps if max(abs(down), abs(right)) > inner]


def _cells(pixels: slice, stride: int, length: int) -> slice:
    """Cells whose pixels all are in the slice; at least one."""
    first = min(-(-pixels.start // stride), length - 1)
    return slice(first, min(max(pixels.stop // stride, first + 1), length))
