"""`deft score --images`: decide a folder of new pictures, with goldens found by the rule of `deft import`.

Every part becomes one line of decisions.jsonl, durable before the next chunk begins; a second call goes on behind the
last whole line. Nothing of the folder is copied.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write, atomic_write_json
from deft_aoi.base.rows import PASS
from deft_aoi.base.safe_paths import workspace_of
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.engine.engine_choice import TAO
from deft_aoi.engine.features.table import in_parallel
from deft_aoi.engine.live import Scorer, load_scorer
from deft_aoi.importers.golden_files import FOLDER, load_goldens
from deft_aoi.importers.goldens import Library
from deft_aoi.importers.likeness import looks_of
from deft_aoi.importers.naming import find_naming, split_light
from deft_aoi.importers.tree import list_tree
from deft_aoi.kpi.reuse import NO_PASS, REVIEW, drift, review_band
from deft_aoi.loop.part_decisions import HEAT, Decision, Line, Ready, decide_chunk
from deft_aoi.loop.score import DECISIONS, RECORD, checked_checkpoint, limit_lines, load_model, read_reference
from deft_aoi.loop.score_elsewhere import BATCH, score_elsewhere
from deft_aoi.spec.tree import Optics, load_spec, optics

LINES = "decisions.jsonl"


@dataclass(frozen=True)
class FolderScores:
    """Counts by decision, how many were decided in this call and how fast, and what to worry about; `drift` is that one
    of the warnings, or empty."""

    parts: int
    fresh: int
    seconds: float
    decisions: dict[str, int]
    threshold: float
    band: tuple[float, float] | None
    unscored: int
    warnings: tuple[str, ...]
    drift: str

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "band": list(self.band) if self.band else None, "warnings": list(self.warnings)}


@dataclass(frozen=True)
class Station:
    """A model at a folder of pictures, with its folder of goldens; `known` holds what was decided so far, by part."""

    model_file: Path
    images: Path
    goldens: Path
    line: Line
    reference: Mapping[str, Any] | None
    known: dict[str, dict[str, Any]]

    def decide_new(self) -> FolderScores:
        """Decide what is not known yet; write decisions.jsonl, decisions.csv, score.json and a heat map of each part
        that is not PASS."""
        began, output = time.monotonic(), self.line.output
        found = list_parts(self.images, self.line.view, empty=True)
        stamps = {part: _stamp(files) for part, files in found.items()}
        todo = [part for part in found if self.known.get(part, {}).get("stamp") != stamps[part]]
        work = functools.partial(decide_chunk, line=self.line, found=found, stamps=stamps)
        batches = (work(todo[start : start + BATCH]) for start in range(0, len(todo), BATCH))
        for decided in batches if self.line.elsewhere else in_parallel(work, todo, "parts"):
            _append(output / LINES, decided)
            self.known.update({one.part: asdict(one) for one in decided})
        rows = [self.known[part] for part in found]
        result = _summary(rows, len(todo), time.monotonic() - began, self.line, self.reference)
        if todo or not (output / DECISIONS).is_file():
            _write_table(output / DECISIONS, rows)
            where = {"model": self.model_file, "images": self.images, "goldens": self.goldens}
            record = {name: str(path) for name, path in where.items()} | result.record()
            atomic_write_json(output / RECORD, record)
        return result


def open_station(
    model_file: Path,
    images: Path,
    output: Path,
    *,
    goldens: Path | None = None,
    review_share: float,
    empty: bool = False,
) -> Station:
    """Load the model, its goldens and what `output` already holds; `images` may be `empty` where pictures will come.

    Raises InputError where they do not fit each other.
    """
    images, output = images.expanduser().resolve(), output.expanduser().resolve()
    if output.is_relative_to(images):
        raise InputError(f"--output-dir {output}: is inside the folder that is scored; choose one outside {images}")
    model = load_model(model_file)
    spec = Path(model["training_spec"])
    parts = list(list_parts(images, optics(load_spec(spec), spec), empty=empty))
    home = golden_home(model_file, goldens)
    line = open_line(model_file, model, home, parts, output, review_share)
    facts = {"checkpoint_sha256": model.get("checkpoint_sha256"), "threshold": line.threshold, "band": line.band}
    return Station(model_file, images, home, line, read_reference(model_file, model), resume(output, facts))


def watch(station: Station, every: float) -> Iterator[FolderScores]:
    """What is new in the folder, looked for every `every` seconds, without end."""
    while True:
        result = station.decide_new()
        if result.fresh:
            yield result
        time.sleep(every)


def golden_home(model_file: Path, goldens: Path | None) -> Path:
    """The folder of goldens that was named, else the one next to the model or of its workspace."""
    homes = [goldens] if goldens else [model_file.parent / FOLDER, workspace_of(model_file.resolve().parent) / FOLDER]
    home = next((folder for folder in homes if folder.is_dir()), None)
    if home is None:
        raise InputError(
            f"{homes[-1]}: no such folder; expected the goldens that deft import keeps in a workspace; name a "
            "folder of goldens by --goldens DIR"
        )
    return home.resolve()


def open_line(
    model_file: Path, model: Mapping[str, Any], home: Path, parts: Sequence[str], output: Path, review_share: float
) -> Line:
    """The model with its goldens from the folder `home`; `parts` are names that tell components where the goldens have
    no rule for names. Raises InputError where they do not fit each other."""
    spec = Path(model["training_spec"])
    view = optics(load_spec(spec), spec)
    band = review_band(read_reference(model_file, dict(model)), review_share)
    engine = str(model.get("engine"))
    given, naming = load_goldens(home, view.lights)
    if naming is None:
        naming = find_naming(list(parts), frozenset(golden.key for golden in given))
        if naming.component is None:
            given = [replace(golden, component="") for golden in given]
    library = Library(given, looks_of([golden.files[0][1] for golden in given]))
    if not library.goldens:
        raise InputError(f"{home}: none of its {len(given)} goldens can be read")
    elsewhere = engine == TAO
    scorer = (
        functools.partial(score_elsewhere, model_file=model_file, model=model, view=view)
        if elsewhere
        else in_process(load_scorer(engine, checked_checkpoint(model_file, dict(model)), view))
    )
    return Line(scorer, elsewhere, view, float(model["threshold"]), band, library, naming, output)


def in_process(scorer: Scorer) -> Callable[[Sequence[Ready]], Sequence[float | None]]:
    """Scores by a model that is in memory."""

    def score(ready: Sequence[Ready]) -> Sequence[float | None]:
        return scorer([one.pairs for one in ready]).tolist()

    return score


def list_parts(images: Path, view: Optics, *, empty: bool) -> dict[str, dict[str, Path]]:
    """Pictures of each part by light, parts by their path below the folder, without light and extension."""
    found: dict[str, dict[str, Path]] = {}
    for picture in list_tree(images, empty=empty).pictures:
        name, light = split_light(picture.stem, view.lights)
        if light is None and len(view.lights) == 1:
            light = view.lights[0]
        found.setdefault("/".join((*picture.folders, name)), {})[light or ""] = picture.path
    return found


def _stamp(files: Mapping[str, Path]) -> str:
    """Changes when a picture of the part does."""
    states = [(light, path.stat()) for light, path in sorted(files.items())]
    return " ".join(f"{light}:{state.st_size}:{state.st_mtime_ns}" for light, state in states)


def resume(output: Path, facts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Decisions that `output` holds, by part; a last line that a kill cut off is removed.

    Raises InputError where they are another model's.
    """
    kept = output / "model.json"
    wanted = json.loads(json.dumps(facts))
    if kept.is_file() and parse_json(kept.read_text(encoding="utf-8")) != wanted:
        raise InputError(f"{output}: holds decisions of another model or --review-share; choose another --output-dir")
    atomic_write_json(kept, wanted)
    path = output / LINES
    if not path.is_file():
        return {}
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    try:
        rows = [json.loads(text) for text in data[:whole].splitlines()]
        return {row["part"]: row for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}); move it away and score again") from None


