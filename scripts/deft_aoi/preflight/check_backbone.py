"""Whether the backbone's weights are where the spec says, and are a backbone's."""

from __future__ import annotations

import zipfile
from pathlib import Path

from deft_aoi.base.finding import BLOCK, NOTE, OK, Finding
from deft_aoi.base.paths import Workspace
from deft_aoi.engine.engine_choice import FEATURES, TAO
from deft_aoi.executors.platform_choice import ELSEWHERE
from deft_aoi.record.run import AIR_GAP, Plan
from deft_aoi.spec.tree import Spec, get
from deft_aoi.stages.task_specs import backbone_file, named_backbone
from deft_aoi.weights.architecture import DINOV3_TYPES, disagreement, name_disagreement

BACKBONE = "backbone"  # where these findings are
# Lightning writes these names into every checkpoint, TAO's own name next to them.
_CHECKPOINT_MARKS = (b"pytorch-lightning_version", b"tao_model")


def backbone_findings(spec: Spec, plan: Plan, workspace: Workspace) -> list[Finding]:
    """(8) one sentence on the backbone that the training starts from, or why it cannot."""
    named = get(spec, "model.backbone.pretrained_backbone_path")
    weights = named_backbone(plan.engine, workspace.backbone_dir, named) if named else None
    if plan.platform == ELSEWHERE:
        return [_found_elsewhere(str(get(spec, "model.backbone.type", "")), named, workspace.backbone_dir)]
    if plan.engine != TAO and weights is None:
        return [_found(OK, f"none is used; engine {plan.engine} needs none")]
    if not named:
        return [_found(NOTE, "random weights (pretrained_backbone_path is null): TAO accepts it and trains worse")]
    if weights is None:
        how = "put its weights there" if plan.network == AIR_GAP else _stage(str(get(spec, "model.backbone.type", "")))
        text = f"{named} is named, {workspace.backbone_dir} holds no weights"
        return [_found(BLOCK, text, f"{how} (null in the spec trains from random weights)")]
    if problem := weights_problem(weights) if weights.is_file() else None:
        return [_found(BLOCK, f"{weights} {problem}", "stage the backbone's own weights")]
    kind = str(get(spec, "model.backbone.type", ""))
    if plan.engine == TAO and (problem := disagreement(kind, weights)):
        return [_found(BLOCK, f"{weights} {problem}", _stage(kind))]
    if plan.engine == TAO and (problem := name_disagreement(kind, weights.name)):
        return [_found(NOTE, f"{weights} {problem}", "make sure that it holds the backbone of that type")]
    if plan.engine == FEATURES:
        return [_found(OK, "none is used; engine features needs none")]
    frozen = "frozen" if get(spec, "model.backbone.freeze_backbone", False) else "fine-tuned"
    return [_found(OK, f"staged {weights.name}, {frozen} by engine {plan.engine}")]


def _found_elsewhere(kind: str, named: object, folder: Path) -> Finding:
    """What a name, and a copy of the file that may be staged here, say of weights on the machine that trains."""
    if not named:
        return _found(NOTE, "random weights (pretrained_backbone_path is null): TAO accepts it and trains worse")
    here = folder / Path(str(named)).name
    ask = f"name in the spec the file with the backbone {kind}, by its path on the machine that trains"
    if here.is_file() and (problem := weights_problem(here) or disagreement(kind, here)):
        return _found(BLOCK, f"{here} {problem}", ask)
    if problem := name_disagreement(kind, here.name):
        staged = backbone_file(folder)
        other = f" ({staged.name} is staged here)" if staged and staged.name != here.name else ""
        return _found(BLOCK, f"{named} {problem}{other}", f"{ask}; rename a file whose name misleads")
    return _found(OK, f"{named}, on the machine that trains; this machine cannot check that it is there")


def _found(level: str, what: str, remedy: str = "") -> Finding:
    return Finding(8, level, what, where=BACKBONE, next=remedy)


def _stage(kind: str) -> str:
    """How the weights of a backbone type come into place."""
    return f"type: stage_backbone --workspace W{f' --backbone-type {kind}' if kind in DINOV3_TYPES else ''}"


def tao_checkpoint(path: Path | None) -> str | None:
    """`<name> is a checkpoint of NVIDIA TAO` where a file is one; None for every other."""
    if path is not None and path.is_file() and zipfile.is_zipfile(path) and _is_checkpoint(path):
        return f"{path} is a checkpoint of NVIDIA TAO"
    return None


def weights_problem(path: Path) -> str | None:
    """What is wrong with a weights file, read without unpickling anything; None where nothing is seen."""
    if not path.stat().st_size:
        return "is empty"
    if zipfile.is_zipfile(path) and _is_checkpoint(path):
        return "is a trained ChangeNet checkpoint, which TAO would take for a backbone and load nothing from"
    return None


def _is_checkpoint(path: Path) -> bool:
    with zipfile.ZipFile(path) as opened:
        names = [name for name in opened.namelist() if name.endswith("data.pkl")]
        return any(mark in opened.read(name) for name in names for mark in _CHECKPOINT_MARKS)
