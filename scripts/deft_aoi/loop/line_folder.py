"""What every exported folder of `deft export` holds, whichever engine trained the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deft_aoi.spec.tree import Optics

MODEL, FACTS = "model.onnx", "preprocessing.json"


@dataclass(frozen=True)
class Exported:
    """`rows` were scored both ways and differ by at most `largest`; None where the model runs on another platform."""

    folder: Path
    opset: int
    rows: int | None
    largest: float | None

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "folder": str(self.folder)}


def shared_facts(
    model: Mapping[str, Any], view: Optics, band: tuple[float, float] | None, opset: int, digest: str
) -> dict[str, Any]:
    """The part of preprocessing.json that all models have. `digest`: SHA-256 of the ONNX file."""
    origin = {name: model.get(name) for name in ("engine", "checkpoint_sha256", "iteration")}
    return {
        "version": 1,
        "model": {"file": MODEL, "sha256": digest, "opset": opset, **origin},
        "lights": list(view.lights),
        "decision": decision_of(model, band),
    }


def decision_of(model: Mapping[str, Any], band: tuple[float, float] | None) -> dict[str, Any]:
    """Threshold and review band with their rules."""
    return {
        "threshold": float(model["threshold"]),
        "rule": "NO_PASS when score > threshold, else PASS",
        "review": list(band) if band else None,
        "review_rule": "REVIEW, for a person, when low <= score <= high, whatever the threshold says",
    }
