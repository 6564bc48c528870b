"""Which model a run trains, on what, and whether it is a ChangeNet: the one sentence for every page that says so."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deft_aoi.engine.engine_choice import FEATURES, NET
from deft_aoi.executors.platform_choice import ELSEWHERE
from deft_aoi.record.run import Plan
from deft_aoi.spec.tree import Spec, get
from deft_aoi.stages.task_specs import named_backbone

NOT_CHANGENET = "It is not a ChangeNet: NVIDIA TAO cannot load it."
CHANGENET = "It is a ChangeNet."


@dataclass(frozen=True)
class TrainedModel:
    """`backbone`: the weight file that the model starts from or looks through; empty where there is none."""

    sentence: str
    changenet: bool
    backbone: str

    def record(self) -> dict[str, Any]:
        return asdict(self)


def trained_model(plan: Plan, spec: Spec, backbone_dir: Path) -> TrainedModel:
    """What the plan trains: the sentence that Summary, status, report, iteration summary and best_model.json share."""
    named = get(spec, "model.backbone.pretrained_backbone_path")
    weights = named_backbone(plan.engine, backbone_dir, named) if named else None
    if named and plan.platform == ELSEWHERE:  # what is staged here trains nothing
        weights = Path(str(named))
    if plan.engine == FEATURES:
        from deft_aoi.engine.features.trunk import MODEL  # brings OpenCV, which status does without

        what = "a small classifier on frozen EfficientNet-Lite0 features (engine features), on this machine's CPU"
        return TrainedModel(f"This run trains {what}. {NOT_CHANGENET}", False, str(MODEL))
    if plan.engine == NET:
        start = f"the staged backbone {weights.name}" if weights else "random weights"
        what = f"the embedded engine's own network (engine net) from {start}, on this machine"
        return TrainedModel(f"This run trains {what}. {NOT_CHANGENET}", False, str(weights or ""))
    kind = get(spec, "model.backbone.type", "backbone not named")
    start = f"weights {weights.name}" if weights else "random backbone weights"
    where = "another machine, from exports of this one" if plan.platform == ELSEWHERE else f"platform {plan.platform}"
    if plan.baseline_scores or plan.baseline_ckpt:
        start = "your own checkpoint"
    what = f"NVIDIA TAO Visual ChangeNet ({kind}, {start}) on {where}"
    return TrainedModel(f"This run trains {what}. {CHANGENET}", True, str(weights or ""))
