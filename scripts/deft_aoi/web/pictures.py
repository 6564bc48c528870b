"""Pictures of one row for the page: test, golden moved onto it, difference; any of them by light."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import image_path
from deft_aoi.engine.difference import heat, registered
from deft_aoi.engine.images import resize
from deft_aoi.report.gallery import read_picture
from deft_aoi.web.loopback import NotFound

if TYPE_CHECKING:
    from starlette.responses import Response

    from deft_aoi.engine.difference import Picture

TEST, GOLDEN, DIFFERENCE, RAW_GOLDEN = KINDS = ("test", "golden", "difference", "golden_as_stored")
_LARGEST = 1600  # pixels of a side that a page needs
_SMALL = 300_000  # pixels up to which a picture is sent without loss


def pair_picture(
    root: Path, folders: tuple[str, str], name: str, light: str, ext: str, kind: str, home: Path
) -> Response:
    """`kind` of one pair; `home` is the workspace, which no file may leave. Raises NotFound, InputError."""
    if kind not in KINDS:
        raise InputError(f"picture {kind[:40]!r}: expected one of {', '.join(KINDS)}")
    test = _read(image_path(root, folders[0], name, light, ext), home) if kind != RAW_GOLDEN else None
    if kind == TEST and test is not None:
        return encoded(test)
    golden = _read(image_path(root, folders[1], name, light, ext), home)
    if test is None:
        return encoded(golden)
    onto, _ = registered(test, resize(golden, test.shape[1], test.shape[0]))
    return encoded(onto if kind == GOLDEN else heat(test, onto))


def file_picture(path: Path, home: Path) -> Response:
    """A picture file as it is. Raises NotFound."""
    return encoded(_read(path, home))


def _read(path: Path, home: Path) -> Picture:
    found = read_picture(path, home)
    if found is None:
        raise NotFound(f"{path.name}: no picture there")
    return found


def encoded(picture: Picture) -> Response:
    from starlette.responses import Response

    longest = max(picture.shape[:2])
    if longest > _LARGEST:
        size = (picture.shape[1] * _LARGEST // longest, picture.shape[0] * _LARGEST // longest)
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    small = picture.shape[0] * picture.shape[1] <= _SMALL
    ok, data = cv2.imencode(".png" if small else ".jpg", picture, [] if small else [cv2.IMWRITE_JPEG_QUALITY, 92])
    kind = "image/png" if small else "image/jpeg"
    # Pictures of a row do not change while somebody looks at it; flicker must not ask for them again.
    return Response(data.tobytes() if ok else b"", media_type=kind, headers={"Cache-Control": "private, max-age=600"})
