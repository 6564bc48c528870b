"""What Pre-Flight decides and finds about generating pairs in the loop: fields of the plan, the slots, the masks."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from deft_aoi.base.credentials import credential
from deft_aoi.base.errors import InputError
from deft_aoi.base.finding import BLOCK, NOTE, OK, Finding
from deft_aoi.base.paths import Workspace
from deft_aoi.base.versions import image
from deft_aoi.executors.platform_choice import LOCAL
from deft_aoi.record.order import OFF, ON
from deft_aoi.record.run import Plan
from deft_aoi.spec.tree import Optics
from deft_aoi.stages.anomalygen_patches import MODE as PATCHES
from deft_aoi.stages.anomalygen_slots import CHECKPOINT, DATASET, SIZES, SOURCES, Slots, set_problems
from deft_aoi.stages.finetune import SAVES
from deft_aoi.stages.routing import INLINE
from deft_aoi.synthetic.dataset import SPEC, AnomalySet, read_entries, training_problems

_GENERATION = ("anomalygen_labels", "project", "num_sdg", "min_allocation")
_CONTAINER = ("anomalygen_fetch",)
_TRAINED = ("anomalygen_max_iter", "anomalygen_step")  # mean nothing without a checkpoint
_CONTAINER_PLATFORMS = ("local-docker", "ssh", "brev", "slurm", "kubernetes")
_SHOWN = 3
_CHECK = 8
_TUNING = "AnomalyGen fine-tuning"
AUTO = "auto"  # fine-tune where there is no checkpoint, but base models and a data set


def hidden(plan: Plan) -> set[str]:
    """Fields of the plan that mean nothing in this run."""
    names = {"max_synthetic_share"} if plan.synthetic == "off" else set()
    unused = {*_GENERATION, *_CONTAINER, *_TRAINED, "anomalygen_finetune"}
    names |= {INLINE: set(), PATCHES: unused - {"num_sdg"}}.get(plan.synthetic, unused)
    if plan.platform == LOCAL:
        names |= {*_CONTAINER, *_TRAINED, "anomalygen_finetune"}
    return names | (set() if plan.anomalygen_finetune == ON else {"anomalygen_max_iter"})


def generator_values(
    workspace: Workspace, values: Mapping[str, Any], sources: MutableMapping[str, str]
) -> dict[str, Any]:
    """Fields that depend on disk and platform: slots that the container will fill, labels that our generator makes."""
    asked = values.get("anomalygen_finetune", AUTO)
    if asked not in (AUTO, ON, OFF):
        raise InputError(f"anomalygen_finetune {asked!r}: expected {AUTO}, {ON} or {OFF}")
    if values.get("synthetic") != INLINE:
        if asked == ON:
            raise InputError(f"anomalygen_finetune {ON}: nothing generates in this run; pass --synthetic {INLINE} too")
        return {"anomalygen_finetune": OFF}
    if values["platform"] == LOCAL:
        if asked == ON:
            raise InputError(
                f"anomalygen_finetune {ON}: platform {LOCAL} has no AnomalyGen to train; choose a platform with "
                f"containers ({', '.join(_CONTAINER_PLATFORMS)}) or leave it out"
            )
        found: dict[str, Any] = {"anomalygen_finetune": OFF}
        if sources["anomalygen_labels"] != "default":
            return found
        sources["anomalygen_labels"] = "default (the reference generator takes any weak label that has an example)"
        return {**found, "anomalygen_labels": ("*",)}
    missing = Slots(workspace, values.get("project", Plan.project)).missing()
    if asked == AUTO:
        asked = ON if missing == (CHECKPOINT,) else OFF
        if asked == ON:
            sources["anomalygen_finetune"] = "no checkpoint, but base models and a data set"
    sources["anomalygen_fetch"] = "slots that are empty"
    if asked == ON:
        missing = tuple(slot for slot in missing if slot != CHECKPOINT)
    return {"anomalygen_fetch": missing, "anomalygen_finetune": asked}


def finetune_findings(slots: Slots, plan: Plan) -> list[Finding]:
    """What the fine-tuning learns from and what it costs, or what keeps it from learning."""
    learned = "the data set that will be fetched"
    if slots.filled(DATASET):
        try:
            found, entries = AnomalySet.at(slots.dataset), read_entries(slots.dataset / SPEC)
        except InputError:
            return []  # the data set's own check says it
        if broken := training_problems(found, entries):
            return [Finding(_CHECK, BLOCK, line, where=_TUNING) for line in broken]
        counts = [len(found.masks(entry)) for entry in entries]
        learned = f"{sum(counts)} real defects of {len(counts)} types in {slots.dataset}"
    lead = "once, in iteration 1 before anything is generated, on " + learned
    gpus = f"{plan.num_gpus} GPU" + ("s" if plan.num_gpus > 1 else "")
    cost = f"{plan.anomalygen_max_iter} steps on {gpus}, hours to days (NVIDIA publishes no time)"
    room = f"{SAVES} checkpoints of {SIZES[CHECKPOINT]} each on disk"
    ways = "--anomalygen-max-iter N shortens it, --anomalygen-finetune off skips it"
    return [Finding(_CHECK, NOTE, f"{lead}: {cost}, {room}", where=_TUNING, next=ways)]


def generator_config(plan: Plan) -> dict[str, Any]:
    """The contract's `config.anomalygen`, complete in every mode: readers of NVIDIA's look for all of it."""
    slots = Slots(Workspace.at(plan.workspace), plan.project)
    return {
        "sub_skill": "paidf-anomalygen", "mode": plan.synthetic, "project": plan.project, "num_SDG": plan.num_sdg,
        "step": plan.anomalygen_step, "checkpoint_dir": str(slots.checkpoints),
        "dataset_dir_source": str(slots.dataset), "defect_spec": str(slots.dataset / "defect_spec.jsonl"),
        "container": image("images.metropolis_sdg.paidf_anomalygen"),
    }  # fmt: skip


def generator_findings(workspace: Workspace, plan: Plan, seen: Optics) -> list[Finding]:
    """(8) each slot, what will be fetched and how large, the four invariants of the data set."""
    slots = Slots(workspace, plan.project)
    found: list[Finding] = []
    if slots.filled(DATASET):
        broken, where = set_problems(slots.dataset), "AnomalyGen data set"
        found += [Finding(_CHECK, BLOCK, line, where=where) for line in broken]
        found += [] if broken else [Finding(_CHECK, OK, str(slots.dataset), where=where)]
    if plan.anomalygen_finetune == ON:
        found += finetune_findings(slots, plan)
    if plan.platform == LOCAL:
        text = "the reference generator on this CPU, no diffusion model; a label without an example gets no pair"
        return [*found, Finding(_CHECK, NOTE, text, where="synthetic pairs")]
    if plan.platform not in _CONTAINER_PLATFORMS:
        text = f"platform {plan.platform} has no containers; AnomalyGen is one"
        return [*found, Finding(_CHECK, BLOCK, text, where=f"synthetic {INLINE}")]
    if len(seen.lights) > 1:
        text = f"AnomalyGen makes one picture of a part, this spec has {len(seen.lights)} lights"
        remedy = "pass --synthetic off, or make pairs of all lights before (pregen_ingest)"
        found.append(Finding(_CHECK, BLOCK, text, next=remedy))
    missing = plan.anomalygen_fetch
    for slot in missing:
        text = f"empty, will be fetched in iteration 1 ({SOURCES[slot]}, {SIZES[slot]})"
        found.append(Finding(_CHECK, NOTE, text, where=f"AnomalyGen {slot}"))
    if missing and plan.settings.get("air_gapped"):
        places = ", ".join(str(slots.folder(slot)) for slot in missing[:_SHOWN])
        found.append(Finding(_CHECK, BLOCK, f"AnomalyGen slots empty and nothing may be fetched: fill {places}"))
    elif missing and credential("HF_TOKEN", workspace.root) is None:
        text = "HF_TOKEN is not set: AnomalyGen's weights come from Hugging Face"
        found.append(Finding(_CHECK, BLOCK, text, next="put it into .env"))
    return found
