"""`anomalygen_dataset`: a data set in AnomalyGen's layout from a table of inspected parts, for the reference generator.

Good parts become clean images with their goldens, grouped by kind of part (part_type, else comp_type_1, else
comp_type_2); defects become masks (where they differ from their golden) with their pictures. `dataset.json` counts the
examples of each label; a label without one is left out. Pictures are linked, not copied.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from deft_aoi.base import safe_images
from deft_aoi.base.console import guarded
from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json, atomic_write_text
from deft_aoi.base.rows import PASS, image_path, is_defect, normalise_label, pad_columns, read_rows
from deft_aoi.engine.images import Pair, decode, make_pair
from deft_aoi.synthetic.dataset import FREE, LIGHTS, SPEC, SUFFIXES
from deft_aoi.synthetic.patches import Mask

RECORD = "dataset.json"
CLEANS_PER_KIND = 60
EXAMPLES_PER_LABEL = 60  # of one kind of part
_KINDS = ("part_type", "comp_type_1", "comp_type_2")
VISIBLE = 12.0  # grey levels: a smaller difference no camera could see
CORE, _FLANK = 0.6, 0.3  # of the largest difference: a defect has a pixel of the first, and reaches to the second
_STROKE = 0.04  # of the picture's side: print is drawn in thinner lines
_LARGEST = 0.5  # of the picture: more is no defect but another picture


@dataclass(frozen=True)
class Source:
    """Where the rows' pictures lie."""

    images: Path
    lights: tuple[str, ...]
    ext: str

    def files(self, row: Mapping[Hashable, Any], column: str) -> list[Path]:
        return [image_path(self.images, row[column], row["object_name"], light, self.ext) for light in self.lights]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="anomalygen_dataset", description=__doc__)
    parser.add_argument("--rows", type=Path, required=True, help="CSV of inspected parts (ChangeNet columns)")
    parser.add_argument("--images-dir", type=Path, required=True)
    parser.add_argument("--light", action="append", required=True, help="light name, repeatable")
    parser.add_argument("--image-ext", required=True)
    parser.add_argument("--label", action="append", required=True, help="defect to prepare, repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    source = Source(args.images_dir, tuple(args.light), args.image_ext)
    record = build(args.rows, source, [normalise_label(label) for label in args.label], args.seed, args.output)
    for label, number in record["examples"].items():
        print(f"{label}: {number} examples" if number else f"{label}: no example, cannot be made")
    return 0


def build(csv: Path, source: Source, labels: Sequence[str], seed: int, output: Path) -> dict[str, Any]:
    """Write the set and return what dataset.json holds: the number of clean images by kind and of examples by label."""
    rows = pad_columns(read_rows(csv))
    rows["label"] = rows["label"].map(normalise_label)
    rows["kind"] = [kind_of(row) for row in rows.to_dict("records")]
    good = rows[rows["label"] == PASS]
    if good.empty:
        raise InputError(f"{csv}: no PASS row; the generator needs pictures of good parts")
    rng = np.random.default_rng([seed, 7])
    cleans = {str(kind): _link_clean(part, source, rng, output / str(kind)) for kind, part in good.groupby("kind")}
    lines, examples = [], {}
    for label in dict.fromkeys(labels):
        wanted = rows[is_defect(rows["label"]) & (rows["label"] == label) & rows["kind"].isin(list(cleans))]
        found = {
            str(kind): number
            for kind, part in wanted.groupby("kind")
            if (number := _write_examples(part, source, rng, output / str(kind), label))
        }
        examples[label] = sum(found.values())
        lines += [{"defect_type": f"{kind}+{label}", "spatial_dependency": FREE} for kind in found]
    atomic_write_text(output / SPEC, "".join(json.dumps(line) + "\n" for line in lines))
    atomic_write_json(output / LIGHTS, list(source.lights))
    record = {"clean_images": cleans, "examples": examples}
    atomic_write_json(output / RECORD, record)
    return record


def kind_of(row: Mapping[Hashable, Any]) -> str:
    """Kind of part, as a folder's name."""
    text = next((str(row[column]) for column in _KINDS if row.get(column)), "PCB")
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "PCB"


def _link_clean(rows: pd.DataFrame, source: Source, rng: np.random.Generator, folder: Path) -> int:
    chosen = _some(rows, CLEANS_PER_KIND, rng)
    count = 0
    for number, row in chosen:
        files = {name: source.files(row, column) for name, column in _COLUMNS.items()}
        if not all(path.is_file() for paths in files.values() for path in paths):
            continue
        for name, paths in files.items():
            for light, path in zip(source.lights, paths):
                _link(path, folder / name / f"{_stem(number, row)}_{light}")
        count += 1
    return count


_COLUMNS = {"clean_image": "input_path", "golden_image": "golden_path"}


def _write_examples(rows: pd.DataFrame, source: Source, rng: np.random.Generator, folder: Path, label: str) -> int:
    count = 0
    for number, row in _some(rows, EXAMPLES_PER_LABEL, rng):
        files, goldens = source.files(row, "input_path"), source.files(row, "golden_path")
        pairs = [pair for pair in map(_pair, files, goldens) if pair is not None]
        mask = defect_mask(pairs, thin=False) if len(pairs) == len(files) else None
        if mask is None:
            continue
        stem = _stem(number, row)
        target = folder / "mask" / label / f"{stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), mask)
        for name, paths in (("anomaly_image", files), ("anomaly_golden", goldens)):
            for light, path in zip(source.lights, paths):
                _link(path, folder / name / label / f"{stem}_{light}")
        count += 1
    return count


def apart(pair: Pair) -> npt.NDArray[np.float32]:
    """(h, w): how far test and golden differ without their grain, in grey levels of the channel that differs most."""
    far = np.abs(cv2.GaussianBlur(pair.test, (0, 0), 1.2) - cv2.GaussianBlur(pair.golden, (0, 0), 1.2))
    return np.asarray(far.reshape(*far.shape[:2], -1).max(axis=2), np.float32)


def defect_mask(pairs: Sequence[Pair], *, thin: bool = True) -> Mask | None:
    """Where a defect differs from its registered golden under any light; None where nothing stands out.

    `pairs` are the same part under each light. The mask holds every patch that reaches `CORE` of the largest
    difference, out to `_FLANK` of it. Without `thin`, strokes as thin as print do not count next to broader patches:
    two good parts of one kind may be marked differently.
    """
    difference: npt.NDArray[np.float32] = np.zeros(pairs[0].test.shape[:2], np.float32)
    for pair in pairs:
        far = apart(pair)
        inside = np.zeros_like(far)
        inside[pair.rows, pair.columns] = far[pair.rows, pair.columns]
        difference = np.maximum(difference, inside)
    top = float(difference.max())
    if not thin:
        width = max(3, round(_STROKE * min(difference.shape)))
        broad = np.asarray(cv2.morphologyEx(difference, cv2.MORPH_OPEN, np.ones((width, width), np.uint8)), np.float32)
        if float(broad.max()) >= max(_FLANK * top, VISIBLE):
            difference, top = broad, float(broad.max())
    if top < VISIBLE:
        return None
    flank = (difference > _FLANK * top).astype(np.uint8)
    count, numbers = cv2.connectedComponents(flank)
    cores = {int(n) for n in np.unique(numbers[difference > CORE * top])} - {0}
    mask = np.isin(numbers, list(cores)).astype(np.uint8) * 255 if count > 1 else flank * 255
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), np.uint8)
    return mask if 0 < float((mask > 0).mean()) <= _LARGEST else None


