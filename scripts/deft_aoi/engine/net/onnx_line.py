"""A network of the net engine as one ONNX model from decoded pictures to the score."""

from __future__ import annotations

from collections.abc import Sequence

from deft_aoi.engine.features.onnx_features import probability
from deft_aoi.engine.net.net_checkpoint import Checkpoint, scoring_model
from deft_aoi.engine.onnx_expr import Expr, Sheet, concat
from deft_aoi.engine.onnx_pair import as_bytes, register_pair
from deft_aoi.spec.tree import Optics

OPSET = 17  # that of the networks' own models


def score_of(sheet: Sheet, pictures: Sequence[tuple[Expr, Expr]], checkpoint: Checkpoint, optics: Optics) -> Expr:
    """float32 (1,) from (test, golden) of each light."""
    grey = checkpoint.facts.channels == 1
    pairs = [as_bytes(register_pair(test, golden, optics, grey=grey)) for test, golden in pictures]
    for name, sides in zip(("test", "golden"), zip(*pairs), strict=True):
        sheet.graph.node("Identity", [concat(sides, 1).name], name)
    sheet.include(scoring_model(checkpoint))
    return probability(Expr(sheet, "logits", "float32").cast("float64")).cast("float32")
