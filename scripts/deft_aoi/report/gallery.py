"""The pairs worth looking at, as pictures: test, golden and their difference, embedded in the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from deft_aoi.base import safe_images
from deft_aoi.base.rows import PASS, SCORE, image_path, read_parquet, read_rows, scores_of
from deft_aoi.base.safe_paths import leaves, text_problem
from deft_aoi.engine.difference import Picture, heat, registered
from deft_aoi.engine.images import resize
from deft_aoi.spec.tree import Optics

QUALITIES = ((160, 84), (128, 80), (96, 74), (64, 64))  # (longest side in pixels, JPEG quality), tried in this order


@dataclass(frozen=True)
class Sight:
    """The picture files of one light; the third picture is `asked_by`, or the difference where there is none."""

    light: str
    test: Path
    golden: Path
    asked_by: Path | None = None


@dataclass(frozen=True)
class Pair:
    """One row worth a look. `kind` is `pass`, `defect` or `mined`; `margin` is score - threshold."""

    key: str
    kind: str
    label: str
    name: str
    where: str
    sights: tuple[Sight, ...]
    score: float | None = None
    margin: float | None = None
    note: str = ""
    board: str = ""
    origin: str = "kpi"  # kpi | real | synthetic: which set the row is in


@dataclass(frozen=True)
class View:
    """One light of a pair as data URIs; an empty text where a file is missing or no image.

    `shift` moves the golden image onto the test image, as shares of width and height: the flicker view needs it.
    """

    light: str
    test: str
    golden: str
    third: str
    shift: tuple[float, float] = (0.0, 0.0)


def worst_pairs(csv: Path, threshold: float, images: Path, optics: Optics, each: int) -> list[Pair]:
    """The `each` highest-scoring PASS rows, highest first, then the `each` lowest-scoring defects, lowest first."""
    rows = read_rows(csv, required=("input_path", "golden_path", "label", "object_name", SCORE))
    rows[SCORE] = scores_of(csv, rows[SCORE])
    is_pass = rows["label"] == PASS
    passes = rows[is_pass].sort_values(SCORE, ascending=False, kind="stable").head(each)
    defects = rows[~is_pass].sort_values(SCORE, kind="stable").head(each)
    pairs = []
    for kind, some in (("pass", passes), ("defect", defects)):
        for number, row in enumerate(some.to_dict("records"), start=1):
            folders = (row["input_path"], row["golden_path"])
            sights = tuple(
                Sight(light, *(image_path(images, folder, row["object_name"], light, optics.ext) for folder in folders))
                for light in optics.lights
            )
            where = " · ".join(str(row[c]) for c in ("boardname", "comp_name", "part_type") if row.get(c))
            score = float(row[SCORE])
            pairs.append(
                Pair(
                    f"{kind}{number}", kind, row["label"], row["object_name"], where, sights, score, score - threshold,
                    board=str(row.get("boardname") or ""),
                )
            )  # fmt: skip
    return pairs


def mined_pairs(parquet: Path, workspace: Path, optics: Optics, limit: int) -> list[Pair]:
    """Mined rows, one label after the other, the most similar first, with the weak sample that asked for each.

    Policies other than k-NN have no such sample: their best rank comes first, and the note says why it was taken.
    """
    rows = read_parquet(
        parquet, dict.fromkeys(("filepath", "golden_path", "object_name", "label", "target_filepath"), "text")
    )
    ranked = rows.sort_values(["similarity", "rank"], ascending=[False, True], kind="stable")
    turn = ranked.groupby("label").cumcount()
    rows = rows.assign(turn=turn).sort_values(["turn", "label"], kind="stable").head(limit)
    pairs = []
    for number, row in enumerate(rows.to_dict("records"), start=1):
        golden = image_path(workspace, row["golden_path"], row["object_name"], optics.lights[0], optics.ext)
        asked_by = workspace / str(row["target_filepath"]) if row["target_filepath"] else None
        sight = Sight(optics.lights[0], workspace / row["filepath"], golden, asked_by)
        note = str(row["reason"])
        if asked_by is not None:
            near = f"similarity {row['similarity']:.3f}, rank {row['rank']}"
            note = f"{near}, asked for by a weak {row['target_label']} row"
        name, label, origin = str(row["object_name"]), str(row["label"]), str(row.get("origin") or "real")
        pairs.append(Pair(f"mined{number}", "mined", label, name, origin, (sight,), note=note, origin=origin))
    return pairs


def embed(pairs: list[Pair], budget: int, root: Path) -> dict[str, list[View]]:
    """Data URIs of every pair, at the best of `QUALITIES` whose total stays within `budget` bytes.

    A file outside `root` (the workspace, resolved) is never shown: a page is made to be passed on.
    Where even the smallest does not fit, the last pairs stay without pictures.
    """
    for quality in QUALITIES[:-1]:
        views = {pair.key: [_view(sight, *quality, root) for sight in pair.sights] for pair in pairs}
        if sum(map(_size, views.values())) <= budget:
            return views
    left, views = budget, {}
    for pair in pairs:
        shown = [_view(sight, *QUALITIES[-1], root) for sight in pair.sights]
        views[pair.key] = shown if _size(shown) <= left else [View(v.light, "", "", "") for v in shown]
        left -= _size(views[pair.key])
    return views


def _size(views: list[View]) -> int:
    return sum(len(view.test) + len(view.golden) + len(view.third) for view in views)


def _view(sight: Sight, side: int, quality: int, root: Path) -> View:
    stamps = tuple(_stamp(path) for path in (sight.test, sight.golden, sight.asked_by))
    return _drawn(sight, stamps, side, quality, root)


def _stamp(path: Path | None) -> tuple[int, int]:
    """What changes with a file's content."""
    try:
        found = path.stat() if path is not None else None
    except (OSError, ValueError):
        found = None
    return (found.st_mtime_ns, found.st_size) if found else (0, 0)


@lru_cache(maxsize=512)
def _drawn(sight: Sight, stamps: tuple[tuple[int, int], ...], side: int, quality: int, root: Path) -> View:
    """The pictures of one pair, kept: a page is written after every stage, and most of them are the same."""
    test, golden = read_picture(sight.test, root), read_picture(sight.golden, root)
    third, share = None, (0.0, 0.0)
    if test is not None and golden is not None:
        golden = resize(golden, test.shape[1], test.shape[0])
        onto, move = registered(test, golden)
        third = heat(test, onto)
        share = (move[0] / test.shape[1], move[1] / test.shape[0])
    if sight.asked_by is not None:
        third = read_picture(sight.asked_by, root)
    first, second, last = (as_uri(picture, side, quality) for picture in (test, golden, third))
    return View(sight.light, first, second, last, share)


def read_picture(path: Path, root: Path) -> Picture | None:
    """The file as BGR, shape (h, w, 3); None where it is absent, no image or outside `root`."""
    if text_problem(str(path)) or leaves(str(path), str(root)):
        return None
    return safe_images.read(path, cv2.IMREAD_COLOR)


def as_uri(picture: Picture | None, side: int, quality: int) -> str:
    """JPEG data URI, shrunk to at most `side` pixels (never enlarged)."""
    if picture is None:
        return ""
    longest = max(picture.shape[:2])
    if longest > side:
        size = (max(1, picture.shape[1] * side // longest), max(1, picture.shape[0] * side // longest))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode('ascii')}" if ok else ""
