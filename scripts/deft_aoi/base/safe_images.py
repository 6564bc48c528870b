"""Image files from outside: decoded only when their header names a size that fits, and only when they are whole."""

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


def decode(data: bytes, flags: int = cv2.IMREAD_ANYCOLOR) -> Bytes | None:
    """OpenCV's 8-bit image, grey (h, w) or BGR (h, w, 3); None where :func:`problem` names one, or decoding fails."""
    if problem(data) is not None:
        return None
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def read(path: str | Path, flags: int = cv2.IMREAD_ANYCOLOR) -> Bytes | None:
    """:func:`decode` of a file; None where it cannot be read."""
    try:
        if os.stat(path).st_size > MAX_BYTES:
            return None
        return decode(Path(path).read_bytes(), flags)
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