def _append(path: Path, decided: Sequence[Decision]) -> None:
    with open(path, "ab") as stream:
        stream.write(b"".join(json.dumps(asdict(one), ensure_ascii=False).encode() + b"\n" for one in decided))
        stream.flush()
        os.fsync(stream.fileno())


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = [name for name in Decision.__dataclass_fields__ if name != "stamp"]
    text = io.StringIO()
    table = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    atomic_write(path, lambda stream: stream.write(text.getvalue().encode()))


def _summary(
    rows: Sequence[Mapping[str, Any]], fresh: int, seconds: float, line: Line, reference: Mapping[str, Any] | None
) -> FolderScores:
    count = Counter(str(row["decision"]) for row in rows)
    scores = np.array([row["score"] for row in rows if row["score"] is not None], np.float64)
    unscored = len(rows) - scores.size
    found = drift(scores, reference) if reference else None
    warnings = [found.warning] if found and found.warning else []
    if reference is None:
        warnings.append("no best_model_reference.json next to the model: no rows for a person, no drift check")
    if unscored:
        why = Counter(str(row["problem"]) for row in rows if row["problem"]).most_common(1)[0]
        warnings.append(f"{unscored:,} parts could not be scored and are for a person, most of them: {why[0]}")
    decisions = {name: count[name] for name in (PASS, NO_PASS, REVIEW)}
    drifts = (found.warning or "") if found else ""
    return FolderScores(
        len(rows), fresh, seconds, decisions, line.threshold, line.band, unscored, tuple(warnings), drifts
    )


def text(result: FolderScores, output: Path) -> str:
    """What a person reads."""
    parts, speed = max(result.parts, 1), result.fresh / max(result.seconds, 1e-9)
    shares = ", ".join(f"{name} {count:,} ({count / parts:.1%})" for name, count in result.decisions.items())
    lines = [
        f"{result.parts:,} parts: {shares}",
        f"{result.fresh:,} decided now in {result.seconds:.1f} s, {speed:.1f} parts/s",
        *limit_lines(result.threshold, result.band),
    ]
    lines += [f"WARNING: {warning}" for warning in result.warnings]
    return "\n".join([*lines, f"wrote {output / DECISIONS}, {LINES}, {HEAT}/"])
