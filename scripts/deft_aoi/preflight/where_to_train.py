"""The one question of Pre-Flight: where a model is trained, when a TAO spec and its backbone are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.importers.deeppcb import RECORD as DEEPPCB
from deft_aoi.preflight.inputs import Inputs
from deft_aoi.simulate.workspace import RECORD as SIMULATED
from deft_aoi.spec.tree import get
from deft_aoi.stages.task_specs import backbone_file

ANSWERS = ("platform", "engine", "baseline_scores")  # each of them says where
CHOICES = (
    "--platform local-docker: NVIDIA's TAO container trains your ChangeNet on this machine's GPU (also ssh, "
    "brev, slurm, kubernetes: the same on another machine or a cluster)",
    "--platform virtualenv --set venv=FOLDER: TAO installed in a Python environment trains your ChangeNet here",
    "--platform elsewhere --baseline-scores CSV --baseline-ckpt FILE: this machine selects, judges and reports; you "
    "train and score your ChangeNet on another machine with what deft export-training writes (CSV: scores of your "
    "present model, FILE: its checkpoint's path on that machine; ask for both)",
    "--platform local: no ChangeNet; a small classifier of this skill (--engine features: CPU; --engine net: torch), "
    "good for a first look at the data, which TAO cannot load",
)


def where_to_train(asked: Mapping[str, Any], inputs: Inputs) -> list[str]:
    """The question and its choices, a line each; none where it is answered, or the workspace was made by this skill."""
    if any(asked.get(name) for name in ANSWERS):
        return []
    workspace = inputs.workspace
    if any((workspace.root / record).is_file() for record in (SIMULATED, DEEPPCB)):
        return []
    weights = backbone_file(workspace.backbone_dir)
    try:
        kind = get(inputs.spec, "model.backbone.type")
    except InputError:  # a finding of check 1
        return []
    if weights is None or kind is None:
        return []
    lead = f"{workspace.spec} describes a TAO ChangeNet ({kind}) and {weights.name} is staged"
    return [f"where shall it be trained? {lead}; ask the user, then add one of these", *CHOICES]
