"""AnomalyGen's `prep_testcase.sh`, answered without a GPU: allocate, place the masks, write the test cases.

Writes `allocation.json` and `testcase.jsonl` (and `amp_samples.json`) next to --output-jsonl and one mask a case below
--amp-output-dir. A case whose mask has no place is left out and named on stdout, as in the original: count the lines.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deft_aoi.base.errors import DeftError
from deft_aoi.base.safe_images import read as read_image
from deft_aoi.engine.images import register
from deft_aoi.engine.refusal import TaskError
from deft_aoi.synthetic.dataset import (
    CAD,
    LABELS,
    TEXT,
    AnomalySet,
    Entry,
    free_area,
    label_colours,
    placeable,
    problems,
    read_cad,
    read_entries,
)
from deft_aoi.synthetic.patches import Mask, grown, placed, read_picture

_JITTER = 0.03  # of the picture's side: how far from its own place a `free` defect may land
_TRIES = 12
_THUMBNAIL = 24  # pixels: enough to tell how a part lies


@dataclass(frozen=True)
class Case:
    """One mask in place: the picture to change, where, and the real defect that is cut out for it.

    The defect's picture and its mask are turned by so many quarters, then moved.
    """

    entry: Entry
    clean: Path
    mask: Mask
    reference: Path | None
    move: tuple[int, int]
    quarters: int
    seed: int


@dataclass(frozen=True)
class Match:
    """A good part for a defect: its picture, and how far the defect's must be turned to look like it."""

    clean: Path
    quarters: int


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prep_testcase.sh", description=__doc__, allow_abbrev=False)
    parser.add_argument("--name", required=True)
    parser.add_argument("--num-sdg", type=int, required=True, help="pairs in all")
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument("--clean-dir", type=Path, help="default: --dataset-dir")
    parser.add_argument("--amp-output-dir", type=Path, required=True)
    parser.add_argument("--output-jsonl", type=Path, required=True)
    parser.add_argument("--defect-spec", type=Path, required=True)
    parser.add_argument("--per-defect-counts", help='JSON, as {"IC+bridge": 5}; defects not in it get none')
    parser.add_argument("--guidance", type=float, default=7.0, help="noted in the test cases, no effect here")
    parser.add_argument("--crop-ratio", type=float, default=2.0, help="noted in the test cases, no effect here")
    parser.add_argument("--seed", type=int, default=42)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    try:
        prepare(args)
    except DeftError as error:
        print(f"prep_testcase.sh: {error}", file=sys.stderr)
        return TaskError.exit_code
    return 0


def prepare(args: argparse.Namespace) -> None:
    """Raises TaskError where the data set breaks an invariant or not one case has a place."""
    found, entries = AnomalySet.at(args.dataset_dir, args.clean_dir), read_entries(args.defect_spec)
    counts = allocate(entries, args.num_sdg, args.per_defect_counts)
    asked = [entry for entry in entries if counts[entry.defect_type]]
    broken = [line for line in problems(found, asked) if not line.startswith("mask classes")]
    broken += [
        f"{entry.defect_type}: placement by text needs AnomalyGen's container"
        for entry in asked
        if entry.dependency == TEXT
    ]
    if broken:
        raise TaskError("; ".join(broken))
    folder = args.output_jsonl.parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "allocation.json").write_text(json.dumps(counts, indent=2) + "\n")
    rows: list[dict[str, Any]] = []
    for number, entry in enumerate(asked):
        done = 0
        for case in cases(found, entry, counts[entry.defect_type], args.seed, number):
            name = f"{entry.defect_type}_{done:05d}"
            if case is None:
                continue
            path = args.amp_output_dir / name / "mask_000.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), case.mask)
            rows.append(row_of(case, path, len(rows), args))
            done += 1
        print(f"{entry.defect_type}: {done} of {counts[entry.defect_type]} masks placed", flush=True)
    if not rows:
        raise TaskError(f"{args.output_jsonl}: 0 cases, no mask of any defect has a place")
    (folder / "amp_samples.json").write_text(json.dumps([row["mask_filename"] for row in rows], indent=2) + "\n")
    args.output_jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"wrote {len(rows)} cases to {args.output_jsonl}")


