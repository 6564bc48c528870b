"""Arithmetic on named tensors that becomes nodes of an ONNX graph, so that models read like the formulas they follow.

Only operators that are the same in opset 17 and 18 are here: a graph may hold another model of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from deft_aoi.engine.onnx_check import fields
from deft_aoi.engine.onnx_writer import TYPES, Attribute, Graph

_GRAPH, _NODES, _INITIALIZERS = 7, 1, 5  # field numbers of ModelProto and GraphProto
_END = np.iinfo(np.int64).max
Number = int | float | Sequence[int] | npt.NDArray


@dataclass
class Sheet:
    """A graph under construction; every tensor gets a name of its own."""

    graph: Graph = field(default_factory=Graph)
    count: int = 0

    def fresh(self) -> str:
        self.count += 1
        return f"deft.{self.count}"

    def constant(self, value: Number, kind: str) -> Expr:
        return Expr(self, self.graph.constant(self.fresh(), np.asarray(value, kind)), kind)

    def call(self, operator: str, inputs: Sequence[Expr], kind: str | None = None, **attributes: Attribute) -> Expr:
        """One operation; the result has the kind of the first input unless given."""
        output = self.graph.node(operator, [one.name for one in inputs], self.fresh(), **attributes)
        return Expr(self, output, kind or inputs[0].kind)

    def include(self, model: bytes) -> None:
        """Take over nodes and constants of a model; its inputs and outputs keep their names."""
        for number, value in fields(memoryview(model)):
            if number == _GRAPH and isinstance(value, memoryview):
                for part, inner in fields(value):
                    if part in (_NODES, _INITIALIZERS) and isinstance(inner, memoryview):
                        home = self.graph.nodes if part == _NODES else self.graph.constants
                        home.append(_entry(part, bytes(inner)))

    def range(self, stop: int | Expr, kind: str = "float64") -> Expr:
        """0, 1, ... below `stop`."""
        if isinstance(stop, int):
            return self.constant(np.arange(stop), kind)
        ends = [self.constant(0, "int64"), stop.cast("int64"), self.constant(1, "int64")]
        return self.call("Range", ends).cast(kind)


def _entry(place: int, value: bytes) -> bytes:
    size, length = len(value), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes([place << 3 | 2]) + bytes(length) + value


@dataclass(frozen=True)
class Expr:
    """A tensor of a sheet: its name and numpy's name of its kind."""

    sheet: Sheet = field(repr=False)
    name: str
    kind: str

    def _with(self, other: Expr | Number) -> Expr:
        return other if isinstance(other, Expr) else self.sheet.constant(other, self.kind)

    def _two(self, operator: str, other: Expr | Number, kind: str | None = None) -> Expr:
        return self.sheet.call(operator, [self, self._with(other)], kind)

    def __add__(self, other: Expr | Number) -> Expr:
        return self._two("Add", other)

    def __sub__(self, other: Expr | Number) -> Expr:
        return self._two("Sub", other)

    def __rsub__(self, other: Number) -> Expr:
        return self._with(other) - self

    def __mul__(self, other: Expr | Number) -> Expr:
        return self._two("Mul", other)

    def __truediv__(self, other: Expr | Number) -> Expr:
        return self._two("Div", other)

    def __neg__(self) -> Expr:
        return self.sheet.call("Neg", [self])

    def __matmul__(self, other: Expr) -> Expr:
        return self._two("MatMul", other)

    def below(self, other: Expr | Number) -> Expr:
        return self._two("Less", other, "bool")

    def above(self, other: Expr | Number) -> Expr:
        return self._two("Greater", other, "bool")

    def __and__(self, other: Expr) -> Expr:
        return self._two("And", other, "bool")

    def equals(self, other: Expr | Number) -> Expr:
        return self._two("Equal", other, "bool")

    def where(self, yes: Expr | Number, no: Expr) -> Expr:
        """`yes` where this is true, else `no`."""
        return self.sheet.call("Where", [self, no._with(yes), no], no.kind)

    def larger(self, other: Expr | Number) -> Expr:
        return self._two("Max", other)

    def smaller(self, other: Expr | Number) -> Expr:
        return self._two("Min", other)

    def apply(self, operator: str, **attributes: Attribute) -> Expr:
        """Abs, Floor, Ceil, Round (half to even), Sqrt, Exp, Log, Relu, Sign, MaxPool, ..."""
        return self.sheet.call(operator, [self], None, **attributes)

    def cast(self, kind: str) -> Expr:
        return self if kind == self.kind else replace(self.apply("Cast", to=TYPES[kind]), kind=kind)

    def reshape(self, *shape: int) -> Expr:
        return self.sheet.call("Reshape", [self, self.sheet.constant(shape, "int64")])

    def transpose(self, *order: int) -> Expr:
        return self.apply("Transpose", perm=order)

    def size(self, axis: int) -> Expr:
        """Length of an axis, int64 ()."""
        return replace(self.apply("Shape"), kind="int64").take(axis)

    def take(self, place: int | Expr, axis: int = 0) -> Expr:
        """Entries at `place` of an axis; a plain number removes the axis."""
        index = place if isinstance(place, Expr) else self.sheet.constant(place, "int64")
        return self.sheet.call("Gather", [self, index], axis=axis)

    def slice(self, axis: int, start: int | Expr, stop: int | Expr = _END) -> Expr:
        ends = [
            (end if isinstance(end, Expr) else self.sheet.constant(end, "int64")).reshape(1) for end in (start, stop)
        ]
        return self.sheet.call("Slice", [self, *ends, self.sheet.constant(np.array([axis]), "int64")])

    def flip(self, *axes: int) -> Expr:
        """Backwards along each of the axes."""
        values = ([-1] * len(axes), [np.iinfo(np.int64).min] * len(axes), axes, [-1] * len(axes))
        return self.sheet.call("Slice", [self, *(self.sheet.constant(np.array(value), "int64") for value in values)])

    def sum(self, *axes: int) -> Expr:
        """Over these axes, which stay with length 1."""
        return self.sheet.call("ReduceSum", [self, self.sheet.constant(np.array(axes), "int64")])

    def cumsum(self, axis: int) -> Expr:
        return self.sheet.call("CumSum", [self, self.sheet.constant(axis, "int64")])

    def pad(self, before: Sequence[int], after: Sequence[int], mode: str, value: float = 0) -> Expr:
        """`mode` as ONNX names it: constant, edge or reflect."""
        ends = self.sheet.constant(np.array([*before, *after]), "int64")
        inputs = [self, ends, self.sheet.constant(value, self.kind)] if mode == "constant" else [self, ends]
        return self.sheet.call("Pad", inputs, mode=mode)


def concat(parts: Sequence[Expr], axis: int) -> Expr:
    return parts[0].sheet.call("Concat", parts, axis=axis)
