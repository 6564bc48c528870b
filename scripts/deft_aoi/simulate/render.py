"""Pictures of a simulated line, as a process of their own: neither tables nor what reads them is imported here."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np

from deft_aoi.base.paths import Workspace
from deft_aoi.simulate.board import PRODUCTS, make_site
from deft_aoi.simulate.defects import DEFECTS, can_have
from deft_aoi.simulate.line import LOTS, Lot, make_lot
from deft_aoi.simulate.line_plan import BoardPlan
from deft_aoi.simulate.pair import Pictures, golden_pictures, line_pictures, synthetic_pair

EXT = ".jpg"
_QUALITY = 92


@functools.cache
def _lot(seed: int, number: int) -> Lot:
    return make_lot(seed, number)


def render_board(plan: BoardPlan, root: Path) -> None:
    """Write the images of one board under `root`."""
    stage = Workspace(root)
    images = stage.pool_dir / "images" if plan.split == "pool" else stage.images
    for part in ("test", "golden"):
        (images / plan.name / part).mkdir(parents=True)
    for row in plan.rows:
        site = make_site(plan.seed, plan.product, row.position)
        rng = np.random.default_rng([plan.seed, 5, plan.serial, row.position])
        test = line_pictures(rng, site, _lot(plan.seed, plan.lot), plan.drift, row.defect or None, row.severity)
        golden = golden_pictures(rng, site, _lot(plan.seed, 0))
        _write_pictures(images / plan.name / "test" / site.name, test, EXT)
        _write_pictures(images / plan.name / "golden" / site.name, golden, EXT)


def _write_pictures(stem: Path, pictures: Pictures, ext: str) -> None:
    """`<stem>_<light><ext>` per light. Not fsynced one by one: the staged folder counts only once it is complete."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if ext == EXT else []
    for light, picture in pictures.items():
        encoded = cv2.imencode(ext, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1]
        stem.with_name(f"{stem.name}_{light}{ext}").write_bytes(encoded.tobytes())


def render_pairs(seed: int, numbers: range, root: Path) -> None:
    """Pre-generated NG/OK pairs `PCB+<defect>_<idx>_<light>.png`; they belong to no board."""
    stage = Workspace(root)
    for folder in (stage.pregen_ng, stage.pregen_ok):
        folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        defect = DEFECTS[number % len(DEFECTS)]
        rng = np.random.default_rng([seed, 13, number])
        product = number % len(PRODUCTS)
        sites = (make_site(seed, product, int(rng.integers(10_000, 20_000))) for _ in iter(int, 1))
        site = next(site for site in sites if can_have(site, defect))
        lot = _lot(seed, number // len(DEFECTS) % LOTS)
        ng, ok = synthetic_pair(rng, site, lot, defect, float(rng.uniform(0.1, 1.0)))
        _write_pictures(stage.pregen_ng / f"PCB+{defect}_{number:05d}", ng, ".png")
        _write_pictures(stage.pregen_ok / f"PCB+{defect}_{number:05d}", ok, ".png")
