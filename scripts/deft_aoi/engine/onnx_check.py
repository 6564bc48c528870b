"""Is an ONNX file plain arithmetic on tensors of its own? Read from its bytes before any runtime loads it.

ONNX is a protocol buffer. Only what matters here is looked at: no operator outside the standard domain (custom ones
come from libraries), no tensor kept in another file, no loop and no training part.
"""

from __future__ import annotations

from collections.abc import Iterator

from deft_aoi.engine.refusal import TaskError

MAX_BYTES = 1 << 31  # a protocol buffer's own limit
_STANDARD = (b"", b"ai.onnx")
_LOOPS = (b"Loop", b"Scan")
# Field numbers of onnx.proto: ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto, OperatorSetIdProto.
_GRAPH, _OPSETS, _TRAINING, _FUNCTIONS = 7, 8, 20, 25
_NODES, _INITIALIZERS, _SPARSE = 1, 5, 15
_OPERATOR, _ATTRIBUTES, _DOMAIN = 4, 5, 7
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS = 5, 6, 10, 11
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_OPSET_DOMAIN = 1
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


def check_onnx(data: bytes, name: str) -> None:
    """Raises TaskError, with the reason, where a model is damaged or asks for more than arithmetic."""
    try:
        problem = _model_problem(memoryview(data)) if len(data) < MAX_BYTES else "larger than 2 GB"
    except (IndexError, ValueError) as error:
        problem = f"no ONNX model ({error})"
    if problem:
        raise TaskError(f"{name}: {problem}; copy the .onnx that came with the checkpoint, or train again")


def _model_problem(model: memoryview) -> str | None:
    graphs = 0
    for number, value in fields(model):
        if number in (_TRAINING, _FUNCTIONS):
            return "a part that no inference needs (training or functions)"
        if number == _OPSETS and not all(_text(v) in _STANDARD for n, v in fields(_sub(value)) if n == _OPSET_DOMAIN):
            return "operators outside the ONNX standard"
        if number == _GRAPH:
            graphs += 1
            if problem := _graph_problem(_sub(value)):
                return problem
    return None if graphs == 1 else "no graph"


def _graph_problem(graph: memoryview) -> str | None:
    for number, value in fields(graph):
        if number == _SPARSE:
            return "sparse tensors"
        if number == _INITIALIZERS and _is_external(_sub(value)):
            return "a tensor that is kept in another file"
        if number == _NODES and (problem := _node_problem(_sub(value))):
            return problem
    return None


def _node_problem(node: memoryview) -> str | None:
    for number, value in fields(node):
        if number == _DOMAIN and _text(value) not in _STANDARD:
            return "an operator outside the ONNX standard"
        if number == _OPERATOR and _text(value) in _LOOPS:
            return "a loop"
        if number != _ATTRIBUTES:
            continue
        for part, inner in fields(_sub(value)):
            if part in (_SUBGRAPH, _SUBGRAPHS) and (problem := _graph_problem(_sub(inner))):
                return problem
            if part in (_TENSOR, _TENSORS) and _is_external(_sub(inner)):
                return "a tensor that is kept in another file"
    return None


def _is_external(tensor: memoryview) -> bool:
    return any(number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value) for number, value in fields(tensor))


def _sub(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _text(value: int | memoryview) -> bytes:
    return bytes(_sub(value))


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of a message; raises ValueError or IndexError where the bytes are none."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {kind}")
        if number == 0 or at + size > len(data):
            raise ValueError("cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
