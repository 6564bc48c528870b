"""A TAO model for the line: `visual_changenet export` on the run's platform, and the same JSON."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json, sha256_file
from deft_aoi.base.safe_paths import workspace_of
from deft_aoi.executors.base import TAO_PYT, Task
from deft_aoi.loop.line_folder import FACTS, MODEL, Exported, shared_facts
from deft_aoi.loop.score import checked_checkpoint, executor_of, run_task
from deft_aoi.spec.tree import Optics, Spec, dump_spec, get, load_spec, put
from deft_aoi.stages.finish import inference_spec

OPSET = 17


def export_tao(
    model_file: Path, model: dict[str, Any], folder: Path, view: Optics, band: tuple[float, float] | None
) -> Exported:
    """Run the export where the model's run works; its files are made in the workspace, which every platform sees."""
    if not folder.is_relative_to(workspace_of(model_file.resolve().parent)):
        raise InputError(
            f"--output-dir {folder}: the platform sees only the workspace; choose a folder in it, and copy it then"
        )
    spec = export_spec(
        load_spec(Path(model["training_spec"])), model, view, checked_checkpoint(model_file, model), folder
    )
    dump_spec(folder / "export.yaml", spec)
    onnx = folder / MODEL
    task = Task(
        "export", ("visual_changenet", "export", "-e", str(folder / "export.yaml")), folder / "export",
        expects=(folder / "export" / MODEL,), image=TAO_PYT, gpus=1,
    )  # fmt: skip
    run_task(task, executor_of(model_file, model, folder), folder / "job")
    shutil.copyfile(task.expects[0], onnx)
    atomic_write_json(folder / FACTS, facts_of(model, spec, view, band, sha256_file(onnx)))
    return Exported(folder, OPSET, None, None)


def export_spec(training: Spec, model: Mapping[str, Any], view: Optics, checkpoint: Path, folder: Path) -> Spec:
    """The inference spec with TAO's `export` block: all lights of a part are one input picture."""
    spec = inference_spec(training, float(model["threshold"]))
    spec.pop("inference", None)
    width, height = joined_size(spec, view)
    block = {
        "checkpoint": str(checkpoint), "onnx_file": str(folder / "export" / MODEL),
        "results_dir": str(folder / "export"), "input_channel": 3, "input_width": width, "input_height": height,
        "opset_version": OPSET, "batch_size": -1, "on_cpu": False,
    }  # fmt: skip
    for name, value in block.items():
        put(spec, f"export.{name}", value)
    return spec


def joined_size(spec: Spec, view: Optics) -> tuple[int, int]:
    """(width, height) of the lights joined as the spec says: below each other, or in a grid."""
    if get(spec, "dataset.classify.concat_type") == "grid":
        across, down = (int(get(spec, f"dataset.classify.grid_map.{axis}") or 1) for axis in ("x", "y"))
        return view.width * across, view.height * down
    return view.width, view.height * len(view.lights)


def facts_of(
    model: Mapping[str, Any], spec: Spec, view: Optics, band: tuple[float, float] | None, digest: str
) -> dict[str, Any]:
    """preprocessing.json of a TAO model: nothing of it is in the model, all has to be done before."""
    augmentation = get(spec, "dataset.classify.augmentation_config") or {}
    width, height = joined_size(spec, view)
    return {
        **shared_facts(model, view, band, OPSET, digest),
        "before_the_model": {
            "decode": "8 bits a value, RGB as stored",
            "size": {"width": view.width, "height": view.height, "of": "the picture of each light"},
            "registration": None,
            "normalisation": {
                "scale": 1 / 255, "mean": augmentation.get("rgb_input_mean"), "std": augmentation.get("rgb_input_std"),
            },
            "lights": {
                "joined": get(spec, "dataset.classify.concat_type"), "order": list(view.lights), "width": width,
                "height": height,
            },
        },
        "in_the_model": {},
    }  # fmt: skip
