"""AnomalyGen's `generate_config.py`, answered by the reference generator: the YAML that `launch_training.sh` reads.

Names, paths, defect types and step counts stand where AnomalyGen has them; what only a diffusion model needs (learning
rate, batch, crops, early stop) is accepted and has no effect.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from deft_aoi.base.errors import DeftError
from deft_aoi.base.files import atomic_write_text
from deft_aoi.engine.refusal import TaskError
from deft_aoi.synthetic.dataset import PROCEDURAL, read_entries


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="generate_config.py", description=__doc__, allow_abbrev=False)
    parser.add_argument("--name", required=True)
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument("--defect-spec", type=Path, required=True)
    parser.add_argument("--validation-jsonl", required=True)
    parser.add_argument("--model-size", default="2b", choices=("2b", "14b"), help="no effect here")
    parser.add_argument("--max-iter", type=int, default=75000, help="a step learns one example")
    parser.add_argument("--save-iter", type=int, default=5000)
    parser.add_argument("--validation-iter", type=int, default=5000, help="no effect here")
    parser.add_argument("--image-size", type=int, default=512, help="no effect here: parts keep their own size")
    parser.add_argument("--lr", type=float, default=0.02, help="no effect here")
    parser.add_argument("--batch-size", type=int, default=2, help="no effect here")
    parser.add_argument("--aug-type", default="random_ratio_crop", help="no effect here")
    parser.add_argument("--ratio-range", nargs=2, type=float, default=[1.5, 8.0], help="no effect here")
    parser.add_argument("--early-stop", action="store_true", help="no effect here")
    parser.add_argument("--es-patience", type=int, default=5, help="no effect here")
    parser.add_argument("--output", type=Path, required=True)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    try:
        types = [
            [entry.texture, entry.anomaly] for entry in read_entries(args.defect_spec) if entry.maker != PROCEDURAL
        ]
    except DeftError as error:
        print(f"generate_config.py: {error}", file=sys.stderr)
        return TaskError.exit_code
    config = {
        "job": {"project": "anomaly_gen", "group": args.name, "name": f"{args.name}_training_reference"},
        "trainer": {"max_iter": args.max_iter, "validation_iter": args.validation_iter},
        "checkpoint": {"save_iter": args.save_iter},
        "dataloader_train": {"dataset": {"dataset_dir": str(args.dataset_dir), "anomaly_types": types}},
        "dataloader_val": {"dataset": {"input_data_path": args.validation_jsonl}},
    }
    atomic_write_text(args.output, yaml.safe_dump(config, sort_keys=False))
    print(f"wrote {args.output} (types={len(types)})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
