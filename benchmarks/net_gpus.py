"""One GPU beside several: the same training by `visual_changenet train`, train.num_gpus=1 and N, and its KPI figures.

  python benchmarks/net_gpus.py --workspace WORKSPACE [--gpus 2] [--batches 16:10,128:3]
`--batches`: batch_size:num_epochs pairs. All rows of seed and pool. Prints a Markdown table on stdout.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import read_pool, read_rows, write_rows
from deft_aoi.spec.tree import load_spec, optics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--batches", default="16:10,128:3")
    args = parser.parse_args()
    home = Workspace.at(args.workspace)
    print("| pairs a step | GPUs | seconds in steps | FAR@100 %, validation | KPI |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        csv = Path(scratch) / "all.csv"
        write_rows(csv, all_rows(home))
        for batch, epochs in (text.split(":") for text in args.batches.split(",")):
            for gpus in (1, args.gpus):
                folder = Path(scratch) / f"{batch}x{gpus}"
                print(line(home, csv, folder, int(batch), int(epochs), gpus), flush=True)


def all_rows(home: Workspace) -> pd.DataFrame:
    """Seed and pool rows, paths relative to the workspace."""
    view = optics(load_spec(home.spec), home.spec)
    seed = read_rows(home.training_csv)
    for column in ("input_path", "golden_path"):
        seed[column] = home.images.relative_to(home.root).as_posix() + "/" + seed[column]
    return pd.concat([seed, read_pool(home.pool_csv, home.root, view.lights, view.ext)], ignore_index=True)


def line(home: Workspace, csv: Path, folder: Path, batch: int, epochs: int, gpus: int) -> str:
    data = "dataset.classify"
    run(
        home, "train", "--engine", "net", f"train.results_dir={folder}", f"train.num_epochs={epochs}",
        f"train.num_gpus={gpus}", f"{data}.batch_size={batch}", f"{data}.train_dataset.csv_path={csv}",
        f"{data}.train_dataset.images_dir={home.root}", f"{data}.validation_dataset.csv_path={home.validation_csv}",
        f"{data}.validation_dataset.images_dir={home.images}", "train.tensorboard.infrequent_logging_frequency=1",
    )  # fmt: skip
    messages = [json.loads(text) for text in (folder / "status.json").read_text().splitlines()]
    last = [m for m in messages if "max_step" in m][-1]
    hours, minutes, seconds = (float(part) for part in last["time_per_epoch"].split(":"))
    total = (3600 * hours + 60 * minutes + seconds) * (last["epoch"] + 1)
    told = run(
        home, "evaluate", f"evaluate.results_dir={folder}/kpi",
        f"evaluate.checkpoint={folder}/changenet_model_classify_latest.pth",
        f"{data}.test_dataset.csv_path={home.kpi_csv}", f"{data}.test_dataset.images_dir={home.images}",
    )  # fmt: skip
    far = re.search(r"val_far=(\S+)", told)
    return f"| {12 * batch} | {gpus} | {total:.1f} | {last['kpi']['val_far']:.2f} | {far[1] if far else told} |"


def run(home: Workspace, task: str, *more: str) -> str:
    command = [sys.executable, "-m", "deft_aoi.engine.visual_changenet", task, "-e", str(home.spec), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[2:])}: {done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
