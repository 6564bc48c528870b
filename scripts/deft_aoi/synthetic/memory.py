"""What the reference generator learns from a data set, as one checkpoint file.

For each defect type its examples (the cut around each real defect under every light, with its mask), and for each kind
of part how its solder shines and what colour its board has. `run_sdg.sh` paints from this file: the pictures of the
real defects need not be there any more. The file is NumPy's .npz: a list `about` (JSON) and the arrays that it names.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deft_aoi.base import safe_images
from deft_aoi.base.files import atomic_write
from deft_aoi.synthetic.dataset import PROCEDURAL, AnomalySet, Entry
from deft_aoi.synthetic.patches import Floats, Mask, Picture, is_binary, placed, read_picture
from deft_aoi.synthetic.picture_parts import Solder, find_body, ground_colour, solder_of

FORMAT = "deft-aoi reference generator 1"
_MARGIN = 0.2  # of the picture's side: what comes along around a defect
_CLEANS = 20  # good parts of a kind that its solder is learned from
_SHAPE = 24  # pixels: masks are compared at this size


@dataclass(frozen=True)
class Example:
    """One real defect: the part of its pictures around it (`box`: x, y, width, height), whole pictures of `size`
    (height, width), and the board's colour under each light."""

    stem: str
    size: tuple[int, int]
    box: tuple[int, int, int, int]
    mask: Mask
    cuts: tuple[Picture, ...]
    ground: tuple[tuple[float, float, float], ...]

    def pictures(self) -> list[Picture]:
        """Whole pictures again: the cut in its place, board's colour around it."""
        x, y, width, height = self.box
        whole = []
        for cut, colour in zip(self.cuts, self.ground):
            picture = np.broadcast_to(np.rint(np.array(colour)).astype(np.uint8), (*self.size, 3)).copy()
            picture[y : y + height, x : x + width] = cut
            whole.append(picture)
        return whole

    def whole_mask(self) -> Mask:
        x, y, width, height = self.box
        mask = np.zeros(self.size, np.uint8)
        mask[y : y + height, x : x + width] = self.mask
        return mask


@dataclass(frozen=True)
class Learned:
    """Examples by defect type (`IC+bridge`), solder by kind of part (`IC`)."""

    examples: Mapping[str, tuple[Example, ...]]
    solder: Mapping[str, Solder]

    def source(self, defect_type: str, stem: str, mask: Mask, move: tuple[int, int], quarters: int) -> list[Picture]:
        """Pictures of the mask's size that show the defect where the mask is; none for a type that was not learned.

        The example that the mask came from is turned and moved as the mask was; for any other mask the example of the
        likest shape is stretched onto it.
        """
        known = self.examples.get(defect_type, ())
        if not known:
            return []
        size = mask.shape[1::-1]
        same = next((example for example in known if example.stem == stem), None)
        if same is not None:
            fitted = [cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR) for picture in same.pictures()]
            return [placed(np.asarray(picture, np.uint8), move, quarters) for picture in fitted]
        wanted = _shape(mask)
        best = max(known, key=lambda example: (_overlap(wanted, _shape(example.whole_mask())), example.stem))
        x, y, width, height = cv2.boundingRect(mask)
        left, top, across, down = cv2.boundingRect(best.whole_mask())
        sx, sy = width / max(across, 1), height / max(down, 1)
        matrix = np.array([[sx, 0, x - sx * left], [0, sy, y - sy * top]], np.float64)
        return [
            np.asarray(cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)
            for picture in best.pictures()
        ]


def _shape(mask: Mask) -> Floats:
    x, y, width, height = cv2.boundingRect(mask)
    side = max(width, height, 1)
    square = np.zeros((side, side), np.float32)
    square[:height, :width] = mask[y : y + height, x : x + width] > 0
    return np.asarray(cv2.resize(square, (_SHAPE, _SHAPE), interpolation=cv2.INTER_AREA), np.float32)


def _overlap(one: Floats, other: Floats) -> float:
    return float(np.minimum(one, other).sum() / max(float(np.maximum(one, other).sum()), 1e-6))


