"""What TAO would refuse of a spec, known before any GPU second: pure functions of the spec and the plan.

The facts were observed with nvidia-tao-pytorch 7.3.0, most of them by running into them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deft_aoi.base.finding import BLOCK, NOTE, Finding
from deft_aoi.engine.engine_choice import TAO
from deft_aoi.record.run import Plan
from deft_aoi.spec.tree import Spec, get, known_keys, wrong_values
from deft_aoi.stages.task_specs import dividing_interval, version_tuple
from deft_aoi.weights.architecture import DINOV3_TYPES

LOSS_OF = {"learnable": "ce", "euclidean": "contrastive"}
FANS = ("fan_tiny_8_p4_hybrid", "fan_small_12_p4_hybrid", "fan_base_16_p4_hybrid", "fan_large_16_p4_hybrid")
VITS = (
    "c_radio_v2_vit_base_patch16_224", "c_radio_v2_vit_large_patch16_224", "c_radio_v2_vit_huge_patch16_224",
    "c_radio_p1_vit_huge_patch16_224_mlpnorm", "c_radio_p2_vit_huge_patch16_224_mlpnorm",
    "c_radio_p3_vit_huge_patch16_224_mlpnorm", "vit_large_nvdinov2", "vit_small_dinov3", "vit_small_plus_dinov3",
    "vit_base_dinov3", "vit_large_dinov3", "vit_huge_plus_dinov3", "vit_7b_dinov3",
)  # fmt: skip
PRECISIONS = (
    "16", "16-true", "16-mixed", "32", "32-true", "64", "64-true", "bf16", "bf16-true", "bf16-mixed",
    "transformer-engine", "transformer-engine-float16",
)  # fmt: skip
SEEN_REFUSED = {"train.checkpointer": (7, 0, 1)}  # key: newest version of TAO that was seen not to know it
RADIO_SIDE, VIT_STEP, FAN_STEP = 224, 32, 16


def spec_findings(spec: Spec, plan: Plan) -> list[Finding]:
    """Every refusal and silent trap of the spec itself, all at once."""
    problems = [*wrong_values(spec, known_keys())]
    if not problems:  # the rest reads the values
        problems += [*_task_problems(spec), *_loss_problems(spec)]
    if plan.engine == TAO and not problems:
        problems += [*_unknown_to_pin(spec, plan.tao)]
        problems += [*_tao_problems(spec), *geometry_problems(spec)]
    found = [Finding(1, BLOCK, problem, where="baseline_spec.yaml") for problem in problems]
    return found + [Finding(1, NOTE, text) for text in _notes(spec, plan)]


def _task_problems(spec: Spec) -> Iterator[str]:
    task = get(spec, "task", "segment")
    if task != "classify":
        yield f"task is {task!r}; expected classify (TAO's default is segment)"


def _loss_problems(spec: Spec) -> Iterator[str]:
    """Loss, difference module, class weights and frozen weights that do not belong together."""
    module = get(spec, "model.classify.difference_module", "euclidean")
    loss = get(spec, "train.classify.loss", "contrastive")
    if module not in LOSS_OF:
        yield f"model.classify.difference_module is {module!r}; expected {' or '.join(LOSS_OF)}"
    elif loss != LOSS_OF[module]:
        yield f"model.classify.difference_module {module} needs train.classify.loss {LOSS_OF[module]}, not {loss!r}"
    weights, classes = get(spec, "train.classify.cls_weight", [1.0, 10.0]), get(spec, "dataset.classify.num_classes", 2)
    if classes != 2:
        yield f"dataset.classify.num_classes is {classes!r}; expected 2: PASS and defect"
    elif len(weights) != classes:
        yield f"train.classify.cls_weight has {len(weights)} weights; expected one for each of the {classes} classes"
    frozen = get(spec, "model.backbone.freeze_backbone", False)
    if get(spec, "model.backbone.type") in DINOV3_TYPES and frozen is not True:
        yield "model.backbone.freeze_backbone is not true; TAO takes DINOv3 frozen only, so set it to true"
    if frozen is True and not get(spec, "model.backbone.pretrained_backbone_path"):
        yield "model.backbone.freeze_backbone is set without pretrained_backbone_path; name weights, or do not freeze"


def _unknown_to_pin(spec: Spec, tao: str) -> Iterator[str]:
    """Keys of newer versions of TAO that the version at hand was seen to refuse."""
    for key, refused_by in SEEN_REFUSED.items():
        if version_tuple(tao) and version_tuple(tao) <= refused_by and get(spec, key) is not None:
            yield (
                f"{key} is unknown to TAO {tao} (images.tao_toolkit.pyt in specs/versions.yaml), which refuses the "
                "spec; remove the key, or set TAO_PYT_IMAGE to an image that knows it"
            )


def _tao_problems(spec: Spec) -> Iterator[str]:
    """What only a real TAO run stumbles over."""
    precision = str(get(spec, "train.precision", "32-true"))
    if precision not in PRECISIONS:
        yield f"train.precision is {precision!r}; expected one of {', '.join(PRECISIONS)}, or leave it out for 32-true"
    optim, policy = get(spec, "train.optim.optim", "adamw"), get(spec, "train.optim.policy", "linear")
    if optim not in ("adamw", "adam", "sgd"):
        yield f"train.optim.optim is {optim!r}; expected adamw, adam or sgd"
    if policy not in ("linear", "step"):
        yield f"train.optim.policy is {policy!r}; expected linear or step"
    modules = int(get(spec, "model.classify.learnable_difference_modules", 4))
    if not 1 <= modules <= 4:
        yield f"model.classify.learnable_difference_modules is {modules}; expected 1 to 4"
    backbone = backbone_type(spec)
    if backbone not in (*FANS, *VITS):
        yield f"model.backbone.type is {backbone!r}; expected one of {', '.join((*VITS[:3], *FANS))} or another ViT"
    lights, inputs = len(get(spec, "dataset.classify.input_map", {})), int(get(spec, "dataset.classify.num_input", 8))
    if lights != inputs:
        yield f"dataset.classify.num_input is {inputs}, input_map has {lights} lights; expected the same number"
    goldens = int(get(spec, "dataset.classify.num_golden", 1))
    if goldens > 1 and (backbone in FANS or get(spec, "model.classify.difference_module") != "learnable"):
        yield f"dataset.classify.num_golden is {goldens}; fan_* backbones and euclidean take one golden only"


def backbone_type(spec: Spec) -> str:
    return str(get(spec, "model.backbone.type", FANS[1]))


def geometry_problems(spec: Spec) -> Iterator[str]:
    """Sizes that the backbone fails on in its first step. Lights are joined side by side (`grid`) or on top of each
    other (`linear`); a vision transformer takes a square only, C-RADIO's feature pyramid only 224 x 224 of it."""
    backbone, learnable = backbone_type(spec), get(spec, "model.classify.difference_module") == "learnable"
    inputs = int(get(spec, "dataset.classify.num_input", 8))
    height, width = (int(get(spec, f"dataset.classify.image_{side}", 224)) for side in ("height", "width"))
    grid = get(spec, "dataset.classify.concat_type", "linear") == "grid"
    across, down = (int(get(spec, f"dataset.classify.grid_map.{axis}", 1)) for axis in ("x", "y"))
    if grid and across * down != inputs:
        yield f"dataset.classify.grid_map is {across} x {down}; expected a grid of the {inputs} lights"
        return
    if grid and inputs % 2 and inputs > 1:
        yield f"dataset.classify.concat_type grid takes an even number of lights, not {inputs}"
        return
    total = (height * down, width * across) if grid else (height * inputs, width)
    if backbone in FANS:
        if total[0] % FAN_STEP or total[1] % FAN_STEP:
            yield f"images of {width} x {height}: {backbone} takes multiples of {FAN_STEP} only"
    elif total[0] != total[1] or (inputs > 1 and not grid):
        yield f"{inputs} lights of {width} x {height} are no square, which {backbone} needs; {_remedy(inputs)}"
    elif learnable and "radio" in backbone and total[0] != RADIO_SIDE:
        side = f"{RADIO_SIDE} x {RADIO_SIDE}"
        yield f"{total[1]} x {total[0]} pixels in total; {backbone} takes {side} only; {_remedy(inputs)}"
    elif learnable and total[0] % VIT_STEP:
        yield f"{total[1]} x {total[0]} pixels in total; {backbone} takes multiples of {VIT_STEP}; {_remedy(inputs)}"
    if learnable:
        strides = list(get(spec, "model.decode_head.feature_strides", [4, 8, 16, 16]))
        expected = [4, 8, 16, 16] if backbone in FANS else [4, 8, 16, 32]
        if strides != expected:
            yield f"model.decode_head.feature_strides is {strides}; {backbone} needs {expected}"