def allocate(entries: Sequence[Entry], total: int, asked: str | None) -> dict[str, int]:
    """Pairs by defect: as asked, else equal parts, the first ones one more."""
    kinds = list(dict.fromkeys(entry.defect_type for entry in entries))
    if asked is not None:
        wanted: Mapping[str, int] = json.loads(asked)
        return {kind: int(wanted.get(kind, 0)) for kind in kinds}
    return {kind: total // len(kinds) + (number < total % len(kinds)) for number, kind in enumerate(kinds)}


def cases(found: AnomalySet, entry: Entry, count: int, seed: int, number: int) -> list[Case | None]:
    """`count` cases, None for one without a place. Every (mask, clean image) meets once before any pair repeats."""
    rng = np.random.default_rng([seed, 1, number])
    cleans = found.clean_images(entry.texture)
    masks = found.masks(entry)
    cleans = [cleans[i] for i in rng.permutation(len(cleans))]
    masks = [masks[i] for i in rng.permutation(len(masks))]
    orders = [matches(found, entry, mask, cleans[place:] + cleans[:place]) for place, mask in enumerate(masks)]
    made: list[Case | None] = []
    for turn in range(count):
        mask, order = masks[turn % len(masks)], orders[turn % len(masks)]
        match = order[(turn // len(masks)) % len(order)]
        case = _case(found, entry, match, mask, int(rng.integers(2**31)))
        if case is None:
            print(f"WARNING {match.clean.stem}: no place for {mask.stem} of {entry.defect_type}, left out")
        made.append(case)
    return made


def matches(found: AnomalySet, entry: Entry, mask: Path, cleans: Sequence[Path]) -> list[Match]:
    """Good parts for a defect, the most alike first: a defect of a part that lies across fits none that stands upright.

    Alike is how little the defective part's golden differs from the good picture; in the given order without a golden.
    """
    golden = found.anomaly_golden(entry, mask)
    wanted = _thumbnail(golden) if golden else None
    if wanted is None:
        return [Match(clean, 0) for clean in cleans]
    ranked = []
    for place, clean in enumerate(cleans):
        shown = _thumbnail(clean)
        if shown is None:
            ranked.append((np.inf, place, Match(clean, 0)))
            continue
        far = [float(np.abs(np.rot90(wanted, quarters) - shown).mean()) for quarters in range(4)]
        best = int(np.argmin(far))
        ranked.append((far[best], place, Match(clean, best)))
    return [match for _, _, match in sorted(ranked, key=lambda one: one[:2])]


def _thumbnail(path: Path) -> npt.NDArray[np.float32] | None:
    """Small, soft and in colour: a defect of a blue board belongs on a blue board, where there is one."""
    picture = read_picture(path)
    if picture is None:
        return None
    small = cv2.resize(picture, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), 1.0), np.float32)


def _case(found: AnomalySet, entry: Entry, match: Match, mask_file: Path, seed: int) -> Case | None:
    clean, quarters = match.clean, match.quarters
    rng = np.random.default_rng(seed)
    files = found.per_light(clean)
    pictures = [picture for path in files if (picture := read_picture(path)) is not None]
    if len(pictures) < len(files):
        return None
    shape = pictures[0].shape[:2]
    given = read_image(mask_file, cv2.IMREAD_GRAYSCALE)
    if given is None:
        return None
    white = (np.asarray(given) > 127).astype(np.uint8) * 255
    mask = np.asarray(cv2.resize(white, shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
    there = placed(mask, (0, 0), quarters)
    if entry.dependency == CAD:
        move = _cad_move(found, entry, clean, there, rng)
    else:
        golden = found.anomaly_golden(entry, mask_file)
        move = _registered(golden, clean, quarters) if golden else _free_move(there, rng)
    if move is None or not placed(mask, move, quarters).any():
        return None
    reference = found.anomaly_image(entry, mask_file)
    return Case(entry, clean, placed(mask, move, quarters), reference, move, quarters, seed)


def _registered(golden: Path, clean: Path, quarters: int) -> tuple[int, int] | None:
    """How the defective part's golden moves onto the good part, in whole pixels: its defect moves along."""
    first, second = (read_image(path, cv2.IMREAD_GRAYSCALE) for path in (golden, clean))
    if first is None or second is None:
        return None
    fitted = cv2.resize(first, second.shape[::-1], interpolation=cv2.INTER_AREA)
    dx, dy = register(np.rot90(fitted, quarters).astype(np.float32).copy(), second.astype(np.float32))
    return round(dx), round(dy)


def _free_move(mask: Mask, rng: np.random.Generator) -> tuple[int, int] | None:
    """A few pixels off its own place (parts are in the middle of their pictures), wholly inside the picture."""
    if not mask.any():
        return None
    x, y, width, height = cv2.boundingRect(mask)
    reach = max(1, round(_JITTER * min(mask.shape)))
    for _ in range(_TRIES):
        dx, dy = (int(value) for value in rng.integers(-reach, reach + 1, 2))
        if x + dx >= 0 and y + dy >= 0 and x + dx + width <= mask.shape[1] and y + dy + height <= mask.shape[0]:
            return dx, dy
    return 0, 0


def _cad_move(
    found: AnomalySet, entry: Entry, clean: Path, mask: Mask, rng: np.random.Generator
) -> tuple[int, int] | None:
    """To a place where the mask's box is wholly on labelled ground; None where there is none."""
    cad = read_cad(found.cad_mask(entry.texture, clean))
    if cad is None or not mask.any():
        return None
    area = free_area(cad, placeable(label_colours(found.root / LABELS)))
    if area.shape != mask.shape:
        area = np.asarray(cv2.resize(area, mask.shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    corners = np.argwhere(fits(area, width, height))
    if not len(corners):
        return None
    top, left = corners[int(rng.integers(len(corners)))]
    return int(left) - x, int(top) - y


def fits(area: Mask, width: int, height: int) -> Mask:
    """255 at every corner (top left) from which a box of this size is wholly inside `area`."""
    kernel = np.ones((height, width), np.uint8)
    return np.asarray(cv2.erode(area, kernel, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=0), np.uint8)


def row_of(case: Case, mask: Path, index: int, args: argparse.Namespace) -> dict[str, Any]:
    """A line of testcase.jsonl: AnomalyGen's keys, then what the reference generator adds."""
    return {
        "image_filename": str(case.clean), "mask_filename": str(mask), "anomaly_type": case.entry.defect_type,
        "guidance": args.guidance, "num_steps": 0, "seed": case.seed, "num_generated_images": 1,
        "crop_and_paste": False, "crop_grid_X": 1, "crop_grid_Y": 1, "crop_ratio": args.crop_ratio,
        "poisson_blend": True, "shift_values": list(case.move), "rotation_angle": 90 * case.quarters,
        "morph_operation": "none", "index": index,
        "dataset_dir": str(args.dataset_dir), "reference_image": str(case.reference or ""),
    }  # fmt: skip


def grown_for_cut(mask: Mask) -> Mask:
    """What is cut out around a defect: its mask and a rim, so that its edge comes along."""
    return grown(mask, max(3, round(0.03 * min(mask.shape))))


if __name__ == "__main__":
    sys.exit(main())
