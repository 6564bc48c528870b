"""What speaks for and against each verdict: contradictions, pictures that are known, copies of judging sets."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import utc_now
from deft_aoi.data.duplicates import copy_limit, near_pairs, together
from deft_aoi.data.fingerprints import by_light, content_keys
from deft_aoi.data.sets import JUDGES, POOL, TRAINING, RowSet
from deft_aoi.importers.golden_files import load_goldens
from deft_aoi.importers.reading import Golden
from deft_aoi.loop.part_decisions import taken_at
from deft_aoi.loop.score import RECORD, load_model
from deft_aoi.loop.score_folder import list_parts
from deft_aoi.loop.verdicts import Said
from deft_aoi.record.feedback import ADDED, CONTRADICTION, Feedback, Verdict
from deft_aoi.record.run import read_json
from deft_aoi.spec.tree import Optics, load_spec, optics

KNOWN = "known already"


@dataclass(frozen=True)
class Source:
    """Where decisions are from: `key` names folder and model; the pictures of every part, and the goldens by key;
    `drift` is what scoring reported of it."""

    key: str
    images: Path
    model_file: Path
    model: Mapping[str, Any]
    view: Optics
    parts: Mapping[str, Mapping[str, Path]]
    goldens: Mapping[str, Golden]
    drift: str


def open_source(decisions: Path) -> Source:
    """What scoring noted next to its decisions. Raises InputError where that is missing or the pictures are gone."""
    record = read_json(decisions.parent / RECORD)
    missing = [name for name in ("model", "images", "goldens", "drift") if not isinstance(record.get(name), str)]
    if missing:
        raise InputError(
            f"{decisions.parent / RECORD}: {', '.join(missing)} missing; expected the folder that deft score --images "
            "of this version wrote: score the pictures again"
        )
    model_file, images = Path(record["model"]), Path(record["images"])
    model = load_model(model_file)
    spec = Path(model["training_spec"])
    view = optics(load_spec(spec), spec)
    goldens, _ = load_goldens(Path(record["goldens"]), view.lights)
    key = hashlib.sha256(f"{images}\n{model.get('checkpoint_sha256')}".encode()).hexdigest()[:16]
    parts = list_parts(images, view, empty=False)
    return Source(key, images, model_file, model, view, parts, {one.key: one for one in goldens}, record["drift"])


def judged(sets: Sequence[RowSet], source: Source, said: Sequence[Said], known: Feedback) -> list[Verdict]:
    """Every verdict with what speaks against taking its part into the pool; ADDED where nothing does."""
    contents = _contents(source, [one.part for one in said])
    before = {one.content: one for one in known.counted()}
    labels = _labels_by_content(sets)
    among: dict[str, set[str]] = defaultdict(set)
    for one in said:
        if not one.wrong:
            among[contents[one.part] or one.part].add(one.label)
    copies = _copies(sets, source, [one.part for one in said])
    seen: set[str] = set()
    found = []
    for one in said:
        content = contents[one.part]
        outcome = _outcome(one, source, content, among[content or one.part], before.get(content), labels.get(content))
        if outcome == ADDED and content in seen:
            outcome = "a copy of another part of this call"
        if outcome == ADDED and copies[one.part]:
            outcome = f"shows a picture of the {copies[one.part]} set"
        seen.add(content)
        found.append(_verdict(one, source, content, outcome))
    return found


def _outcome(
    one: Said, source: Source, content: str, among: set[str], before: Verdict | None, there: tuple[str, str] | None
) -> str:
    decided = one.decided
    if one.wrong:
        return f"{CONTRADICTION}: {one.wrong}"
    if len(among) > 1:
        return f"{CONTRADICTION}: verdicts of this call say {' and '.join(sorted(among))}"
    if before is not None and before.label != one.label:
        who = f" by {before.operator}" if before.operator else ""
        return f"{CONTRADICTION}: was {before.verdict} ({before.label}) on {before.date}{who}"
    if before is not None:
        return KNOWN
    if there is not None and there[1] != one.label:
        return f"{CONTRADICTION}: {there[0]} has the same picture as {there[1]}"
    if there is not None:
        return f"{there[0]} has the same picture"
    if not content:
        return "its picture is gone or unreadable"
    if taken_at(source.parts[one.part]) != decided["taken"]:
        return "its picture changed since it was decided; score it again"
    if decided["golden"] not in source.goldens:
        return "has no golden"
    return ADDED


def _contents(source: Source, parts: Sequence[str]) -> dict[str, str]:
    """SHA-256 over the pictures of each part; empty where one is gone or unreadable."""
    whole = [part for part in parts if set(source.view.lights) <= set(source.parts.get(part, {}))]
    files = [[str(source.parts[part][light]) for part in whole] for light in source.view.lights]
    keys = dict(zip(whole, content_keys(by_light(files)))) if whole else {}
    return {part: hashlib.sha256(keys[part]).hexdigest() if keys.get(part) else "" for part in parts}


def _labels_by_content(sets: Sequence[RowSet]) -> dict[str, tuple[str, str]]:
    """(where, label) of each picture that training or pool hold already."""
    found: dict[str, tuple[str, str]] = {}
    for one in sets:
        if one.name in (TRAINING, POOL):
            for row, key in enumerate(content_keys(by_light(one.files))):
                if key:
                    where = f"{one.name} row {one.title(row)}"
                    found.setdefault(hashlib.sha256(key).hexdigest(), (where, one.label(row)))
    return found


def _copies(sets: Sequence[RowSet], source: Source, parts: Sequence[str]) -> dict[str, str]:
    """The judging set of which each part shows a picture again, equal, re-encoded or moved; else empty."""
    lights = source.view.lights
    whole = [part for part in dict.fromkeys(parts) if set(lights) <= set(source.parts.get(part, {}))]
    files = [[str(source.parts[part][light]) for part in whole] for light in lights]
    found = dict.fromkeys(parts, "")
    if not whole:
        return found
    prints, judges = by_light(files), [one for one in sets if one.name in JUDGES]
    limit = copy_limit(*together([(by_light(one.files), one.files) for one in judges]))
    for one in judges:
        for near in near_pairs(prints, by_light(one.files), files, one.files, each_of_first=True):
            if near.likeness >= limit:
                found[whole[near.first]] = found[whole[near.first]] or one.name
    return found


def _verdict(one: Said, source: Source, content: str, outcome: str) -> Verdict:
    decided = one.decided
    name = f"{one.part.replace('/', '_')}_{content[:8]}" if outcome == ADDED else ""
    return Verdict(
        utc_now(), source.key, one.part, decided["component"], decided["board"], decided["taken"][:10],
        decided["decision"], float(decided["score"]) if decided["score"] else None, one.verdict, one.label,
        one.operator, one.date, content, outcome, name,
    )  # fmt: skip
