"""How different is a test image from its golden: numbers that only grow with the difference.

Each number is a distance map pooled to its largest value, to the mean of its largest parts, or to its mean. No learned
part but the frozen trunk; the head that weighs them may only add them up, so more difference never lowers a score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.engine.features.trunk import STRIDES, Maps, Trunk
from deft_aoi.engine.images import Image, Pair, luminance

VERSION = 2
POOLS = ("max", "top0.3", "top2", "top10", "mean")
_SHARES = (0.003, 0.02, 0.1)
_BOXES = (1, 3, 5, 9)
_TOLERANCES = (1, 2)
_TOLERANCE_BOXES = (1, 3, 5)
_STRUCTURE_BOXES = (7, 11)
_STRUCTURE_FLOOR = 58.5  # (0.03 * 255)^2, the constant of the structural similarity index
_TRUNK_REACH = ((2, 1), (2, 2), (4, 1), (8, 1), (16, 0), (16, 1))  # (stride, cells that a match may be away)

Table = npt.NDArray[np.float32]


def map_names() -> list[str]:
    pixel = [f"abs_box{box}" for box in _BOXES]
    fitted = [f"fit_box{box}" for box in _TOLERANCE_BOXES[1:]]
    tolerant = [f"{kind}{r}_box{b}" for kind in ("tol", "fit_tol") for r in _TOLERANCES for b in _TOLERANCE_BOXES]
    structure = [f"structure{box}" for box in _STRUCTURE_BOXES]
    trunk = [f"stride{s}_reach{r}_{way}" for s, r in _TRUNK_REACH for way in ("test", "both")]
    return [*pixel, *fitted, *tolerant, *structure, *trunk]


def feature_names() -> list[str]:
    """Names of the numbers of one pair under one light, in order."""
    return [f"{name}.{pool}" for name in map_names() for pool in POOLS]


def pair_features(pairs: Sequence[Pair], trunk: Trunk) -> Table:
    """(n, len(feature_names())) of pairs that share one size."""
    pixel = [[pool(plane) for plane in pixel_maps(pair)] for pair in pairs]
    deep = trunk_pools(pairs, trunk)
    return np.array([np.concatenate([*a, *b]) for a, b in zip(pixel, deep, strict=True)], np.float32)


def pool(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Largest value, mean of the largest 0.3, 2 and 10 %, mean."""
    flat = plane.ravel()
    counts = [max(1, round(flat.size * share)) for share in _SHARES]
    top = np.sort(np.partition(flat, flat.size - counts[-1])[-counts[-1] :])
    return np.array([top[-1], *(top[-n:].mean() for n in counts), flat.mean()], np.float32)


def pixel_maps(pair: Pair) -> Iterator[npt.NDArray[np.float32]]:
    """Distance planes of the pixels where the moved golden is valid, in the order of `map_names`."""
    test = np.ascontiguousarray(pair.test[pair.rows, pair.columns])
    golden = np.ascontiguousarray(pair.golden[pair.rows, pair.columns])
    difference = np.abs(test - golden).max(2)
    for box in _BOXES:
        yield blur(difference, box)
    fitted = fit_light(golden, test)
    difference = np.abs(test - fitted).max(2)
    for box in _TOLERANCE_BOXES[1:]:
        yield blur(difference, box)
    for reference in (golden, fitted):
        for reach in _TOLERANCES:
            beyond = tolerant_difference(test, reference, reach)
            for box in _TOLERANCE_BOXES:
                yield blur(beyond, box)
    grey = luminance(test), luminance(golden)
    for box in _STRUCTURE_BOXES:
        yield structure_loss(*grey, box)


def blur(plane: npt.NDArray[np.float32], box: int) -> npt.NDArray[np.float32]:
    """Box mean; outside counts as no difference, so a line at the rim is not doubled."""
    if box == 1:
        return plane
    return np.asarray(cv2.blur(plane, (box, box), borderType=cv2.BORDER_CONSTANT), np.float32)


def fit_light(golden: Image, test: Image) -> Image:
    """Golden with gain and offset per channel matched to test by mean and deviation, gain within 0.5 to 2."""
    mean_g, mean_t = golden.mean((0, 1)), test.mean((0, 1))
    gain = np.clip((test.std((0, 1)) + 1) / (golden.std((0, 1)) + 1), 0.5, 2)
    return np.asarray((golden - mean_g) * gain + mean_t, np.float32)


def tolerant_difference(test: Image, golden: Image, reach: int) -> npt.NDArray[np.float32]:
    """How far each pixel lies outside the range of the other image's neighbourhood; both ways, largest channel.

    Zero where a displacement of up to `reach` pixels explains the difference.
    """
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    worst = np.zeros(test.shape[:2], np.float32)
    for one, other in ((test, golden), (golden, test)):
        high = cv2.dilate(other, kernel).reshape(other.shape)
        low = cv2.erode(other, kernel).reshape(other.shape)
        np.maximum(worst, np.maximum(one - high, low - one).max(2), out=worst)
    return worst


def structure_loss(test: npt.NDArray[np.float32], golden: npt.NDArray[np.float32], box: int) -> Image:
    """1 - the contrast and structure part of SSIM (Wang et al., 2004) in a box window: 0 for equal, to 2."""
    size = (box, box)
    mean_t, mean_g = cv2.blur(test, size), cv2.blur(golden, size)
    var_t = cv2.blur(test * test, size) - mean_t * mean_t
    var_g = cv2.blur(golden * golden, size) - mean_g * mean_g
    covariance = cv2.blur(test * golden, size) - mean_t * mean_g
    loss = 1 - (2 * covariance + _STRUCTURE_FLOOR) / (var_t + var_g + _STRUCTURE_FLOOR)
    return np.asarray(np.clip(loss, 0, 2), np.float32)


def trunk_pools(pairs: Sequence[Pair], trunk: Trunk) -> list[list[npt.NDArray[np.float32]]]:
    """Pooled local-minimum distances of the trunk's maps, one list a pair."""
    maps, _ = trunk([pair.test for pair in pairs] + [pair.golden for pair in pairs])
    by_stride = dict(zip(STRIDES, maps, strict=True))
    found: list[list[npt.NDArray[np.float32]]] = [[] for _ in pairs]
    for stride, reach in _TRUNK_REACH:
        test, golden = by_stride[stride][: len(pairs)], by_stride[stride][len(pairs) :]
        forward = local_minimum(test, golden, reach)
        both = np.maximum(forward, local_minimum(golden, test, reach))
        for index, pair in enumerate(pairs):
            cells = _cells(pair.rows, stride, forward.shape[1]), _cells(pair.columns, stride, forward.shape[2])
            found[index] += [pool(forward[index][cells]), pool(both[index][cells])]
    return found


def local_minimum(features: Maps, others: Maps, reach: int) -> npt.NDArray[np.float32]:
    """(n, h, w): distance of each cell to the most similar cell of `others` at most `reach` cells away."""
    height, width = features.shape[2:]
    padded = np.pad(others, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
    best = np.full((features.shape[0], height, width), np.inf, np.float32)
    for down in range(2 * reach + 1):
        for right in range(2 * reach + 1):
            gap = features - padded[:, :, down : down + height, right : right + width]
            gap *= gap
            np.minimum(best, gap.sum(1), out=best)
    return np.sqrt(best)


def _cells(pixels: slice, stride: int, length: int) -> slice:
    """Cells whose pixels all lie in the slice; at least one."""
    first = min(-(-pixels.start // stride), length - 1)
    return slice(first, min(max(pixels.stop // stride, first + 1), length))
