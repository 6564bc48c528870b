"""Pairs made from PASS rows alone: a piece of one image copied to another place in it, a defect of no known type.

A few labelled types alone teach a model to miss every other type (CutPaste: Li et al., CVPR 2021). In half of the pairs
the piece goes into the golden instead of the test image: what the golden has and the test lacks counts as much. No GPU,
any light, the same place under every light. The net engine does the same within a batch (engine/net/augment.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from deft_aoi.base import safe_images
from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import PASS, image_path
from deft_aoi.data.pairs import encode
from deft_aoi.spec.tree import Optics

LABEL = "patch"
TEST, GOLDEN = SIDES = ("test", "golden")
_SMALLEST, _LARGEST = 1 / 48, 1 / 6  # of a side, from a patch's centre to its rim
_SMALLEST_PIXELS = 2.0
# A defect: some 3 x 3 pixels changed by half of the image's range, and by this share of black to white.
_OF_RANGE, _AT_LEAST = 0.5, 0.15
_TRIES = 30
Image = npt.NDArray[np.uint8]
Folders = Mapping[str, Path]


@dataclass(frozen=True)
class Patch:
    """Where the piece goes and whence, in shares of height and width; `half` from its centre to its rim."""

    y: float
    x: float
    half_y: float
    half_x: float
    ellipse: bool
    from_y: float
    from_x: float

    def mask(self, height: int, width: int) -> npt.NDArray[np.bool_]:
        """(h, w), true where the piece goes."""
        tall, wide = (
            max(half * side, _SMALLEST_PIXELS) for half, side in ((self.half_y, height), (self.half_x, width))
        )
        down = (np.arange(height)[:, None] - self.y * height) / tall
        right = (np.arange(width)[None, :] - self.x * width) / wide
        return down**2 + right**2 < 1 if self.ellipse else (np.abs(down) < 1) & (np.abs(right) < 1)

    def onto(self, image: Image) -> Image:
        """The image with the piece in its new place; what runs over an edge comes in at the other one."""
        height, width = image.shape[:2]
        moved = np.roll(image, (-int(self.from_y * height), -int(self.from_x * width)), (0, 1))
        inside = self.mask(height, width)
        return np.where(inside if image.ndim == 2 else inside[..., None], moved, image)


@dataclass(frozen=True)
class Made:
    """One pair: its name, what was done, and the PASS row that it was made from (its number in the table)."""

    name: str
    side: str
    patch: Patch
    source: int


def drawn(rng: np.random.Generator) -> Patch:
    """A patch anywhere, small ones more often than large ones."""
    y, x, tall, wide, shape, from_y, from_x = rng.random(7)
    half_y, half_x = (_SMALLEST + share**2 * (_LARGEST - _SMALLEST) for share in (tall, wide))
    return Patch(y, x, half_y, half_x, bool(shape >= 0.5), from_y, from_x)


def shows(before: Image, after: Image) -> bool:
    """Whether anyone would call the change a defect: some 3 x 3 pixels by half of the image's range."""
    old, new = before.astype(np.float32) / 255, after.astype(np.float32) / 255
    means = cv2.blur(old, (3, 3)).reshape(*old.shape[:2], -1)
    change = cv2.blur(np.abs(new - old), (3, 3)).reshape(means.shape).max((0, 1))
    needed = np.maximum(_OF_RANGE * (means.max((0, 1)) - means.min((0, 1))), _AT_LEAST)
    return bool((change >= needed).any())


def make_patches(
    rows: pd.DataFrame, count: int, seed: Sequence[int], root: Path, optics: Optics, folders: Folders
) -> list[Made]:
    """Write up to `count` pairs made from the PASS rows of `rows`, whose paths are relative to `root`.

    `folders` names where the `test`, `golden` and `mask` images go. The rows come in an order drawn by `seed`, each
    as often as the count asks; every other pair has its golden changed. A row whose image is too plain for a visible
    patch is passed over, so fewer pairs may come. Raises InputError where an image cannot be read.
    """
    good = np.flatnonzero((rows["label"] == PASS).to_numpy())
    made: list[Made] = []
    for number, source in enumerate(_order(good, count, seed)):
        if len(made) == count:
            break
        rng = np.random.default_rng([*seed, number])
        images = {side: _read(rows, int(source), side, root, optics) for side in SIDES}
        side = SIDES[len(made) % 2]
        patch = _visible(images[side], rng)
        if patch is None:
            continue
        images[side] = [patch.onto(image) for image in images[side]]
        made.append(Made(f"{side}+{LABEL}_{len(made):05d}", side, patch, int(source)))
        _write(made[-1], images, optics, folders)
    return made


def provenance(made: Sequence[Made], rows: pd.DataFrame) -> pd.DataFrame:
    """One line a pair: its source row and its patch."""
    kept = ["input_path", "golden_path", "object_name", "boardname"]
    lines = []
    for one in made:
        source = {f"source_{name}": rows[name].iloc[one.source] for name in kept}
        lines.append({"object_name": one.name, "changed": one.side, **source, **asdict(one.patch)})
    return pd.DataFrame(lines)


def _order(good: npt.NDArray[np.int64], count: int, seed: Sequence[int]) -> Iterator[int]:
    """Each row once, then again, with enough turns for the rows that give nothing."""
    rng = np.random.default_rng([*seed, 1 << 31])
    turns = 2 + count // max(len(good), 1)
    for _ in range(turns if len(good) else 0):
        yield from rng.permutation(good)


def _visible(images: Sequence[Image], rng: np.random.Generator) -> Patch | None:
    """A patch that shows under some light."""
    for _ in range(_TRIES):
        patch = drawn(rng)
        if any(shows(image, patch.onto(image)) for image in images):
            return patch
    return None


def _read(rows: pd.DataFrame, number: int, side: str, root: Path, optics: Optics) -> list[Image]:
    row = rows.iloc[number]
    column = "input_path" if side == TEST else "golden_path"
    found = []
    for light in optics.lights:
        path = image_path(root, row[column], row["object_name"], light, optics.ext)
        image = safe_images.read(path)
        if image is None:
            raise InputError(f"{path}: not a readable image; replace it or remove its row from the training CSV")
        found.append(image)
    return found


def _write(one: Made, images: Mapping[str, Sequence[Image]], optics: Optics, folders: Folders) -> None:
    """Both images of a pair are encoded again: else its compression would tell a changed image from the other."""
    for side in SIDES:
        for light, image in zip(optics.lights, images[side], strict=True):
            (folders[side] / f"{one.name}_{light}{optics.ext}").write_bytes(encode(image, optics.ext))
    mask = one.patch.mask(*images[one.side][0].shape[:2])
    (folders["mask"] / f"{one.name}.png").write_bytes(encode(mask.astype(np.uint8) * 255, ".png"))
