"""What a model says of single parts of the line: golden, score, decision, and a heat map of what is not PASS."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

from deft_aoi.base.files import atomic_write
from deft_aoi.base.rows import PASS
from deft_aoi.data.depth import content, depth_problem
from deft_aoi.data.pairs import encode
from deft_aoi.engine.difference import heat, registered
from deft_aoi.engine.images import decode, resize
from deft_aoi.engine.live import Picture
from deft_aoi.importers.goldens import Library
from deft_aoi.importers.likeness import Look, look_of
from deft_aoi.importers.naming import Naming
from deft_aoi.importers.reading import Golden, Part
from deft_aoi.kpi.reuse import NO_PASS, REVIEW, decide
from deft_aoi.spec.tree import Optics

HEAT = "heat"


@dataclass(frozen=True)
class Decision:
    """One part: `score` None and `problem` filled where it could not be scored, which is for a person to look at.

    `taken`: when the newest of its pictures was written, as :func:`taken_at` says it.
    """

    part: str
    component: str
    board: str
    golden: str
    golden_source: str
    score: float | None
    threshold: float
    by_threshold: str
    decision: str
    heat: str
    problem: str
    taken: str
    stamp: str


@dataclass(frozen=True)
class Ready:
    """A part that can be scored: its files and its golden, and (test, golden) of each light, decoded."""

    name: str
    files: Mapping[str, Path]
    golden: Golden
    pairs: tuple[tuple[Picture, Picture], ...]


@dataclass(frozen=True)
class Line:
    """What decides: the model, its band for a person, the goldens, and how names are read.

    `scorer` gives the score of each part, None where it cannot; it may be called from several threads unless the model
    runs `elsewhere`, which is worth the start for many parts only.
    """

    scorer: Callable[[Sequence[Ready]], Sequence[float | None]]
    elsewhere: bool
    view: Optics
    threshold: float
    band: tuple[float, float] | None
    goldens: Library
    naming: Naming
    output: Path


def taken_at(files: Mapping[str, Path]) -> str:
    """ISO-8601 UTC time, whole seconds, at which the newest picture of a part was written."""
    newest = max(path.stat().st_mtime for path in files.values())
    return datetime.fromtimestamp(newest, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def decide_chunk(
    names: Sequence[str], line: Line, found: Mapping[str, Mapping[str, Path]], stamps: Mapping[str, str]
) -> list[Decision]:
    """Decisions of some parts, in order; what cannot be scored goes to a person."""
    outcomes = {name: _pair_up(name, found[name], line) for name in names}
    ready = [one for one in outcomes.values() if isinstance(one, Ready)]
    scores = dict(zip([one.name for one in ready], line.scorer(ready) if ready else ()))
    blank = {name: _blank(name, line, taken_at(found[name]), stamps[name]) for name in names}
    return [_decided(blank[name], one, scores.get(name), line) for name, one in outcomes.items()]


def _blank(name: str, line: Line, taken: str, stamp: str) -> Decision:
    """A part that nothing is known of yet: it is for a person."""
    component, board = line.naming.component_of(name), line.naming.board_of(name)
    return Decision(name, component, board, "", "", None, line.threshold, "", REVIEW, "", "", taken, stamp)


def _decided(blank: Decision, ready: Ready | str, score: float | None, line: Line, *, keep: bool = True) -> Decision:
    """`keep`: write a heat map of what is not PASS."""
    if isinstance(ready, str) or score is None:
        return replace(blank, problem=ready if isinstance(ready, str) else "could not be scored")
    score = float(score)
    decision = str(decide(np.array([score]), line.threshold, line.band)[0])
    return replace(
        blank,
        golden=ready.golden.key,
        golden_source=ready.golden.source,
        score=score,
        by_threshold=NO_PASS if score > line.threshold else PASS,
        decision=decision,
        heat="" if decision == PASS or not keep else _write_heat(blank.part, ready.pairs, line.output),
    )


def decide_part(name: str, pictures: Mapping[str, bytes], line: Line) -> tuple[Decision, bytes]:
    """Decision on one part from the content of its files by light, and the PNG of its heat map, empty for PASS."""
    ready = _from_contents(name, {}, {light: (Path(light), data) for light, data in pictures.items()}, line)
    score = None if isinstance(ready, str) else line.scorer([ready])[0]
    blank = _blank(name, line, "", "")
    if isinstance(ready, str) or score is None:
        return _decided(blank, ready, score, line), b""
    decision = _decided(blank, ready, score, line, keep=False)
    return decision, b"" if decision.decision == PASS else heat_png(ready.pairs)


def _pair_up(name: str, files: Mapping[str, Path], line: Line) -> Ready | str:
    """The part with its golden and its decoded pairs, or why it has none."""
    wanted = {light: path for light, path in files.items() if light in line.view.lights}
    return _from_contents(name, files, {light: (path, content(path)) for light, path in wanted.items()}, line)


def _from_contents(
    name: str, files: Mapping[str, Path], pictures: Mapping[str, tuple[Path, bytes]], line: Line
) -> Ready | str:
    """`pictures`: name and content of the file of each light."""
    lacking = [light for light in line.view.lights if light not in pictures]
    if lacking:
        return f"no picture under light {', '.join(lacking)}"
    contents = [pictures[light] for light in line.view.lights]
    tests = [decode(data) for _, data in contents]
    for (path, _), test in zip(contents, tests):
        if test is None:
            return f"not a readable image: {path.name}"
    if problem := depth_problem(contents, clips=line.elsewhere):
        return problem
    order = tuple((light, path) for light, (path, _) in zip(line.view.lights, contents))
    part = Part(name, "", order, name, component=line.naming.component_of(name))
    assert tests[0] is not None
    golden = line.goldens.golden_of(part, _look(tests[0]))
    if golden is None:
        return f"no golden for component {part.component or '(not told by the name)'}"
    pairs = [(test, _golden_picture(path)) for test, (_, path) in zip(tests, golden.files)]
    whole = tuple((test, master) for test, master in pairs if test is not None and master is not None)
    if len(whole) < len(pairs):
        return f"golden {golden.key} is not a readable image"
    return Ready(name, files, golden, whole)


@functools.lru_cache(maxsize=512)
def _golden_picture(path: Path) -> Picture | None:
    return decode(content(path))


def _look(picture: Picture) -> Look:
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return look_of(np.asarray(grey, np.uint8))


def _write_heat(name: str, pairs: Sequence[tuple[Picture, Picture]], output: Path) -> str:
    """Write :func:`heat_png`; its path below `output`."""
    relative = f"{HEAT}/{name}.png"
    atomic_write(output / relative, lambda stream: stream.write(heat_png(pairs)))
    return relative


def heat_png(pairs: Sequence[tuple[Picture, Picture]]) -> bytes:
    """PNG of test, golden and difference, one row a light."""
    rows = []
    for pair in pairs:
        test, golden = map(_bgr, pair)
        golden = resize(golden, test.shape[1], test.shape[0])
        rows.append(np.hstack([test, golden, heat(test, registered(test, golden)[0])]))
    width = max(row.shape[1] for row in rows)
    wide = [cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT) for row in rows]
    return encode(np.vstack(wide), ".png")


def _bgr(picture: Picture) -> Picture:
    code = cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR
    return np.asarray(cv2.cvtColor(picture, code), np.uint8)
