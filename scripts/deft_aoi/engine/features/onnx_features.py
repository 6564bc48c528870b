"""The features engine as one ONNX model, from decoded pictures to the score: what `distances` and `head` compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deft_aoi.engine.features import distances
from deft_aoi.engine.features.head import LINEAR, TAIL, Head
from deft_aoi.engine.features.trunk import BLOCK, MODEL, OUTPUTS, STRIDES
from deft_aoi.engine.onnx_expr import Expr, Sheet, concat
from deft_aoi.engine.onnx_pair import Registered, batch, luminance, register_pair
from deft_aoi.spec.tree import Optics

OPSET = 18  # that of the trunk


def score_of(sheet: Sheet, pictures: Sequence[tuple[Expr, Expr]], head: Head, optics: Optics) -> Expr:
    """float32 (1,) from (test, golden) of each light."""
    pairs = [register_pair(test, golden, optics, grey=False) for test, golden in pictures]
    sides = [side for pair in pairs for side in (pair.test, pair.golden)]
    right, down = -optics.width % BLOCK, -optics.height % BLOCK
    images = batch(sides).pad([0, 0, 0, 0], [0, 0, down, right], "edge") if right or down else batch(sides)
    sheet.graph.node("Identity", [images.name], "image")
    sheet.include(MODEL.read_bytes())
    maps = [Expr(sheet, name, "float32") for name in OUTPUTS[: len(STRIDES)]]
    values = []
    for number, pair in enumerate(pairs):
        pixel = pool(pixel_maps(pair))
        trunk = [
            _stride(plane.take(2 * number), plane.take(2 * number + 1), stride, pair, optics)
            for plane, stride in zip(maps, STRIDES, strict=True)
        ]
        values.append(concat([part.reshape(-1) for part in (pixel, *trunk)], 0))
    return probability(_logit(values, head)).cast("float32").reshape(1)


def pixel_maps(pair: Registered) -> Expr:
    """(maps, h, w) of the part where the golden has pixels of its own, in the order of `map_names`."""
    test, golden = (_cropped(side, pair.rows, pair.columns) for side in (pair.test, pair.golden))
    fitted = _fit_light(golden, test)
    planes = []
    for reference, boxes in ((golden, distances.BOXES), (fitted, distances.TOLERANCE_BOXES[1:])):
        planes += _blurred(_largest((test - reference).apply("Abs")), boxes)
    for reference in (golden, fitted):
        for reach in distances.TOLERANCES:
            planes += _blurred(_tolerant(test, reference, reach), distances.TOLERANCE_BOXES)
    one, other = (luminance(side, grey=False) for side in (test, golden))
    return concat([*planes, *(_structure_loss(one, other, box) for box in distances.STRUCTURE_BOXES)], 0)


def _cropped(side: Expr, rows: tuple[Expr, Expr], columns: tuple[Expr, Expr]) -> Expr:
    return side.slice(1, *rows).slice(2, *columns)


def _largest(image: Expr) -> Expr:
    """(1, h, w) largest of three channels."""
    red, green, blue = (image.slice(0, number, number + 1) for number in range(3))
    return red.larger(green).larger(blue)


def _blurred(plane: Expr, boxes: Sequence[int]) -> list[Expr]:
    return [plane if box == 1 else _window(plane, "AveragePool", box, count_include_pad=1) for box in boxes]


def _window(planes: Expr, operator: str, side: int, **attributes: int) -> Expr:
    """A pooling of (channels, h, w) in square windows, of the same size."""
    zero = planes.sheet.constant([0], "int64")
    one = planes.sheet.call("Unsqueeze", [planes, zero])
    return one.apply(operator, kernel_shape=(side, side), pads=(side // 2,) * 4, **attributes).take(0)


def _fit_light(golden: Expr, test: Expr) -> Expr:
    pixels = (test.size(1) * test.size(2)).cast("float32")

    def mean_and_spread(image: Expr) -> tuple[Expr, Expr]:
        mean = image.sum(1, 2) / pixels
        apart = image - mean
        return mean, ((apart * apart).sum(1, 2) / pixels).apply("Sqrt")

    (mean_g, std_g), (mean_t, std_t) = mean_and_spread(golden), mean_and_spread(test)
    gain = ((std_t + 1.0) / (std_g + 1.0)).larger(0.5).smaller(2.0)
    return (golden - mean_g) * gain + mean_t


def _tolerant(test: Expr, golden: Expr, reach: int) -> Expr:
    def around(image: Expr) -> tuple[Expr, Expr]:
        return -_window(-image, "MaxPool", 2 * reach + 1), _window(image, "MaxPool", 2 * reach + 1)

    (low_t, high_t), (low_g, high_g) = around(test), around(golden)
    beyond = (test - high_g).larger(low_g - test).larger(golden - high_t).larger(low_t - golden)
    return _largest(beyond).larger(0.0)


def _structure_loss(test: Expr, golden: Expr, box: int) -> Expr:
    """(1, h, w)."""
    mean_t, mean_g = _box_mean(test, box), _box_mean(golden, box)
    moments = ((test, test, mean_t, mean_t), (golden, golden, mean_g, mean_g), (test, golden, mean_t, mean_g))
    var_t, var_g, both = (_box_mean(one * other, box) - m * n for one, other, m, n in moments)
    floor = distances.STRUCTURE_FLOOR
    loss = (1.0 - (both * 2.0 + floor) / (var_t + var_g + floor)).larger(0.0).smaller(2.0)
    return loss.sheet.call("Unsqueeze", [loss, loss.sheet.constant([0], "int64")])


def _box_mean(plane: Expr, box: int) -> Expr:
    """Of (h, w), mirrored at the rim; summed in float64, since squares of 255 leave float32 no digits."""
    sums = plane.cast("float64").pad([box // 2] * 2, [box // 2] * 2, "reflect")
    for axis in (0, 1):
        before = [0, 0]
        before[axis] = 1
        sums = sums.cumsum(axis).pad(before, [0, 0], "constant")
        sums = sums.slice(axis, box) - sums.slice(axis, 0, -box)
    return (sums / float(box * box)).cast("float32")


def _stride(test: Expr, golden: Expr, stride: int, pair: Registered, optics: Optics) -> Expr:
    """Pooled local minima of the trunk's maps of one stride."""
    reaches = [reach for step, reach in distances.TRUNK_REACH if step == stride]
    planes = _local_minima(test, golden, reaches, stride, optics)
    rows = _cells(pair.rows, stride, _length(optics.height, stride))
    columns = _cells(pair.columns, stride, _length(optics.width, stride))
    return pool(_cropped(planes, rows, columns))


