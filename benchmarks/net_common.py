"""What the benchmarks of the net engine share: train one network on rows of a workspace, score, time."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import is_defect, read_pool, read_rows
from deft_aoi.engine.net import training
from deft_aoi.engine.net.facts import NetFacts, Tensors
from deft_aoi.engine.net.model import PairNet
from deft_aoi.engine.net.net_checkpoint import Progress
from deft_aoi.engine.net.pixels import PixelTable, pixel_table
from deft_aoi.engine.net.recipe import ON_GPU, Recipe
from deft_aoi.kpi.sweep import auroc, operating_point, sweep
from deft_aoi.spec.tree import Optics, load_spec, optics

Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """Pixels and labels of some rows."""

    table: PixelTable
    defect: Labels

    def only(self, rows: npt.NDArray[np.int64]) -> Part:
        return Part(replace(self.table, index=self.table.index[rows]), self.defect[rows])

    def plus(self, other: Part) -> Part:
        stored = max(self.table.stored, other.table.stored)
        index = np.concatenate([self.table.index, other.table.index])
        return Part(replace(self.table, stored=stored, index=index), np.concatenate([self.defect, other.defect]))


@dataclass(frozen=True)
class Rates:
    """Percent."""

    far: float
    far_995: float
    auroc: float

    def __str__(self) -> str:
        return f"{self.far:.2f} | {self.far_995:.2f} | {self.auroc:.3f}"


@dataclass(frozen=True)
class Trained:
    net: PairNet
    steps: int
    step_seconds: float
    seconds: float


def read_parts(root: Path) -> tuple[dict[str, Part], Optics]:
    """Parts `train`, `validation`, `kpi`, `pool` of a workspace."""
    home = Workspace.at(root)
    view = optics(load_spec(home.spec), home.spec)
    csvs = {"train": home.training_csv, "validation": home.validation_csv, "kpi": home.kpi_csv}
    rows = {name: (read_rows(csv), home.images) for name, csv in csvs.items()}
    rows["pool"] = (read_pool(home.pool_csv, home.root, view.lights, view.ext), home.root)
    parts = {}
    for name, (frame, images) in rows.items():
        table = pixel_table(frame, images, view, 1, name)
        parts[name] = Part(table, is_defect(frame["label"]).to_numpy())
    return parts, view


def fit(
    part: Part, view: Optics, *, recipe: Recipe = ON_GPU, epochs: int = 10, share: float = 0.2,
    cls_weight: tuple[float, float] = (1.0, 10.0), seed: int = 0, initial: Tensors | None = None,
) -> Trained:  # fmt: skip
    """Train without validation; times include everything from the pixel table on."""
    kept: list[PairNet] = []

    def end(net: PairNet, progress: Progress) -> tuple[Progress, bool]:
        kept[:] = [net]
        return progress, False

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        facts = NetFacts.of(view, 1, recipe.net_width)
        job = training.Job(
            Path(scratch), part.table, part.defect, facts, recipe, epochs, 16 * recipe.images, share, cls_weight,
            seed, initial, "benchmark",
        )  # fmt: skip
        done = training.train(job, end)
    return Trained(kept[0], epochs * job.steps, done.seconds, time.monotonic() - began)


def rates(defect: Labels, logits: npt.NDArray[np.float64]) -> Rates:
    swept = sweep(defect, logits)
    full, most = (100 * operating_point(swept, recall).far for recall in (1.0, 0.995))
    return Rates(full, most, 100 * auroc(swept))


def judge(net: PairNet, part: Part) -> Rates:
    return rates(part.defect, training.scored(net, part.table, next(net.parameters()).device))
