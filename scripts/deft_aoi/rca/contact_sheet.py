"""A picture that an agent or a person looks at once: test, golden and difference of some samples, with the words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deft_aoi.base import safe_images
from deft_aoi.base.files import atomic_write
from deft_aoi.base.rows import PASS
from deft_aoi.base.safe_paths import leaves_workspace

Picture = NDArray[np.uint8]
TEXT, GAP, PAD = 300, 8, 12
TILES = {1: 160, 2: 144, 3: 112}  # side of a tile by the number of lights; more lights wrap into lines of three
PER_LINE = 3
INK, QUIET, RULE, WRONG, RIGHT, PAPER = "#1d1d1f", "#6b7075", "#d9dcdf", "#b3261e", "#146c43", "#ffffff"
PARTS = ("test", "golden", "difference")


def contact_sheet(samples: Sequence[pd.DataFrame], path: Path) -> None:
    """Write one PNG row for each sample, numbered from 1.

    A sample is a frame with one row for each light: filepath, golden_filepath, label, object_name; siamese_score
    and weakness together, light, boardname, cause and evidence are shown where they are there.
    """
    if not samples:
        return
    rows = [strip(number, sample) for number, sample in enumerate(samples, start=1)]
    lights = _lights(samples[0])
    width = max(row.width for row in rows)
    head = header(lights[:PER_LINE], width)
    sheet = Image.new("RGB", (width + 2 * PAD, head.height + sum(row.height + GAP for row in rows) + 2 * PAD), PAPER)
    sheet.paste(head, (PAD, PAD))
    brush, top = ImageDraw.Draw(sheet), PAD + head.height
    for row in rows:
        brush.line((PAD, top, width + PAD, top), RULE)
        sheet.paste(row, (PAD, top + GAP // 2))
        top += row.height + GAP
    picture = cv2.cvtColor(np.asarray(sheet), cv2.COLOR_RGB2BGR)
    packed = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE])[1]
    atomic_write(path, lambda target: target.write(packed.data))  # as small as level 4 of zlib in half the time


def header(lights: Sequence[str], width: int) -> Image.Image:
    """Names of the lights and of the three pictures over their columns."""
    image = Image.new("RGB", (width, 40), PAPER)
    brush, side = ImageDraw.Draw(image), TILES[len(lights)]
    brush.text((0, 18), "row · label · decision · cause", QUIET, font(13))
    for number, light in enumerate(lights):
        left = TEXT + number * (3 * side + GAP)
        brush.text((left, 0), light, INK, font(14, bold=True))
        for part, name in enumerate(PARTS):
            brush.text((left + part * side, 19), name, QUIET, font(13))
    return image


def strip(number: int, sample: pd.DataFrame) -> Image.Image:
    """Words, then test | golden | difference for each light, three lights a line."""
    lights = _lights(sample)
    shown = min(len(lights), PER_LINE)
    side, lines = TILES[shown], -(-len(lights) // PER_LINE)
    image = Image.new("RGB", (TEXT + shown * (3 * side + GAP) - GAP, max(side * lines, 128)), PAPER)
    write_words(image, number, sample.iloc[0])
    brush = ImageDraw.Draw(image)
    for place, files in enumerate(zip(sample["filepath"], sample["golden_filepath"], strict=True)):
        left, top = TEXT + place % PER_LINE * (3 * side + GAP), place // PER_LINE * side
        for part, tile in enumerate(tiles(*files, side)):
            image.paste(tile, (left + part * side, top))
        if lines > 1:
            brush.text((left + 4, top + 2), lights[place], "#ffe680", font(11, bold=True))
    return image


def write_words(image: Image.Image, number: int, row: pd.Series) -> None:
    """Row number and label, the decision with score and margin, the part, the cause with its numbers."""
    brush = ImageDraw.Draw(image)
    brush.text((0, 2), str(number), QUIET, font(20 if number < 10 else 17, bold=True))
    brush.text((34, 2), _cut(str(row["label"]), 17, 250, bold=True), INK, font(17, bold=True))
    if "weakness" in row.index:
        _write_decision(brush, row)
    part = " · ".join(str(row[name]) for name in ("object_name", "boardname") if row.get(name))
    brush.text((34, 64), _cut(part, 13, TEXT - 46), QUIET, font(13))
    if row.get("cause"):
        brush.text((34, 86), f"{row['cause']}", INK, font(14, bold=True))
        for line, words in enumerate(_wrapped(str(row.get("evidence") or ""), 13, TEXT - 46)[:2]):
            brush.text((34, 105 + 17 * line), words, QUIET, font(13))


def _write_decision(brush: ImageDraw.ImageDraw, row: pd.Series) -> None:
    wrong = float(row["weakness"]) > 0
    kinds = ("false call", "called PASS rightly") if row["label"] == PASS else ("escape", "caught")
    margin = f"{'beyond' if wrong else 'inside'} by {abs(float(row['weakness'])):.4g}"
    brush.text((34, 26), kinds[0] if wrong else kinds[1], WRONG if wrong else RIGHT, font(14, bold=True))
    brush.text((34, 45), f"score {float(row['siamese_score']):.4g}, {margin}", INK, font(13))


def tiles(test_file: str, golden_file: str, side: int) -> list[Image.Image]:
    """Test, golden as it is, and the heat of their difference after registration; grey with a cross where a file
    cannot be read."""
    from deft_aoi.engine.difference import heat, registered
    from deft_aoi.engine.images import resize

    test, golden = (
        None if leaves_workspace(name) else safe_images.read(name, cv2.IMREAD_COLOR)
        for name in (test_file, golden_file)
    )
    third = None
    if test is not None and golden is not None:
        golden = resize(golden, test.shape[1], test.shape[0])
        third = heat(test, registered(test, golden)[0])
    return [_tile(picture, side) for picture in (test, golden, third)]


def _tile(picture: Any, side: int) -> Image.Image:
    tile = Image.new("RGB", (side, side), PAPER)
    inner = side - 4
    if picture is None:
        brush = ImageDraw.Draw(tile)
        brush.rectangle((0, 0, inner - 1, inner - 1), "#808080")
        brush.line((0, 0, inner - 1, inner - 1), WRONG, 3)
        brush.line((0, inner - 1, inner - 1, 0), WRONG, 3)
        return tile
    image = Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))
    factor = inner / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    tile.paste(image.resize(size, Image.Resampling.LANCZOS), (0, 0))
    return tile


def _lights(sample: pd.DataFrame) -> list[str]:
    if "light" in sample.columns:
        return [str(light) for light in sample["light"]]
    return [f"light {number}" for number in range(1, len(sample) + 1)]


@cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along; it is found without importing that."""
    found = find_spec("matplotlib")
    assert found is not None
    assert found.origin is not None
    name = f"mpl-data/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf"
    return ImageFont.truetype(str(Path(found.origin).parent / name), size)


def _cut(text: str, size: int, width: int, *, bold: bool = False) -> str:
    while font(size, bold=bold).getlength(text) > width and len(text) > 4:
        text = text.removesuffix("…")[:-1] + "…"
    return text


def _wrapped(text: str, size: int, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font(size).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_cut(line, size, width) for line in lines if line]
