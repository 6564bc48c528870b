"""AnomalyGen's `run_sdg.sh`, answered without a GPU: a picture with a defect and its good partner for each test case.

Writes the original's layout below --output_dir: reconstructed_image/ (NG), original_image/ (OK), original_mask/,
cropped_image/, cropped_mask/, annotated_image/, SDG_result.csv, timing_summary.json. Each defect is cut from the
data set's own picture of it. A case that cannot be made is named on stdout and left out, as in the original.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deft_aoi.base import safe_images
from deft_aoi.base.errors import DeftError
from deft_aoi.base.threads import cores
from deft_aoi.engine.refusal import TaskError
from deft_aoi.synthetic.anomalygen_prep import grown_for_cut
from deft_aoi.synthetic.blend import transplant
from deft_aoi.synthetic.dataset import AnomalySet
from deft_aoi.synthetic.patches import Mask, Picture, placed, read_picture

NG, OK, RESULT = "reconstructed_image", "original_image", "SDG_result.csv"
COLUMNS = (
    "output_filename", "image_filename", "mask_filename", "anomaly_type", "guidance", "num_steps", "seed",
    "num_generated_images", "crop_and_paste", "crop_grid_X", "crop_grid_Y", "crop_ratio", "poisson_blend",
    "shift_values", "rotation_angle", "morph_operation", "PSNR", "index", "guardrail_pass",
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run_sdg.sh", description=__doc__, allow_abbrev=False)
    parser.add_argument("--checkpoint_dir", required=True, help="no effect here")
    parser.add_argument("--step", type=int, required=True, help="no effect here")
    parser.add_argument("--input_jsonl", type=Path, required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--model_size", choices=("2b", "14b"), default="2b", help="no effect here")
    parser.add_argument("--seed", type=int, default=0, help="no effect here: each test case has its own")
    parser.add_argument("--num_gpus", type=int, default=1, help="no effect here")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    try:
        generate(args.input_jsonl, args.output_dir)
    except DeftError as error:
        print(f"run_sdg.sh: {error}", file=sys.stderr)
        return TaskError.exit_code
    return 0


def generate(cases: Path, output: Path) -> None:
    """Make every case on all cores. Raises TaskError where the cases cannot be read."""
    started = time.perf_counter()
    cv2.setNumThreads(1)
    try:
        rows = [json.loads(line) for line in cases.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise TaskError(f"{cases}: not readable as JSON lines ({error})") from error
    counts: Counter[str] = Counter()
    names = []
    for row in rows:
        names.append(f"{row['anomaly_type']}_{counts[row['anomaly_type']]:05d}")
        counts[row["anomaly_type"]] += 1
    with ThreadPoolExecutor(cores()) as workers:
        made = list(workers.map(lambda pair: _make(pair[0], pair[1], output), zip(rows, names)))
    lines = [line for line in made if line is not None]
    output.mkdir(parents=True, exist_ok=True)
    with open(output / RESULT, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    summary = {"generation_seconds": round(time.perf_counter() - started, 3), "generated": len(lines)}
    (output / "timing_summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"generated {len(lines)} of {len(rows)}")


def _make(row: dict[str, Any], name: str, output: Path) -> dict[str, Any] | None:
    """Write the pictures of one case and return its line of SDG_result.csv; None where a picture cannot be read."""
    found = AnomalySet.at(Path(row.get("dataset_dir") or Path(row["image_filename"]).parents[2]))
    clean_file, mask_file = Path(row["image_filename"]), Path(row["mask_filename"])
    cleans = [read_picture(path) for path in found.per_light(clean_file)]
    mask = safe_images.read(mask_file, cv2.IMREAD_GRAYSCALE)
    if mask is None or any(picture is None for picture in cleans):
        _leave_out(name, mask_file if mask is None else clean_file)
        return None
    good = [picture for picture in cleans if picture is not None]
    bad = _defective(row, found, good, np.asarray(mask, np.uint8))
    if bad is None:
        _leave_out(name, Path(row["reference_image"] or row.get("source_mask") or mask_file))
        return None
    golden_file = found.golden_image(row["anomaly_type"].partition("+")[0], clean_file)
    goldens = [read_picture(path) for path in found.per_light(golden_file)] if golden_file else []
    partners = [picture for picture in goldens if picture is not None] or good
    tails = [f"_{light}" if light else "" for light in found.lights]
    for tail, ng, ok in zip(tails, bad, partners if len(partners) == len(bad) else good):
        _write(output / NG / f"{name}{tail}.png", ng)
        _write(output / OK / f"{name}{tail}.png", ok)
    _write_details(output, name, bad[0], np.asarray(mask, np.uint8))
    psnr = float(cv2.PSNR(bad[0], good[0])) if (bad[0] != good[0]).any() else 100.0
    shown = {**row, "output_filename": str(output / NG / f"{name}{tails[0]}.png"), "PSNR": round(psnr, 4)}
    shown |= {"shift_values": ",".join(map(str, row["shift_values"])), "guardrail_pass": ""}  # no guardrail ran
    return {column: shown[column] for column in COLUMNS}


def _defective(row: dict[str, Any], found: AnomalySet, good: list[Picture], mask: Mask) -> list[Picture] | None:
    """The pictures with the defect, one for each light; None where the real defect's picture cannot be read."""
    if not row.get("reference_image"):
        return None
    sources = [read_picture(path) for path in found.per_light(Path(row["reference_image"]))]
    if any(source is None for source in sources):
        return None
    size, move, quarters = good[0].shape[1::-1], tuple(row["shift_values"]), int(row["rotation_angle"]) // 90
    fitted = [
        placed(np.asarray(cv2.resize(source, size, interpolation=cv2.INTER_LINEAR), np.uint8), move, quarters)
        for source in sources
        if source is not None
    ]
    return transplant(good, fitted, grown_for_cut(mask), np.random.default_rng(row["seed"]))


def _leave_out(name: str, path: Path) -> None:
    print(f"WARNING {name}: {path} is no readable picture, left out", flush=True)


def _write_details(output: Path, name: str, picture: Picture, mask: Mask) -> None:
    """Mask, crop and outline: what a person looks at when a pair is odd."""
    _write(output / "original_mask" / f"{name}.png", mask)
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return
    _write(output / "cropped_image" / f"{name}_0.png", picture[y : y + height, x : x + width])
    _write(output / "cropped_mask" / f"{name}_0.png", mask[y : y + height, x : x + width])
    outlined = cv2.rectangle(picture.copy(), (x, y), (x + width - 1, y + height - 1), (0, 0, 255), 1)
    _write(output / "annotated_image" / f"{name}_0.png", np.asarray(outlined, np.uint8))


def _write(path: Path, image: Picture | Mask) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise TaskError(f"{path}: could not be written")


if __name__ == "__main__":
    sys.exit(main())
