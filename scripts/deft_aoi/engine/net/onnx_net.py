"""The trained network without torch: written as ONNX next to its checkpoint, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deft_aoi.engine.net.pixels import Bytes, PixelTable
from deft_aoi.engine.onnx_writer import UINT8, Graph
from deft_aoi.engine.refusal import TaskError

_EPSILON = 1e-5  # torch's default in batch normalisation
_STRIDES = (2, 2, 2, 1)
_BACKWARDS = np.iinfo(np.int64).min
_CHUNK = 16
WEIGHTS_HASH = "weights_sha256"

Weights = Mapping[str, npt.NDArray[np.float32]]


def to_onnx(weights: Weights, planes: int, height: int, width: int, metadata: Mapping[str, str]) -> bytes:
    """Two uint8 images (n, planes, h, w), `test` and `golden`, to `logits` (n,): the mean over four views inside."""
    graph = Graph()
    x = _views(graph, _fused(graph), square=height == width)
    x = graph.node("Relu", [_convolution(graph, "stem", weights["stem.weight"], weights["stem.bias"], x, 1)], "stem_on")
    for number, stride in enumerate(_STRIDES):
        x = _block(graph, weights, f"blocks.{number}", x, stride)
    largest = graph.node("ReduceMax", [x], "largest", axes=(2, 3), keepdims=0)
    mean = graph.node("ReduceMean", [x], "mean", axes=(2, 3), keepdims=0)
    pooled = graph.node("Concat", [largest, mean], "pooled", axis=1)
    head = graph.constant("head_weight", np.ascontiguousarray(weights["head.weight"].T))
    each = graph.node("Add", [graph.node("MatMul", [pooled, head], "product"), _bias(graph, weights)], "each")
    by_view = graph.node("Reshape", [each, graph.constant("by_view", np.array([4, -1], np.int64))], "each_view")
    graph.node("ReduceMean", [by_view], "logits", axes=(0,), keepdims=0)
    image = (UINT8, (planes, height, width))
    return graph.model({"test": image, "golden": image}, "logits", metadata)


def _bias(graph: Graph, weights: Weights) -> str:
    return graph.constant("head_bias", weights["head.bias"])


def _fused(graph: Graph) -> str:
    full = graph.constant("full_scale", np.array(255, np.float32))
    scaled = [
        graph.node("Div", [graph.node("Cast", [name], f"{name}_float", to=1), full], f"{name}_scaled")
        for name in ("test", "golden")
    ]
    difference = graph.node("Abs", [graph.node("Sub", scaled, "signed")], "difference")
    return graph.node("Concat", [*scaled, difference], "fused", axis=1)


def _views(graph: Graph, x: str, *, square: bool) -> str:
    def flip(name: str, source: str, *axes: int) -> str:
        inputs = [
            graph.constant(f"{name}_{part}", np.array(values, np.int64))
            for part, values in (("from", [-1] * len(axes)), ("to", [_BACKWARDS] * len(axes)), ("axes", axes))
        ]
        step = graph.constant(f"{name}_step", np.array([-1] * len(axes), np.int64))
        return graph.node("Slice", [source, *inputs, step], name)

    if square:
        swapped = graph.node("Transpose", [x], "swapped", perm=(0, 1, 3, 2))
        others = [flip("quarter", swapped, 2), flip("half", x, 2, 3), flip("three_quarters", swapped, 3)]
    else:
        others = [flip("upside_down", x, 2), flip("mirrored", x, 3), flip("half", x, 2, 3)]
    return graph.node("Concat", [x, *others], "views", axis=0)


def _block(graph: Graph, weights: Weights, name: str, x: str, stride: int) -> str:
    first = _normed(graph, weights, f"{name}.first", x, stride)
    second = _normed(graph, weights, f"{name}.second", graph.node("Relu", [first], f"{name}.first_on"), 1)
    skip = _convolution(graph, f"{name}.skip", weights[f"{name}.skip.weight"], None, x, stride)
    return graph.node("Relu", [graph.node("Add", [second, skip], f"{name}.sum")], f"{name}.on")


def _normed(graph: Graph, weights: Weights, name: str, x: str, stride: int) -> str:
    """A convolution with its batch normalisation folded in."""
    norm = {part: weights[f"{name}_norm.{part}"].astype(np.float64) for part in ("weight", "bias")}
    mean, variance = (weights[f"{name}_norm.running_{part}"].astype(np.float64) for part in ("mean", "var"))
    gain = norm["weight"] / np.sqrt(variance + _EPSILON)
    kernel = (weights[f"{name}.weight"] * gain[:, None, None, None]).astype(np.float32)
    return _convolution(graph, name, kernel, (norm["bias"] - mean * gain).astype(np.float32), x, stride)


def _convolution(
    graph: Graph, name: str, kernel: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None, x: str, stride: int
) -> str:
    side = kernel.shape[-1]
    inputs = [x, graph.constant(f"{name}.kernel", kernel)]
    if bias is not None:
        inputs.append(graph.constant(f"{name}.offset", bias))
    pad = side // 2
    return graph.node(
        "Conv", inputs, f"{name}.out", kernel_shape=(side, side), strides=(stride, stride), pads=(pad,) * 4
    )


def onnx_logits(path: Path, model: bytes, weights_hash: str, table: PixelTable) -> npt.NDArray[np.float64]:
    """(n,) logits by ONNX Runtime of the checked bytes of `path`.

    Raises TaskError where the file was written for another checkpoint.
    """
    return logits_of(open_session(path, model, weights_hash), len(table), table.read)


def open_session(path: Path, model: bytes, weights_hash: str) -> Any:
    """ONNX Runtime's session of the checked bytes of `path`; raises TaskError where they are another checkpoint's."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    if session.get_modelmeta().custom_metadata_map.get(WEIGHTS_HASH) != weights_hash:
        raise TaskError(f"{path}: was written for another checkpoint; copy the .onnx that came with the .pth")
    return session


def logits_of(session: Any, count: int, read: Callable[[slice], Bytes]) -> npt.NDArray[np.float64]:
    """(count,) logits of the pixels that `read` gives for a slice of rows, (n, 2, planes, height, width)."""
    fixed = session.get_inputs()[0].shape[0]
    chunk = fixed if isinstance(fixed, int) else _CHUNK
    parts = []
    for start in range(0, count, chunk):
        pixels = read(slice(start, start + chunk))
        pair = {"test": np.ascontiguousarray(pixels[:, 0]), "golden": np.ascontiguousarray(pixels[:, 1])}
        parts.append(session.run(["logits"], pair)[0])
    return np.concatenate(parts).astype(np.float64)
