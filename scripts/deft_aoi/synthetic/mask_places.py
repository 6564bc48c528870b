"""Why AnomalyGen finds no place for a mask: the three questions in their order, answered from the data set alone."""

from __future__ import annotations

import json
from collections.abc import Sequence

import cv2
import numpy as np

from deft_aoi.base import safe_images
from deft_aoi.base.errors import InputError
from deft_aoi.synthetic.anomalygen_prep import fits
from deft_aoi.synthetic.dataset import (
    CAD,
    LABELS,
    SPEC,
    AnomalySet,
    Entry,
    Mask,
    colours_in,
    free_area,
    label_colours,
    placeable,
    read_cad,
)

_CLEANS = 20  # clean images looked at for one defect


def diagnosis(found: AnomalySet, short: Sequence[Entry]) -> list[str]:
    """One sentence for each question: mask classes, mask size against free area, one defect alone."""
    lines = [line for entry in short for line in _classes(found, entry)] or ["(1) The mask classes are as they should."]
    lines += [f"(2) {line}." for line in sizes(found, short)] or ["(2) Every mask fits somewhere."]
    alone = json.dumps({entry.defect_type: 1 for entry in short[:1]})
    lines.append(
        f"(3) Then try one defect alone: prep_testcase.sh with --num-sdg 1 --per-defect-counts '{alone}' on "
        f"{found.root / SPEC}"
    )
    return lines


def too_large(found: AnomalySet, entries: Sequence[Entry]) -> list[str]:
    """Defects of which not one mask fits into one clean image."""
    return sizes(found, entries, everywhere=True)


def _classes(found: AnomalySet, entry: Entry) -> list[str]:
    if entry.dependency != CAD:
        return []
    try:
        classes = set(placeable(label_colours(found.root / LABELS)))
    except InputError as error:
        return [f"(1) {error}."]
    cleans = found.clean_images(entry.texture)
    masks = [read_cad(found.cad_mask(entry.texture, clean)) for clean in cleans]
    odd = [clean.stem for clean, mask in zip(cleans, masks) if mask is None or not colours_in(mask) & classes]
    if not odd:
        return []
    return [
        f"(1) {len(odd)} of {len(cleans)} cad_masks of {entry.texture} show no colour of {LABELS} (first: {odd[0]})."
    ]


def sizes(found: AnomalySet, entries: Sequence[Entry], *, everywhere: bool = False) -> list[str]:
    """Masks that have no place, a line for each `cad` defect; `everywhere`: only where not one has any."""
    lines = []
    for entry in entries:
        if entry.dependency != CAD:
            continue
        boxes = [box for path in found.masks(entry) if (box := _box(safe_images.read(path, cv2.IMREAD_GRAYSCALE)))]
        areas = _areas(found, entry)
        if not boxes or not areas:
            continue
        stuck = [(w, h) for w, h in boxes if not any(fits(area, w, h).any() for area in areas)]
        if stuck and (len(stuck) == len(boxes) or not everywhere):
            width, height = min(stuck, key=lambda box: box[0] * box[1])
            largest = max((_largest(area) for area in areas), key=lambda box: box[0] * box[1])
            lines.append(
                f"{entry.defect_type}: {len(stuck)} of {len(boxes)} masks fit nowhere (the smallest of them is {width} "
                f"x {height} pixels, the largest free area {largest[0]} x {largest[1]}); "
                "give smaller masks or spatial_dependency free"
            )
    return lines


def _areas(found: AnomalySet, entry: Entry) -> list[Mask]:
    try:
        colours = placeable(label_colours(found.root / LABELS))
    except InputError:
        return []
    masks = [read_cad(found.cad_mask(entry.texture, clean)) for clean in found.clean_images(entry.texture)[:_CLEANS]]
    return [free_area(mask, colours) for mask in masks if mask is not None]


def _box(mask: cv2.typing.MatLike | None) -> tuple[int, int] | None:
    if mask is None or not (np.asarray(mask) > 127).any():
        return None
    _, _, width, height = cv2.boundingRect((np.asarray(mask) > 127).astype(np.uint8))
    return width, height


def _largest(area: Mask) -> tuple[int, int]:
    """Box of the largest connected patch; (0, 0) without any."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(area)
    if count < 2:
        return 0, 0
    best = max(range(1, count), key=lambda n: stats[n, cv2.CC_STAT_AREA])
    return int(stats[best, cv2.CC_STAT_WIDTH]), int(stats[best, cv2.CC_STAT_HEIGHT])
