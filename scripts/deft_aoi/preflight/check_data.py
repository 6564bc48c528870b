"""Pre-Flight's view of the audit over all sets: what stops a run, what a person should know before saying yes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from deft_aoi.base.console import aside
from deft_aoi.base.errors import DeftError, InputError
from deft_aoi.base.finding import BLOCK, NOTE, Finding
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.base.rows import PASS
from deft_aoi.base.safe_paths import check_cells, check_files
from deft_aoi.data.audit_sets import DEEP, TURNED, SetAudit, SpecialFiles, audit_sets, write_audit
from deft_aoi.data.depth import depth_words
from deft_aoi.data.label_review import MAX_ROWS, Review, review, write_review
from deft_aoi.data.sets import ACCEPTANCE, JUDGES, KPI, POOL, SYNTHETIC, TRAINING, RowSet, image_digest
from deft_aoi.engine.engine_choice import FEATURES, TAO
from deft_aoi.preflight.inputs import Inputs
from deft_aoi.preflight.summary_data import sample_lines
from deft_aoi.record.review_log import with_decisions
from deft_aoi.record.run import IMAGES_OF, Plan
from deft_aoi.spec.tree import Optics
from deft_aoi.stages.anomalygen_patches import MODE as PATCHES
from deft_aoi.synthetic.pregenerated import MODE as PREGEN

CHECK = 10
NEW_FILES = 60_000  # images that Pre-Flight opens: under a minute on two cores; the rest is for `deft audit`
BESIDE_SECONDS = 1.0  # for new images where the run is refused anyway
TRAINED_ON = (TRAINING, *JUDGES)  # sets of which every image must be readable
_SHOWN = 3
_STATS = 2000
# What a row, a new image and a measured row cost, in times of one os.stat: the rest of a machine is as much slower or
# faster (benchmarks/large_pool.py).
_ROW, _IMAGE, _LABEL = 28, 100, 6000


@dataclass(frozen=True)
class Examined:
    """The sets of a workspace, how their images are named, and what the audit found in them."""

    sets: list[RowSet]
    optics: Optics
    audit: SetAudit


def announce(inputs: Inputs) -> None:
    """One line on stderr about a pool of which only a part will be opened: how much, and how long all that takes."""
    with contextlib.suppress(DeftError):
        rows, lights = len(inputs.tables[POOL].rows) if POOL in inputs.tables else 0, len(inputs.optics.lights)
        if 2 * rows * lights <= NEW_FILES:
            return
        began = time.perf_counter()
        for _ in range(_STATS):
            os.stat(inputs.tables[POOL].csv)
        each = (time.perf_counter() - began) / _STATS
        minutes = each * (_ROW * rows + _IMAGE * NEW_FILES + _LABEL * MAX_ROWS) / 60
        aside(
            f"{POOL}: {rows:,} rows. Their files are looked up, at most {NEW_FILES:,} images are opened and "
            f"{min(rows, MAX_ROWS):,} labels measured in this call: about {max(minutes, 1):.0f} min, less where an "
            "earlier call kept its numbers"
        )


def examine(inputs: Inputs, *, limit: int | None = NEW_FILES) -> Examined:
    """Raises InputError for a spec that TAO refuses and for a set that cannot be read."""
    for problem in inputs.spec_problems:
        raise InputError(problem)
    sets = inputs.row_sets()
    return Examined(sets, inputs.optics, audit_sets(sets, limit=limit))


def image_digests(seen: Examined, workspace: Workspace, *, sealed: bool) -> dict[str, str]:
    """A hash of the images of each set that judges, by the name under which the approval lists it; none of a set that
    has more files than Pre-Flight opens."""
    wanted = [one for one in seen.sets if one.name in JUDGES and (sealed or one.name != ACCEPTANCE)]
    return {
        IMAGES_OF + one.csv.relative_to(workspace.root).as_posix(): image_digest(one, workspace.root, known=True)
        for one in wanted
        if 2 * len(one.lights) * len(one.rows) <= NEW_FILES
    }


def findings_beside(
    inputs: Inputs, *, sealed: bool, engine: str, seconds: float | None = None, notes: bool = False
) -> list[Finding]:
    """What the images of the usable sets have against the run, where another finding blocks it already: as much as can
    be seen within some `seconds`, since a refusal must not be waited for; the rest comes with the next call.

    A set whose rows lead out of the workspace is not opened. Shared rows that check 10 names by the CSVs are left out.
    `notes` adds what does not block, near-duplicates too.
    """
    safe = [one for one in inputs.readable_sets() if _stays_inside(one, inputs.workspace)]
    audit = audit_sets(safe, limit=NEW_FILES, seconds=BESIDE_SECONDS if seconds is None else seconds, near=notes)
    shared = audit.shared
    unnamed = {SYNTHETIC} | (set() if sealed else {ACCEPTANCE})
    named = shared["kind"].isin(["path", "row"])
    named &= ~(shared["first_set"].isin(unnamed) | shared["second_set"].isin(unnamed))
    found = [*_leaks(replace(audit, shared=shared[~named])), *_broken(audit.broken), *_special(audit, engine)]
    return [*found, *_notes(Examined(safe, inputs.optics, audit))] if notes else found


def _stays_inside(one: RowSet, workspace: Workspace) -> bool:
    try:
        check_cells(one.rows, one.csv, one.root, workspace.root)
    except DeftError:
        return False
    files = dict.fromkeys(name for light in (*one.files, *one.goldens) for name in light)
    return not check_files(files, workspace.root)[1]


@dataclass(frozen=True)
class Samples:
    """What the samples are worth: lines for the Summary, and the record that preflight.json keeps."""

    lines: list[str]
    record: dict[str, Any]


def settle(seen: Examined, plan: Plan, dataset: Mapping[str, Mapping[str, Any]], paths: RunPaths) -> Samples:
    """Examine the labels, write `audit/*.csv` and `label_review.csv` into the run directory."""
    found = review_labels(seen, max_rows=MAX_ROWS)
    found = replace(found, table=with_decisions(found.table, paths.root.parent))
    write_audit(seen.audit, paths.audit)
    write_review(paths.label_review, found.table)
    record = {"audit": seen.audit.counts(), "labels": found.record()}
    return Samples(sample_lines(dataset, made_labels(seen, plan), found, screen=plan.screen), record)


def made_labels(seen: Examined, plan: Plan) -> list[str]:
    """Labels that a synthetic source of this plan brings."""
    if plan.synthetic in ("off", PATCHES):
        return []
    staged = {label for one in seen.sets if one.name == SYNTHETIC for label in one.labels}
    if plan.synthetic == PREGEN:
        return sorted(staged)
    if "*" in plan.anomalygen_labels:
        return sorted({label for one in seen.sets if one.name == KPI for label in one.labels} - {PASS})
    return list(plan.anomalygen_labels)


def review_labels(seen: Examined, *, max_rows: int | None) -> Review:
    """Suspect labels of training and pool; rows with broken images are left out."""
    broken = seen.audit.broken
    unusable = {}
    for name, part in broken.groupby("set"):
        one = next(one for one in seen.sets if one.name == name)
        lines = set(map(int, part["line"]))
        unusable[str(name)] = {row for row in range(len(one.rows)) if one.line(row) in lines}
    return review(seen.sets, seen.optics, unusable, max_rows=max_rows)


def findings(seen: Examined, engine: str = FEATURES) -> list[Finding]:
    """What blocks (an image that judges and teaches, an unreadable image that training needs) and what is noted."""
    audit = seen.audit
    return [*_leaks(audit), *_broken(audit.broken), *_special(audit, engine), *_notes(seen)]


def _leaks(audit: SetAudit) -> Iterator[Finding]:
    stops = audit.shared[audit.shared["stops"].astype(bool)]
    for (first, second), part in stops.groupby(["first_set", "second_set"], sort=False):
        text = f"{len(part)} images are in {first} and in {second}: {_pairs(part)}"
        remedy = f"remove them from {first} (deft audit --workspace W writes the whole table)"
        yield Finding(CHECK, BLOCK, text, where="leakage", next=remedy)


def _broken(broken: pd.DataFrame) -> Iterator[Finding]:
    unreadable = broken[broken["what"] != "missing"].drop_duplicates(["set", "line"])
    for name, part in unreadable.groupby("set", sort=False):
        lines = ", ".join(map(str, part["line"].head(8))) + (", ..." if len(part) > 8 else "")
        text = f"{len(part)} rows of {name} have an unreadable image: line {lines}; the first is {part['file'].iloc[0]}"
        if name in TRAINED_ON:
            remedy = "TAO stops at the first: replace the files or remove the rows"
            yield Finding(CHECK, BLOCK, text, next=remedy)
        else:
            yield Finding(CHECK, NOTE, f"{text}; mining skips them")


def _special(audit: SetAudit, engine: str) -> Iterator[Finding]:
    """Files of more than 8 bits, and files that a viewer turns: how their pixels are used, or why they cannot be."""
    if deep := [one for one in audit.special if one.kind == DEEP]:
        level, text = depth_words(max(one.largest for one in deep), clips=engine == TAO)
        yield Finding(CHECK, level, f"{_files_of(deep)} have more than 8 bits a value, {text}")
    if turned := [one for one in audit.special if one.kind == TURNED]:
        text = "have an orientation tag: their pixels are used as stored, as TAO does, and not as a viewer shows them"
        yield Finding(CHECK, NOTE, f"{_files_of(turned)} {text}")


def _files_of(some: Sequence[SpecialFiles]) -> str:
    sets = ", ".join(f"{one.set} {one.files}" for one in some)
    return f"{sum(one.files for one in some)} images ({sets}; the first is {some[0].first})"


def _notes(seen: Examined) -> Iterator[Finding]:
    shared = seen.audit.shared
    near = shared[shared["kind"] == "near"]
    if len(near):
        text = f"{len(near)} near-duplicates (re-encoded, brightened or moved copies) across sets: {_pairs(near)}"
        judged = near["first_set"].isin(JUDGES) | near["second_set"].isin(JUDGES)
        text += f"; {int(judged.sum())} of them with a set that judges, which makes its figures look better"
        yield Finding(CHECK, NOTE, text + " (audit/shared_images.csv)")
    torn = shared[~shared["same_label"].astype(bool)]
    if len(torn):
        yield Finding(CHECK, NOTE, f"{len(torn)} images have two labels: {_pairs(torn)} (audit/shared_images.csv)")
    for row in seen.audit.boards.itertuples():
        text = f"{row.boards} boards have rows in {row.first_set} and in {row.second_set} ({row.names}): different "
        yield Finding(CHECK, NOTE, text + "images, but figures look better than on new boards")
    unnamed = [name for name, count in seen.audit.boards_of.items() if count == 0 and name in TRAINED_ON]
    if unnamed:
        text = f"no boardname in {', '.join(unnamed)}: whether sets share a board cannot be determined"
        yield Finding(CHECK, NOTE, text)
    if seen.audit.unread:
        text = f"{seen.audit.unread:,} rows were not looked at for copies and damage; deft audit looks at all"
        yield Finding(CHECK, NOTE, text)


def _pairs(part: pd.DataFrame) -> str:
    some = part.head(_SHOWN).itertuples()
    shown = "; ".join(
        f"{r.first_set} line {r.first_line} ({r.first_label}) = {r.second_set} line {r.second_line} ({r.second_label})"
        for r in some
    )
    return shown + (f" and {len(part) - _SHOWN} more" if len(part) > _SHOWN else "")