def example_of(found: AnomalySet, entry: Entry, mask_file: Path) -> Example | None:
    """What a mask and its pictures teach; None where one of them cannot be read."""
    reference = found.anomaly_image(entry, mask_file)
    shots = [read_picture(path) for path in found.per_light(reference)] if reference else []
    given = safe_images.read(mask_file, cv2.IMREAD_GRAYSCALE)
    whole = [shot for shot in shots if shot is not None]
    if given is None or not whole or len(whole) < len(shots):
        return None
    size = whole[0].shape[:2]
    mask = np.asarray(cv2.resize(np.asarray(given), size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
    mask = np.where(mask > 127, 255, 0).astype(np.uint8)
    if not mask.any():
        return None
    margin = round(_MARGIN * min(size))
    x, y, width, height = cv2.boundingRect(mask)
    left, top = max(0, x - margin), max(0, y - margin)
    right, bottom = min(size[1], x + width + margin), min(size[0], y + height + margin)
    cuts = tuple(shot[top:bottom, left:right] for shot in whole)
    ground = tuple((float(b), float(g), float(r)) for b, g, r in (ground_colour(shot) for shot in whole))
    box = (left, top, right - left, bottom - top)
    return Example(
        mask_file.stem.removesuffix("_mask"), (size[0], size[1]), box, mask[top:bottom, left:right], cuts, ground
    )


def solder_of_kind(found: AnomalySet, texture: str) -> Solder | None:
    """How solder shines on good parts of a kind: the middle of what each of them shows; None where none can tell."""
    ramps: list[tuple[Floats, ...]] = []
    for clean in found.clean_images(texture)[:_CLEANS]:
        shots = [shot for path in found.per_light(clean) if (shot := read_picture(path)) is not None]
        if len(shots) == len(found.lights) and not all(is_binary(shot) for shot in shots):
            ramps.append(solder_of(shots, find_body(shots)).ramps)
    if not ramps:
        return None
    return Solder(tuple(np.asarray(np.median(np.stack(one), axis=0), np.float32) for one in zip(*ramps)))


def masks_to_learn(found: AnomalySet, entries: Sequence[Entry]) -> list[tuple[Entry, Path]]:
    """Every real defect of the set, the types in turn, so that a training that ends early knows something of each."""
    lists = [[(entry, mask) for mask in found.masks(entry)] for entry in entries if entry.maker != PROCEDURAL]
    longest = max((len(one) for one in lists), default=0)
    return [one[turn] for turn in range(longest) for one in lists if turn < len(one)]


def save(path: Path, learned: Learned) -> None:
    """Write the checkpoint; same content, same bytes."""
    arrays: dict[str, Any] = {}
    about: dict[str, Any] = {"format": FORMAT, "examples": [], "solder": []}
    for kind, examples in sorted(learned.examples.items()):
        for example in examples:
            name = f"e{len(about['examples'])}"
            arrays[f"{name}_mask"] = example.mask
            arrays |= {f"{name}_{number}": cut for number, cut in enumerate(example.cuts)}
            about["examples"].append(
                {"type": kind, "stem": example.stem, "size": example.size, "box": example.box, "ground": example.ground}
            )
    for texture, solder in sorted(learned.solder.items()):
        arrays[f"s{len(about['solder'])}"] = np.stack(solder.ramps)
        about["solder"].append(texture)
    arrays["about"] = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    atomic_write(path, lambda out: out.write(stream.getvalue()))


def load(path: Path) -> Learned | None:
    """What a checkpoint of ours knows; None for a file that is none (AnomalyGen's own, for one)."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        with np.load(path) as held:
            about = json.loads(bytes(held["about"]))
            if about["format"] != FORMAT:
                return None
            examples: dict[str, list[Example]] = {}
            for number, record in enumerate(about["examples"]):
                name, lights = f"e{number}", range(len(record["ground"]))
                examples.setdefault(record["type"], []).append(
                    Example(
                        record["stem"], tuple(record["size"]), tuple(record["box"]), held[f"{name}_mask"],
                        tuple(held[f"{name}_{light}"] for light in lights), tuple(map(tuple, record["ground"])),
                    )
                )  # fmt: skip
            solder = {texture: Solder(tuple(held[f"s{number}"])) for number, texture in enumerate(about["solder"])}
    except (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile):
        return None
    return Learned({kind: tuple(one) for kind, one in examples.items()}, solder)
