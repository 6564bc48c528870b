"""The one decoder of image files: only what has a size that fits and is whole, and its pixels as TAO sees them.

TAO opens a picture with Pillow and asks for RGB. An orientation tag of a JPEG, PNG or WebP is not applied there, so it
is not applied here; only a TIFF is turned, by both. A file with more than 8 bits a value keeps its upper 8.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

MAX_BYTES = 256 << 20
MAX_PIXELS = 100_000_000  # a full board at 10 µm a pixel; decoded as RGB it takes 300 MB
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
DECODER = 2  # changes when the same bytes begin to give other pixels: part of the key of what is computed from them
_ORIENTATION, _BITS, _SAMPLE_FORMAT = 0x0112, 258, 339  # tags of EXIF and TIFF
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
Bytes = npt.NDArray[np.uint8]

warnings.filterwarnings("ignore", module=r"PIL\.")  # we refuse where Pillow only warns


def problem(data: bytes) -> str | None:
    """None where `data` may be decoded, else why not: too large, no image, a bomb, cut off. Reads the header only."""
    if not data:
        return "an empty file"
    if len(data) > MAX_BYTES:
        return f"a file of {len(data):,} bytes; expected at most {MAX_BYTES:,}"
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            width, height, kind = opened.width, opened.height, opened.format
    except Image.DecompressionBombError:
        return f"more than {MAX_PIXELS:,} pixels"
    except Exception:  # any parser may stumble over any bytes: whatever it says, this is no image
        return "not a readable image"
    if width * height > MAX_PIXELS:
        return f"{width} x {height} pixels; expected at most {MAX_PIXELS:,}"
    return "cut off" if not _whole(data, str(kind)) else None


def decode(data: bytes, flags: int = cv2.IMREAD_ANYCOLOR, *, largest: int = 0) -> Bytes | None:
    """8-bit image as stored, grey (h, w) or BGR (h, w, 3); None where :func:`problem` names one, or decoding fails.

    `largest`: the value that becomes 255 in a file with more than 8 bits (the range of the whole set that it belongs
    to); 0 keeps the upper 8 bits.
    """
    if problem(data) is not None:
        return None
    if largest and is_deep(data):
        image = _opened(data, flags | cv2.IMREAD_ANYDEPTH)
        return None if image is None else np.rint(np.clip(image / largest, 0, 1) * 255).astype(np.uint8)
    image = _opened(data, flags)
    return None if image is None else np.asarray(image, np.uint8)


def _opened(data: bytes, flags: int) -> npt.NDArray[Any] | None:
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image)


def orientation(data: bytes) -> int:
    """The orientation tag that nobody applies, 1 (as stored) where there is none."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return 1 if opened.format == "TIFF" else int(opened.getexif().get(_ORIENTATION, 1))
    except Exception:  # as in `problem`: a damaged tag is none
        return 1


def is_deep(data: bytes) -> bool:
    """Whether a file keeps more than 8 bits a value. Reads the header only."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return len(data) > 24 and data[24] > 8
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return False  # the other formats have 8 bits, or are not read
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as opened:
            bits = opened.tag_v2.get(_BITS, 1)  # type: ignore[attr-defined]
            return opened.mode in _DEEP_MODES or max(bits if isinstance(bits, tuple) else (bits,)) > 8
    except Exception:
        return False


def largest_value(data: bytes) -> int:
    """Largest value of a file with more than 8 bits a value, rounded up; 0 for any other and an unreadable one."""
    if not is_deep(data) or problem(data) is not None:
        return 0
    image = _opened(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    return 0 if image is None or image.dtype == np.uint8 else max(1, int(np.ceil(np.nanmax(image))))


def read(path: str | Path, flags: int = cv2.IMREAD_ANYCOLOR, *, largest: int = 0) -> Bytes | None:
    """:func:`decode` of a file; None where it cannot be read."""
    try:
        if os.stat(path).st_size > MAX_BYTES:
            return None
        return decode(Path(path).read_bytes(), flags, largest=largest)
    except (OSError, ValueError):
        return None


def _whole(data: bytes, kind: str) -> bool:
    """Whether the format's own end is there: decoders fill a missing rest with grey and say nothing."""
    if kind == "JPEG":
        return data.find(b"\xff\xd9", _scan_start(data)) >= 0
    if kind == "PNG":
        return data.rfind(b"IEND") >= 0
    if kind == "WEBP":
        return len(data) >= 8 + struct.unpack("<I", data[4:8])[0]
    if kind == "BMP" and len(data) >= 34 and data[14:18] != b"\x0c\0\0\0":  # the oldest header keeps no compression
        offset, width, height, bits, packed = (
            *struct.unpack("<I", data[10:14]),
            *struct.unpack("<iixxHI", data[18:34]),
        )
        return packed not in (0, 3) or len(data) >= offset + (width * bits + 31) // 32 * 4 * abs(height)
    return True  # TIFF keeps offsets: OpenCV refuses what they do not reach


def _scan_start(data: bytes) -> int:
    """Where the image data of a JPEG begins, after the segments that may hold a whole thumbnail."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xDA:
            return at
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return len(data)
