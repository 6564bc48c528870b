"""A model of either engine as one ONNX file for the line: decoded pictures in, score out, nothing else needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.engine.engine_choice import FEATURES, NET
from deft_aoi.engine.onnx_expr import Expr, Sheet
from deft_aoi.engine.onnx_writer import UINT8
from deft_aoi.engine.refusal import TaskError
from deft_aoi.spec.tree import Optics

OUTPUT = "score"


@dataclass(frozen=True)
class LineModel:
    """`inputs`: (name, light, whether it is the golden) in order, each uint8 (height, width, 3)."""

    onnx: bytes
    opset: int
    inputs: tuple[tuple[str, str, bool], ...]


def line_model(engine: str, checkpoint: Path, optics: Optics) -> LineModel:
    """Raises InputError where the checkpoint is not what the spec needs, or of another engine."""
    sheet = Sheet()
    inputs = tuple(
        (f"{side}_{light}", light, side == "golden") for light in optics.lights for side in ("test", "golden")
    )
    sides = [Expr(sheet, name, "uint8") for name, _, _ in inputs]
    pictures = list(zip(sides[::2], sides[1::2]))
    try:
        if engine == FEATURES:
            from deft_aoi.engine.features import onnx_features
            from deft_aoi.engine.features.checkpoint import load_checkpoint

            score = onnx_features.score_of(sheet, pictures, load_checkpoint(checkpoint, optics), optics)
            opset = onnx_features.OPSET
        elif engine == NET:
            from deft_aoi.engine.net import onnx_line
            from deft_aoi.engine.net.net_checkpoint import load_checkpoint as load_net

            score, opset = onnx_line.score_of(sheet, pictures, load_net(checkpoint, optics), optics), onnx_line.OPSET
        else:
            raise InputError(f"engine {engine!r}: expected {FEATURES} or {NET}")
    except TaskError as error:
        raise InputError(str(error)) from error
    sheet.graph.node("Identity", [score.name], OUTPUT)
    return LineModel(
        sheet.graph.model({n: (UINT8, (0, 3)) for n, _, _ in inputs}, OUTPUT, {}, opset=opset), opset, inputs
    )
