"""What Pre-Flight decides and finds about generating pairs in the loop: fields of the plan, the slots, the masks."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from deft_aoi.credentials import credential
from deft_aoi.executors.choice import LOCAL
from deft_aoi.experiment import Optics
from deft_aoi.paths import Workspace
from deft_aoi.pinned import image
from deft_aoi.run import Plan
from deft_aoi.stages.anomalygen_slots import DATASET, SIZES, SOURCES, Slots, set_problems
from deft_aoi.stages.routing import INLINE

_GENERATION = ("anomalygen_labels", "project", "num_sdg", "min_allocation")
_CONTAINER = ("anomalygen_fetch", "anomalygen_step")
_CONTAINER_PLATFORMS = ("local-docker", "slurm", "kubernetes")
_SHOWN = 3


def hidden(plan: Plan) -> set[str]:
    """Fields of the plan that mean nothing in this run."""
    names = {"max_synthetic_share"} if plan.synthetic == "off" else set()
    names |= set() if plan.synthetic == INLINE else {*_GENERATION, *_CONTAINER}
    return names | (set(_CONTAINER) if plan.platform == LOCAL else set())


def generator_values(
    workspace: Workspace, values: Mapping[str, Any], sources: MutableMapping[str, str]
) -> dict[str, Any]:
    """Fields that depend on disk and platform: slots that the container will fill, labels that our generator makes."""
    if values.get("synthetic") != INLINE:
        return {}
    if values["platform"] == LOCAL:
        if sources["anomalygen_labels"] != "default":
            return {}
        sources["anomalygen_labels"] = "default (the reference generator takes any weak label)"
        return {"anomalygen_labels": ("*",)}
    missing = Slots(workspace, values.get("project", Plan.project)).missing()
    sources["anomalygen_fetch"] = "slots that are empty"
    return {"anomalygen_fetch": missing}


def generator_config(plan: Plan) -> dict[str, Any]:
    """The contract's `config.anomalygen`."""
    config: dict[str, Any] = {"sub_skill": "paidf-anomalygen", "mode": plan.synthetic}
    if plan.synthetic == INLINE:
        slots = Slots(Workspace.at(plan.workspace), plan.project)
        remote = plan.platform != LOCAL
        config |= {
            "project": plan.project, "num_SDG": plan.num_sdg, "step": plan.anomalygen_step,
            "checkpoint_dir": str(slots.checkpoints) if remote else "", "dataset_dir_source": str(slots.dataset),
            "defect_spec": str(slots.dataset / "defect_spec.jsonl"),
            "container": image("images.metropolis_sdg.paidf_anomalygen") if remote else "",
        }  # fmt: skip
    else:
        config |= {"project": plan.project, "num_SDG": plan.num_sdg, "step": plan.anomalygen_step}
    return config


def generator_findings(workspace: Workspace, plan: Plan, seen: Optics) -> list[tuple[str, str]]:
    """(level, text) for check 8: each slot, what will be fetched and how large, the four invariants of the data set."""
    slots = Slots(workspace, plan.project)
    found = []
    if slots.filled(DATASET):
        broken = set_problems(slots.dataset)
        found += [("block", f"AnomalyGen data set: {line}") for line in broken]
        found += [] if broken else [("ok", f"AnomalyGen data set: {slots.dataset}")]
    if plan.platform == LOCAL:
        text = "synthetic pairs: the reference generator on this CPU, no diffusion model; it draws what has no example"
        return [*found, ("note", text)]
    if plan.platform not in _CONTAINER_PLATFORMS:
        return [*found, ("block", f"synthetic {INLINE}: platform {plan.platform} has no containers; AnomalyGen is one")]
    if len(seen.lights) > 1:
        text = f"AnomalyGen makes one picture of a part, this spec has {len(seen.lights)} lights"
        found.append(("block", f"{text}; pass --synthetic off, or make pairs of all lights before (pregen_ingest)"))
    missing = plan.anomalygen_fetch
    found += [
        ("note", f"AnomalyGen {slot}: empty, will be fetched in iteration 1 ({SOURCES[slot]}, {SIZES[slot]})")
        for slot in missing
    ]
    if missing and plan.settings.get("air_gapped"):
        where = ", ".join(str(slots.folder(slot)) for slot in missing[:_SHOWN])
        found.append(("block", f"AnomalyGen slots empty and nothing may be fetched: fill {where}"))
    elif missing and credential("HF_TOKEN", workspace.root) is None:
        found.append(("block", "HF_TOKEN is not set: AnomalyGen's weights come from Hugging Face; put it into .env"))
    return found
