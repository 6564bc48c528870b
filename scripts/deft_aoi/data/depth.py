"""Pictures with more than 8 bits a value: by what they are divided, and when their upper 8 bits are too few."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from deft_aoi.base import safe_images
from deft_aoi.base.finding import BLOCK, NOTE

FULL = 65_535
FEWEST_LEVELS = 64  # what is left of 14-bit values in 16-bit files: refused, as is everything below


def data_bits(largest: float) -> int:
    """Bits of the range that a set's largest value shows: cameras have 10, 12, 14 or 16."""
    return max(8, int(largest).bit_length() + int(largest).bit_length() % 2)


def full_scale(largest: float) -> int:
    """The value that becomes 255; 1 for a file of fractions."""
    return 1 if largest <= 1 else int((1 << data_bits(largest)) - 1)


def depth_words(largest: float, *, clips: bool) -> tuple[str, str]:
    """(level of the finding, words) for a set of deep pictures with this largest value; `clips`: TAO reads them."""
    remedy = "write all pictures as 8-bit files, divided by one number, or import them with deft import-pairs"
    levels = int(largest) // 256 + 1
    if largest > FULL or levels <= FEWEST_LEVELS:
        text = f"the largest value is {largest:,.0f}: {data_bits(largest)}-bit data"
        kept = f", of which a 16-bit reader keeps {levels} grey levels" if largest <= FULL else ""
        return BLOCK, f"{text}{kept}; {remedy}, which does so"
    if clips:
        return BLOCK, f"and TAO's reader turns every 16-bit value above 255 into white; {remedy}, which does so"
    return NOTE, f"of which the upper 8 are used (largest value {largest:,.0f}); real TAO would refuse this workspace"


def common_scale(files: Iterable[Path]) -> int:
    """The value that becomes 255 in every deep picture of an import: the range of all of them, so that test and golden
    stay comparable. 0 where no picture has more than 8 bits."""
    largest = max((safe_images.largest_value(content(path)) for path in files), default=0)
    return full_scale(largest) if largest else 0


def depth_problem(pictures: Iterable[tuple[Path, bytes]], *, clips: bool) -> str | None:
    """Why pictures, each with its file's content, cannot be scored as they are; None where they can."""
    known = ((path, safe_images.largest_value(data)) for path, data in pictures)
    path, largest = max(known, key=lambda item: item[1], default=(Path(), 0))
    if not largest:
        return None
    level, text = depth_words(largest, clips=clips)
    return f"{path} has more than 8 bits a value, {text}" if level == BLOCK else None


def content(path: Path) -> bytes:
    """Content of a file; nothing where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