def _pair(test: Path, golden: Path) -> Pair | None:
    try:
        first, second = decode(test.read_bytes()), decode(golden.read_bytes())
    except OSError:
        return None
    if first is None or second is None:
        return None
    return make_pair(first, second, first.shape[1], first.shape[0])


def _some(rows: pd.DataFrame, limit: int, rng: np.random.Generator) -> list[tuple[int, dict[Hashable, Any]]]:
    """At most `limit` rows with their numbers in the table, drawn evenly."""
    chosen = np.sort(rng.permutation(len(rows))[:limit])
    part = rows.iloc[chosen]
    return list(zip((int(number) for number in part.index), part.to_dict("records")))


def _stem(number: int, row: Mapping[Hashable, Any]) -> str:
    return f"{number:06d}-{re.sub(r'[^A-Za-z0-9.@-]+', '-', str(row['object_name']))}"


def _link(picture: Path, target: Path) -> None:
    """`target` with the picture's extension as a link, or converted where AnomalyGen does not take the format."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if picture.suffix.lower() in SUFFIXES:
        os.symlink(picture.resolve(), target.with_name(target.name + picture.suffix))
        return
    image = safe_images.read(picture, cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{picture}: no readable picture")
    cv2.imwrite(str(target.with_name(target.name + ".png")), image)


if __name__ == "__main__":
    sys.exit(guarded("anomalygen_dataset", main))