def _length(pixels: int, stride: int) -> int:
    return (pixels + -pixels % BLOCK) // stride


def _cells(pixels: tuple[Expr, Expr], stride: int, length: int) -> tuple[Expr, Expr]:
    start, stop = (end.cast("float64") / float(stride) for end in pixels)
    first = start.apply("Ceil").smaller(float(length - 1))
    last = stop.apply("Floor").larger(first + 1.0).smaller(float(length))
    return first.cast("int64"), last.cast("int64")


def _local_minima(test: Expr, golden: Expr, reaches: Sequence[int], stride: int, optics: Optics) -> Expr:
    """(2 x reaches, h, w) as `distances.local_minima`."""
    height, width, frame = _length(optics.height, stride), _length(optics.width, stride), reaches[-1]
    forward: Expr | None = None
    backward: Expr | None = None
    found, done = [], -1
    wide = {side.name: side.pad([0, frame, frame], [0, frame, frame], "constant", 1e18) for side in (test, golden)}
    for reach in reaches:
        for down, right in distances.offsets(done, reach):
            for there in (True, False):
                still, other = (test, golden) if there else (golden, test)
                seen = wide[other.name].slice(1, frame + down, frame + down + height)
                gap = still - seen.slice(2, frame + right, frame + right + width)
                least = (gap * gap).sum(0)
                if there:
                    forward = least if forward is None else forward.smaller(least)
                else:
                    backward = least if backward is None else backward.smaller(least)
        done = reach
        assert forward is not None
        assert backward is not None
        found += [forward.apply("Sqrt"), forward.larger(backward).apply("Sqrt")]
    return concat(found, 0)


def pool(planes: Expr) -> Expr:
    """(maps, 5) of (maps, h, w): largest, mean of the largest 0.3, 2 and 10 %, mean."""
    flat = planes.sheet.call("Flatten", [planes], axis=1)
    size = flat.size(1).cast("float64")
    counts = [(size * share).apply("Round").larger(1.0) for share in distances.SHARES]
    most = counts[-1].cast("int64").reshape(1)
    top, places = flat.sheet.fresh(), flat.sheet.fresh()
    flat.sheet.graph.split("TopK", [flat.name, most.name], [top, places], axis=1, largest=1, sorted=1)
    sums = Expr(flat.sheet, top, "float32").cast("float64").cumsum(1)
    means = [sums.take((count - 1.0).cast("int64").reshape(1), 1) / count for count in counts]
    return concat([sums.slice(1, 0, 1), *means, flat.cast("float64").sum(1) / size], 1).cast("float32")


def _logit(values: Sequence[Expr], head: Head) -> Expr:
    logs = [(value.cast("float64").larger(0.0) + 1.0).apply("Log") for value in values]
    if len(logs) > 1:
        most = logs[0]
        for other in logs[1:]:
            most = most.larger(other)
        logs.append(most)
    scaled = (concat(logs, 0) - head.center) / head.scale
    return (scaled * head.weights).sum(0) + head.bias


def probability(logit: Expr) -> Expr:
    """`head.probabilities` of float64 logits."""
    size = logit.apply("Abs")
    tail = ((size - LINEAR).larger(0.0) / TAIL + 1.0).apply("Log") * TAIL
    squeezed = logit.apply("Sign") * (size.smaller(LINEAR) + tail)
    one = np.float64(1)
    return squeezed.sheet.constant(one, "float64") / ((-squeezed).apply("Exp") + one)
