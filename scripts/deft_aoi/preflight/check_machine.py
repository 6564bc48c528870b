"""Whether the plan fits the machine that the platform's probes saw: GPUs, their memory, shared memory, disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.finding import BLOCK, NOTE, OK, Finding
from deft_aoi.engine.engine_choice import TAO
from deft_aoi.executors.base import Probe
from deft_aoi.preflight.check_spec import backbone_type
from deft_aoi.record.disk_space import EMBEDDED_CHECKPOINT, RESERVE, TAO_CHECKPOINT, figure
from deft_aoi.record.run import Plan
from deft_aoi.record.seals import Seals
from deft_aoi.spec.tree import Spec, get
from deft_aoi.stages.task_specs import dividing_interval, keeps_best_far

# C-RADIOv2-B trained end to end: 16 rows on 48 GB, 8 on 24 GB.
BYTES_A_ROW = 3_000_000_000
_MEASURED = "c_radio_v2_vit_base_patch16_224"
_PREFETCH = 2  # batches that each loader process keeps ready: PyTorch's default


def fit_findings(spec: Spec, plan: Plan, probes: Sequence[Probe], workspace: Path) -> list[Finding]:
    """Checks 8 and 9 against what the probes know; what no probe knows is left out."""
    found = [*gpu_findings(spec, plan, next((p.gpu_memory for p in probes if p.gpu_memory), ()))]
    if shm := max((probe.shm for probe in probes), default=0):
        found += shm_findings(spec, plan, shm)
    return [*found, disk_finding(spec, plan, shutil.disk_usage(workspace).free), *seal_findings(workspace)]


def seal_findings(workspace: Path) -> list[Finding]:
    """Where heads of the journal's chain will go; what would keep them from it blocks."""
    try:
        if not (seals := Seals.asked(workspace)):
            return []
        seals.try_out()
    except InputError as error:
        return [Finding(8, BLOCK, str(error))]
    return [Finding(8, NOTE, seals.words(), where="seal")]


def gpu_findings(spec: Spec, plan: Plan, memory: Sequence[int]) -> Iterator[Finding]:
    """As many GPUs as asked for, each with memory for the batch."""
    if not memory:
        return
    if plan.num_gpus > len(memory):
        text, remedy = f"the platform has {len(memory)}", f"pass --num-gpus {len(memory)}"
        yield Finding(8, BLOCK, text, where=f"num_gpus {plan.num_gpus}", next=remedy)
    frozen = get(spec, "model.backbone.freeze_backbone", False)
    if backbone_type(spec) != _MEASURED or frozen:
        text = f"no figure for {backbone_type(spec)}{' frozen' if frozen else ''} is known"
        yield Finding(9, NOTE, text, where="GPU memory")
        return
    smallest = min(memory[: plan.num_gpus])
    most = int(smallest // BYTES_A_ROW)
    if plan.batch_size > most:
        text = f"batch_size {plan.batch_size} needs more than the GPU's {smallest / 1e9:.0f} GB with C-RADIOv2-B"
        yield Finding(9, BLOCK, text, next=f"pass --batch-size {max(most, 2)}")
    else:
        text = f"{smallest / 1e9:.0f} GB take a batch of up to {most} with C-RADIOv2-B"
        yield Finding(9, OK, text, where="GPU memory")


def shm_bytes(spec: Spec, plan: Plan) -> int:
    """Bytes that the loader's processes keep in /dev/shm: test and golden, float32, of every light."""
    pixels = 1
    for side in ("height", "width"):
        pixels *= int(get(spec, f"dataset.classify.image_{side}", 224))
    lights, goldens = len(get(spec, "dataset.classify.input_map", {})), int(get(spec, "dataset.classify.num_golden", 1))
    pair = 4 * 3 * pixels * lights * (1 + goldens)
    workers = int(get(spec, "dataset.classify.workers", 8))
    return plan.num_gpus * workers * _PREFETCH * plan.batch_size * pair


def shm_findings(spec: Spec, plan: Plan, free: int) -> Iterator[Finding]:
    needed = shm_bytes(spec, plan)
    if needed > free:
        text = f"{figure(free)} in /dev/shm, training's loaders need {figure(needed)} and die in mid-epoch"
        remedy = "lower dataset.classify.workers (0 needs none) or batch_size, or enlarge it"
        yield Finding(9, BLOCK, text, where="shared memory", next=remedy)


def disk_finding(spec: Spec, plan: Plan, free: int) -> Finding:
    """Room for every checkpoint of the run: enough for one training is needed, for all is wished."""
    epochs = plan.num_epochs
    interval = dividing_interval(int(get(spec, "train.checkpoint_interval", 1)), epochs)
    count = epochs // interval + (1 if plan.engine == TAO and keeps_best_far(plan.tao) else 0)
    each = TAO_CHECKPOINT if plan.engine == TAO else EMBEDDED_CHECKPOINT[plan.engine]
    one, whole = count * each + RESERVE, (plan.max_iterations + 1) * count * each + RESERVE
    text = f"{figure(free)} free; a training writes {figure(one)}, the run {figure(whole)}"
    level, remedy = OK, ""
    if free < one:
        level, remedy = BLOCK, "free space, or raise train.checkpoint_interval"
    elif free < whole:
        level, remedy = NOTE, "deft prune between iterations drops checkpoints that are neither best nor latest"
    return Finding(8, level, text, where="disk", next=remedy)