def _remedy(inputs: int) -> str:
    """Settings of dataset.classify that make a square of so many lights."""
    grids = {1: (1, 1), 2: (2, 1), 4: (2, 2)}
    if inputs not in grids:
        return f"expected 1, 2 or 4 lights (a square of {inputs} is not possible)"
    x, y = grids[inputs]
    joined = "" if inputs == 1 else f"concat_type: grid, grid_map: {{x: {x}, y: {y}}}, "
    return f"set {joined}image_width: {RADIO_SIDE // x}, image_height: {RADIO_SIDE // y}"


def _notes(spec: Spec, plan: Plan) -> Iterator[str]:
    """What TAO passes over in silence, and what the loop changes so that TAO neither refuses nor loses an epoch."""
    lights = get(spec, "dataset.classify.input_map", {})
    numbers = list(lights.values()) if isinstance(lights, dict) else []
    if all(type(number) is int for number in numbers) and numbers != sorted(numbers):
        order = ", ".join(map(str, lights))
        yield f"input_map's numbers are in another order than its lines; TAO goes by the lines: {order}"
    if unset := [f"image_{side}" for side in ("width", "height") if not get(spec, f"dataset.classify.image_{side}")]:
        yield f"dataset.classify.{' and '.join(unset)} not set: TAO's default of 224 is used"
    for name in ("checkpoint_interval", "validation_interval"):
        asked: Any = get(spec, f"train.{name}", 1)
        if isinstance(asked, int) and (used := dividing_interval(asked, plan.num_epochs)) != asked:
            yield f"train.{name} {asked} becomes {used}: it must divide the {plan.num_epochs} epochs"
    if get(spec, "train.resume_training_checkpoint_path"):
        yield "train.resume_training_checkpoint_path is left out: TAO would train for zero steps and report success"
