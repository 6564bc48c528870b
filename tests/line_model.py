"""A workspace made by `deft import` with a model in it, and new pictures for it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from deft_aoi.base.files import atomic_write_json, sha256_file
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import is_defect, read_rows
from deft_aoi.cli.main import main
from deft_aoi.engine.features.checkpoint import save_checkpoint
from deft_aoi.engine.features.head import start_head
from deft_aoi.engine.features.table import feature_table
from deft_aoi.spec.tree import load_spec, optics
from door_pictures import line, save, shot


def imported_model(root: Path) -> Path:
    """best_model.json in a workspace that was imported from ten boards of three components."""
    line(root / "in", boards=10, components=3, goldens=2)
    words = ["--workspace", str(root / "w"), "--size", "48", "--image-ext", ".png", "--yes"]
    assert main(["import", str(root / "in"), *words]) == 0
    return make_model(Workspace.at(root / "w"))


def make_model(workspace: Workspace) -> Path:
    """An untrained head that knows the spread of the training rows only, written as a finished run writes its model."""
    view = optics(load_spec(workspace.spec), workspace.spec)
    rows = read_rows(workspace.training_csv)
    values = feature_table(rows, workspace.images, view).values
    head = start_head(view.lights, values, is_defect(rows["label"]).to_numpy())
    scores, defect = head.scores(values), is_defect(rows["label"]).to_numpy()
    run = workspace.results / "run_20260101_000000"
    save_checkpoint(run / "best.pth", head, view)
    threshold = float((scores[~defect].max() + scores[defect].min()) / 2)
    model = {
        "checkpoint": str(run / "best.pth"), "checkpoint_sha256": sha256_file(run / "best.pth"), "threshold": threshold,
        "training_spec": str(workspace.spec), "engine": "features", "images_dir": str(workspace.images),
    }  # fmt: skip
    atomic_write_json(run / "best_model.json", model)
    return run / "best_model.json"


def new_pictures(root: Path) -> Path:
    """Two further boards, as the station writes them: 6 good parts and 2 defects in folders of boards."""
    for board in (300, 301):
        for number in range(3):
            save(root / f"SN{board}/SN{board}_R{number + 1}.png", shot(number, board))
        save(root / f"SN{board}/again/SN{board}_R{board % 3 + 1}.png", shot(board % 3, board + 50, defect=True))
    return root


def random_net(width: int, planes: int = 1) -> dict[str, np.ndarray]:
    """Weights of an early-fusion network of so many planes, by the names of its parts."""
    rng = np.random.default_rng(0)
    sizes = (width, width, 2 * width, 3 * width, 3 * width)
    shapes = {
        "stem.weight": (width, 3 * planes, 3, 3),
        "stem.bias": (width,),
        "head.weight": (1, 6 * width),
        "head.bias": (1,),
    }
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        block = f"blocks.{number}"
        shapes |= {f"{block}.first.weight": (outputs, inputs, 3, 3), f"{block}.second.weight": (outputs, outputs, 3, 3)}
        shapes |= {f"{block}.skip.weight": (outputs, inputs, 1, 1)}
        parts = [f"{block}.{place}_norm.{part}" for place in ("first", "second") for part in ("weight", "bias")]
        shapes |= dict.fromkeys(parts, (outputs,))
        parts = [f"{block}.{place}_norm.running_{part}" for place in ("first", "second") for part in ("mean", "var")]
        shapes |= dict.fromkeys(parts, (outputs,))
    drawn = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    return {name: np.abs(value) + 0.5 if name.endswith("var") else value for name, value in drawn.items()}
