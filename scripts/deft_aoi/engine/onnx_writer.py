"""Just enough of ONNX's file format to write our models: no package needed, same model same bytes.

Field numbers are those of onnx.proto (ONNX, IR version 8). Protocol buffers: a field is its number and wire type as a
varint, then a varint, or a length and that many bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_IR_VERSION, OPSET = 8, 17
FLOAT, UINT8, INT64, DOUBLE = 1, 2, 7, 11
TYPES = {"float32": FLOAT, "uint8": UINT8, "int64": INT64, "float64": DOUBLE}
_ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 2, 3, 7
Attribute = int | str | Sequence[int]


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # negative numbers as two's complement of 64 bits
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _number(place: int, value: int) -> bytes:
    return _varint(place << 3) + _varint(value)


def _bytes(place: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(place << 3 | 2) + _varint(len(data)) + data


@dataclass
class Graph:
    """Nodes in order of computation, with their constants."""

    nodes: list[bytes] = field(default_factory=list)
    constants: list[bytes] = field(default_factory=list)

    def constant(self, name: str, value: npt.NDArray) -> str:
        tensor = b"".join(_number(1, size) for size in value.shape)
        tensor += _number(2, TYPES[value.dtype.name]) + _bytes(8, name)
        self.constants.append(_bytes(5, tensor + _bytes(9, np.ascontiguousarray(value).tobytes())))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Attribute) -> str:
        """Add one operation with one output; returns the output's name."""
        return self.split(operator, inputs, [output], **attributes)[0]

    def split(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Attribute
    ) -> Sequence[str]:
        """Add one operation with several outputs; returns their names."""
        data = b"".join(_bytes(1, name) for name in inputs)
        data += b"".join(_bytes(2, name) for name in outputs) + _bytes(4, operator)
        for name, value in attributes.items():
            data += _bytes(5, _attribute(name, value))
        self.nodes.append(_bytes(1, data))
        return outputs

    def model(
        self,
        inputs: Mapping[str, tuple[int, Sequence[int]]],
        output: str,
        metadata: Mapping[str, str],
        *,
        opset: int = OPSET,
    ) -> bytes:
        """The file. `inputs`: element type and sizes after the free first axis `n`, 0 for another free one; `output`:
        float (n,)."""
        described = b"".join(_bytes(11, _value(name, kind, sizes)) for name, (kind, sizes) in inputs.items())
        graph = b"".join(self.nodes) + _bytes(2, "pair_net") + b"".join(self.constants) + described
        graph += _bytes(12, _value(output, FLOAT, ()))
        notes = b"".join(_bytes(14, _bytes(1, name) + _bytes(2, text)) for name, text in sorted(metadata.items()))
        return _number(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _number(2, opset)) + notes


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, str):
        return _bytes(1, name) + _bytes(4, value) + _number(20, _ATTRIBUTE_STRING)
    if isinstance(value, int):
        return _bytes(1, name) + _number(3, value) + _number(20, _ATTRIBUTE_INT)
    return _bytes(1, name) + b"".join(_number(8, item) for item in value) + _number(20, _ATTRIBUTE_INTS)


def _value(name: str, kind: int, sizes: Sequence[int]) -> bytes:
    free = (_bytes(2, f"{name}_{axis}") for axis in range(1, len(sizes) + 1))
    known = (_number(1, size) if size else other for size, other in zip(sizes, free))
    dimensions = _bytes(1, _bytes(2, "n")) + b"".join(_bytes(1, size) for size in known)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, dimensions)))
