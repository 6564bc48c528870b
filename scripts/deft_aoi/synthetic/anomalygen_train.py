"""AnomalyGen's `launch_training.sh`, answered without a GPU: learn how the real defects of a data set look.

A step learns one example, the types in turn; every --save-iter steps and at the end a checkpoint is written, below
IMAGINAIRE_OUTPUT_ROOT as the original does: anomaly_gen/NAME/NAME_training_reference/{ag_config.yaml,
checkpoints/latest_checkpoint.txt, checkpoints/model/iter_STEP.pt}. What is in it: see anomaly_memory.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from deft_aoi.base.errors import DeftError
from deft_aoi.base.files import atomic_write_text
from deft_aoi.base.safe_yaml import read_yaml
from deft_aoi.engine.refusal import TaskError
from deft_aoi.synthetic.dataset import SPEC, AnomalySet, model_file, read_entries
from deft_aoi.synthetic.memory import Example, Learned, example_of, masks_to_learn, save, solder_of_kind

FINISHED = "trained"  # in the output root, once the last checkpoint is written


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="launch_training.sh", description=__doc__, allow_abbrev=False)
    parser.add_argument("--ag-config", type=Path, required=True)
    parser.add_argument("--num-gpus", type=int, default=1, help="no effect here")
    parser.add_argument("--model-size", choices=("2b", "14b"), default="2b", help="no effect here")
    parser.add_argument("--master-port", type=int, default=12341, help="no effect here")
    parser.add_argument(
        "--output-root", type=Path, help="ours: the output root (default: IMAGINAIRE_OUTPUT_ROOT, else ./results)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    root = args.output_root or Path(os.environ.get("IMAGINAIRE_OUTPUT_ROOT", "results"))
    cv2.setNumThreads(1)
    try:
        train(args.ag_config, root)
    except DeftError as error:
        print(f"launch_training.sh: {error}", file=sys.stderr)
        return TaskError.exit_code
    return 0


def train(config_file: Path, root: Path) -> Path:
    """Learn and return the folder of the checkpoints. Raises TaskError where there is nothing to learn from."""
    config = _read(config_file)
    found = AnomalySet.at(Path(config["dataloader_train"]["dataset"]["dataset_dir"]))
    wanted = {"+".join(pair) for pair in config["dataloader_train"]["dataset"]["anomaly_types"]}
    entries = read_entries(found.root / SPEC)
    todo = masks_to_learn(found, [entry for entry in entries if entry.defect_type in wanted])
    todo = todo[: config["trainer"]["max_iter"]]
    solder = {
        texture: metal
        for texture in dict.fromkeys(entry.texture for entry in entries)
        if (metal := solder_of_kind(found, texture)) is not None
    }
    job = config["job"]
    home = root / job["project"] / job["group"] / job["name"]
    atomic_write_text(home / "ag_config.yaml", config_file.read_text(encoding="utf-8"))
    examples: dict[str, list[Example]] = {}
    for step, (entry, mask) in enumerate(todo, start=1):
        example = example_of(found, entry, mask)
        if example is None:
            print(f"WARNING {mask}: no picture of this defect, or none that can be read", flush=True)
        else:
            examples.setdefault(entry.defect_type, []).append(example)
        if step % config["checkpoint"]["save_iter"] == 0 or step == len(todo):
            _save(home, step, Learned({kind: tuple(one) for kind, one in examples.items()}, solder))
    if not examples:
        raise TaskError(f"{found.root}: no readable picture of any real defect, so nothing can be learned")
    counts = Counter({kind: len(one) for kind, one in examples.items()})
    for kind, number in sorted(counts.items()):
        print(f"{kind}: {number} examples learned")
    atomic_write_text(root / FINISHED, f"{home.relative_to(root)}\n")
    return home


def _save(home: Path, step: int, learned: Learned) -> None:
    path = model_file(home, step)
    save(path, learned)
    atomic_write_text(home / "checkpoints/latest_checkpoint.txt", path.name + "\n")
    print(f"step {step}: saved {path.name}", flush=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = read_yaml(path)
        steps = config["trainer"]["max_iter"], config["checkpoint"]["save_iter"]
        if not all(type(number) is int and number > 0 for number in steps):
            raise TaskError(f"{path}: max_iter and save_iter must be whole numbers from 1")
        _ = [config["job"][name] for name in ("project", "group", "name")]
        _ = config["dataloader_train"]["dataset"]["anomaly_types"]
    except OSError as error:
        raise TaskError(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError) as error:
        raise TaskError(f"{path}: no configuration of generate_config.py ({error} is missing)") from error
    return config


if __name__ == "__main__":
    sys.exit(main())
