"""A training of the net engine killed at random moments, beside one that was left alone.

  PYTHONPATH=scripts python benchmarks/net_kills.py [--kills 20] [--epochs 30] [--boards 6]
On a small simulated line; uses the GPU where torch sees one. Prints a Markdown table: steps in total, whether the last
weights are the same bytes, validation figures, and those of two other seeds to compare with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft_aoi.base.paths import Workspace
from deft_aoi.simulate.workspace import simulate

SEED = 1234


@dataclass(frozen=True)
class Trained:
    """What one training left."""

    steps: int
    digest: str
    val_far: float
    val_loss: float
    kills: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--boards", type=int, default=6)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        simulate(Path(scratch) / "line", seed=0, boards=args.boards)
        workspace = Workspace.at(Path(scratch) / "line")
        whole = train(workspace, "whole", args.epochs, SEED)
        broken = train(workspace, "broken", args.epochs, SEED, kills=args.kills, epoch_s=whole.seconds / args.epochs)
        others = [train(workspace, f"seed{seed}", args.epochs, seed) for seed in (SEED + 1, SEED + 2)]
    print("| training | kills | steps | last weights | val FAR@100 % | val loss | seconds |")
    print("|---|---|---|---|---|---|---|")
    rows = {"left alone": whole, "killed": broken, "another seed": others[0], "a third": others[1]}
    for name, one in rows.items():
        same = "same bytes" if one.digest == whole.digest else "other bytes"
        figures = f"{one.val_far:.2f} | {one.val_loss:.5f} | {one.seconds:.0f}"
        print(f"| {name} | {one.kills} | {one.steps} | {same} | {figures} |")


def train(workspace: Workspace, name: str, epochs: int, seed: int, kills: int = 0, epoch_s: float = 0.0) -> Trained:
    """Train into a folder of its own, killed `kills` times within 1.5 epochs after it went on."""
    folder = workspace.results / name
    random.seed(seed)
    began, done = time.monotonic(), 0
    while True:
        job = start(workspace, folder, epochs, seed)
        if done < kills and under_way(folder, job):
            time.sleep(random.uniform(0, 1.5 * epoch_s))
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
                done += 1
        if job.wait() == 0:
            break
        if job.returncode != -signal.SIGKILL:
            raise SystemExit(f"{name}: exit {job.returncode}; see {folder}")
    return outcome(folder, done, time.monotonic() - began)


def start(workspace: Workspace, folder: Path, epochs: int, seed: int) -> subprocess.Popen[bytes]:
    data = "dataset.classify"
    settings = {
        f"{data}.train_dataset.csv_path": workspace.training_csv,
        f"{data}.train_dataset.images_dir": workspace.images,
        f"{data}.validation_dataset.csv_path": workspace.validation_csv,
        f"{data}.validation_dataset.images_dir": workspace.images,
        "model.backbone.pretrained_backbone_path": "null",
        "train.results_dir": folder,
        "train.num_epochs": epochs,
        "train.checkpoint_interval": epochs,
        "train.validation_interval": 1,
        "train.seed": seed,
    }
    command = [sys.executable, "-m", "deft_aoi.engine.visual_changenet", "train", "-e", str(workspace.spec)]
    command += ["--engine", "net", *(f"{key}={value}" for key, value in settings.items())]
    environment = os.environ | {"DEFT_CACHE_DIR": str(workspace.cache)}
    return subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)


def under_way(folder: Path, job: subprocess.Popen[bytes]) -> bool:
    """Wait until the resume state of this start is there and the loop has begun; False where the job ended first."""
    started = time.time()
    status = folder / "status.json"
    while job.poll() is None:
        if (folder / "resume.safetensors").is_file() and status.is_file() and status.stat().st_mtime >= started:
            return True
        time.sleep(0.02)
    return False


def outcome(folder: Path, kills: int, seconds: float) -> Trained:
    messages: list[dict[str, Any]] = [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]
    ends = [m for m in messages if m.get("message") == "Training loop in progress"]
    validated = [m["kpi"] for m in messages if m.get("message") == "Eval metrics generated."]
    digest = hashlib.sha256((folder / "changenet_model_classify_latest.pth").read_bytes()).hexdigest()
    last = validated[-1]
    return Trained(max(m["step"] for m in ends), digest, last["val_far"], last["val_loss"], kills, seconds)


if __name__ == "__main__":
    main()
