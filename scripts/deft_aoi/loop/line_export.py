"""`deft export`: one folder for the line: the model as ONNX, what it does with pictures, an example, a parity check."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write, atomic_write_json, sha256_file, whole_folder
from deft_aoi.base.paths import SKILL_ROOT, Workspace
from deft_aoi.base.rows import image_paths, read_rows
from deft_aoi.base.safe_paths import workspace_of
from deft_aoi.data.depth import content
from deft_aoi.engine.engine_choice import NET, TAO
from deft_aoi.engine.images import PIXEL_COST, REACH, REACH_COST, SUBPIXEL, decode
from deft_aoi.engine.line_model import OUTPUT, LineModel, line_model
from deft_aoi.engine.live import load_scorer
from deft_aoi.kpi.reuse import review_band
from deft_aoi.loop.line_export_tao import export_tao
from deft_aoi.loop.line_folder import FACTS, MODEL, Exported, shared_facts
from deft_aoi.loop.score import checked_checkpoint, load_model, read_reference
from deft_aoi.spec.tree import Optics, load_spec, optics

EXAMPLE, PARITY = "example.py", "parity.json"
TOLERANCE = 1e-5
_CHECKED = 32  # rows of the parity check


def new_folder(model_file: Path, output: Path | None) -> Path:
    """Where an export goes. Raises InputError where something is there."""
    folder = (output or model_file.parent / "line").expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: already there and not empty; name a new folder by --output-dir DIR")
    return folder


def export(model_file: Path, output: Path | None, *, review_share: float) -> Exported:
    """Write the folder; it only appears whole, with scores that are equal.

    Raises InputError where the model cannot be exported, or scores differ.
    """
    folder = new_folder(model_file, output)
    model = load_model(model_file)
    spec = Path(model["training_spec"])
    view = optics(load_spec(spec), spec)
    band = review_band(read_reference(model_file, model), review_share)
    if model.get("engine") == TAO:
        return export_tao(model_file, model, folder, view, band)
    made = line_model(str(model["engine"]), checked_checkpoint(model_file, model), view)
    with whole_folder(folder) as partial:
        atomic_write(partial / MODEL, lambda stream: stream.write(made.onnx))
        atomic_write_json(partial / FACTS, facts_of(model, made, view, band, sha256_file(partial / MODEL)))
        shutil.copyfile(SKILL_ROOT / "assets/export" / EXAMPLE, partial / EXAMPLE)
        largest, rows = _parity(partial, model_file, model, view)
    return Exported(folder, made.opset, rows, largest)


def _parity(folder: Path, model_file: Path, model: Mapping[str, Any], view: Optics) -> tuple[float, int]:
    """Score rows of the KPI set by the engine and by the example; (largest difference, rows)."""
    workspace = Workspace(workspace_of(model_file.resolve().parent))
    if not workspace.kpi_csv.is_file():
        raise InputError(
            f"{workspace.kpi_csv}: no such file; export from the model's own run, whose KPI rows prove that the scores "
            "are the same"
        )
    rows = read_rows(workspace.kpi_csv)
    rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _CHECKED)).round().astype(int))]
    files = _files(rows, workspace.images, view)
    scorer = load_scorer(str(model["engine"]), Path(model["checkpoint"]), view)
    ours = [float(scorer([_pictures(some)])[0]) for some in files]
    theirs = runpy.run_path(str(folder / EXAMPLE))["score"]
    found = [float(theirs(some)) for some in files]
    differences = [abs(one - other) for one, other in zip(ours, found)]
    largest = max(differences)
    if not largest <= TOLERANCE:
        at = int(np.argmax(differences))
        raise InputError(
            f"{rows['object_name'].iloc[at]}: the engine scores {ours[at]!r}, the exported model {found[at]!r}; "
            f"expected at most {TOLERANCE} between them; nothing was written"
        )
    scores = [
        {"object_name": name, "engine": one, "exported": other}
        for name, one, other in zip(rows["object_name"], ours, found)
    ]
    record = {"rows": len(rows), "largest_difference": largest, "tolerance": TOLERANCE, "scores": scores}
    atomic_write_json(folder / PARITY, record)
    return largest, len(rows)


def _files(rows: pd.DataFrame, images: Path, view: Optics) -> list[list[str]]:
    """Test and golden of each light in turn, for every row."""
    columns = [
        image_paths(rows, column, images, light, view.ext)
        for light in view.lights
        for column in ("input_path", "golden_path")
    ]
    return [list(row) for row in zip(*columns)]


def _pictures(files: Sequence[str]) -> list[tuple[Any, Any]]:
    pictures = [decode(content(Path(name))) for name in files]
    for name, one in zip(files, pictures):
        if one is None:
            raise InputError(f"{name}: not a readable image; restore it, since the parity check scores it")
    return list(zip(pictures[::2], pictures[1::2]))


def facts_of(
    model: Mapping[str, Any], made: LineModel, view: Optics, band: tuple[float, float] | None, digest: str
) -> dict[str, Any]:
    """preprocessing.json: what goes in, what the model does with it, and what its score means."""
    inputs = [
        {
            "name": name, "light": light, "picture": "golden" if golden else "test", "type": "uint8",
            "shape": ["height", "width", 3], "order": "RGB",
        }
        for name, light, golden in made.inputs
    ]  # fmt: skip
    return {
        **shared_facts(model, view, band, made.opset, digest),
        "inputs": inputs,
        "output": OUTPUT,
        "before_the_model": {
            "decode": "8 bits a value, RGB as stored; a grey picture three times; an orientation tag is not applied",
            "size": "any; test and golden may differ",
        },
        "in_the_model": {
            "size": {
                "width": view.width, "height": view.height, "shrinking": "mean of the covered area",
                "growing": "linear between pixel centres", "rounded_to": "8 bits",
            },
            "registration": {
                "of": "the golden onto the test picture, by luminance (0.299 R + 0.587 G + 0.114 B)",
                "reach_pixels": min(REACH, view.width // 4, view.height // 4),
                "cost": "the larger mean squared difference of both ways round, each mean subtracted",
                "cost_of_a_move": {"share_of_no_move_over_the_reach": REACH_COST, "each_pixel": PIXEL_COST},
                "steps_of_a_pixel": SUBPIXEL, "rim": "repeated",
            },
            "normalisation": _normalisation(str(model["engine"])),
            "lights": "measured one by one, in the order of inputs",
        },
    }  # fmt: skip


def _normalisation(engine: str) -> str:
    if engine == NET:
        return "values divided by 255; test, golden and their absolute difference side by side"
    return "none: values 0 to 255; the trunk normalises them itself"


def text(made: Exported) -> str:
    """What a person reads."""
    if made.rows is None:
        return f"wrote {made.folder}: {MODEL} (opset {made.opset}), {FACTS}; scores are not compared here"
    return (
        f"wrote {made.folder}: {MODEL} (opset {made.opset}), {FACTS}, {EXAMPLE}, {PARITY}\n"
        f"parity: {made.rows} KPI rows scored by the engine and by {EXAMPLE} differ by at most {made.largest:.2g}"
    )
