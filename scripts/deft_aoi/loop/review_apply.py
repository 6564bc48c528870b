"""What a decision changes on disk, so that the loop picks it up: verdicts, labels of the queue, the sheet's record.

Every function may be called again with the same decisions: after a crash they are simply applied once more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from deft_aoi.base.files import locked
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.base.rows import PASS, read_sheet, write_sheet
from deft_aoi.data.label_review import read_review
from deft_aoi.loop.review_items import GOLDEN, LABEL, QUEUED, SCORED, SPOT, Item, review_items
from deft_aoi.loop.score import DECISIONS
from deft_aoi.record.review_log import UNSURE, Decision, ReviewLog, standing, verdict
from deft_aoi.stages import spot_check

REVIEWED, GOLDENS = "reviewed.csv", "import/golden_review.csv"


def decide(
    paths: RunPaths, log: ReviewLog, item: Item, chosen: str, note: str, who: str, scored: Iterable[Path] = ()
) -> Decision:
    """Write one decision and what follows from it. Raises AlreadyDecided."""
    made = log.add(item.key, item.row(paths.root.name), chosen, note, who)
    apply(paths, [made], log, scored)
    return made


def undo(paths: RunPaths, log: ReviewLog, who: str, scored: Iterable[Path] = ()) -> Decision | None:
    """Take back the last decision of `who` in this run; None where there is none."""
    if (before := log.undo(who, paths.root.name)) is not None:
        apply(paths, [log.lines()[-1]], log, scored)
    return before


def settle(paths: RunPaths, workspace: Workspace, log: ReviewLog, scored: Iterable[Path] = ()) -> int:
    """Apply every decision of this run again: one that a killed server wrote down and did not come to apply. Suspected
    labels that a person has decided in another run of the workspace are decided here too. Returns how many count."""
    last = {one.item: one for one in log.lines()}
    mine = [one for one in last.values() if one.run == paths.root.name]
    counting = log.standing()
    elsewhere = [
        counting[item.key] for item in review_items(paths, workspace)
        if item.kind == LABEL and item.key in counting and counting[item.key].run != paths.root.name
    ]  # fmt: skip
    apply(paths, [*mine, *elsewhere], log, scored)
    return sum(one.undoes is None for one in (*mine, *elsewhere))


def apply(paths: RunPaths, decisions: Iterable[Decision], log: ReviewLog, scored: Iterable[Path] = ()) -> None:
    """Bring decisions, and those taken back, into the files that the loop reads."""
    by_kind: dict[str, list[Decision]] = defaultdict(list)
    for one in decisions:
        by_kind[one.kind].append(one)
    if some := by_kind[LABEL]:
        spot_check.set_verdicts(paths, {(one.set, one.input_path, one.object_name): verdict(one) for one in some})
    if some := by_kind[QUEUED]:
        _fill_queue(paths, some)
    if some := by_kind[SPOT]:
        _judge_sheet(paths, some)
    if by_kind[SCORED]:
        for folder in scored:
            _write_reviewed(folder, log)
    if by_kind[GOLDEN]:
        _write_goldens(paths, log)


def _fill_queue(paths: RunPaths, decisions: Iterable[Decision]) -> None:
    """Labels into every labelling queue of the run that asks for these rows; unsure leaves the cell empty."""
    told = {(one.input_path, one.object_name): "" if one.undoes or one.chosen == UNSURE else one.chosen
            for one in decisions}  # fmt: skip
    for path in paths.root.glob("*/mining_filter/labelling_queue.csv"):
        with locked(path.with_name(".labelling_queue.lock")):
            table = read_sheet(path)
            keys = list(zip(table["input_path"], table["object_name"], strict=True))
            labels = [told.get(key, label) for key, label in zip(keys, table["label"], strict=True)]
            if labels != list(table["label"]):
                write_sheet(path, table.assign(label=labels))


def _judge_sheet(paths: RunPaths, decisions: Iterable[Decision]) -> None:
    """Verdicts into spot_check.json next to each sheet that shows the row, and into label_review.csv."""
    told = {(one.input_path, one.object_name): one for one in decisions}
    for sheet in paths.root.glob("*/rca_results/*/weak_samples.csv"):
        rows = {
            int(row["sheet_row"]): told[key]
            for row in read_sheet(sheet).to_dict("records")
            if str(row["sheet_row"]).isdecimal() and (key := (str(row["input_path"]), str(row["object_name"]))) in told
        }
        known = spot_check.read_verdicts(sheet.parent)
        for row, one in rows.items():
            known.pop(row, None)
            if one.undoes is None and one.chosen != UNSURE:
                known[row] = {"row": row, "verdict": one.chosen, "note": one.note}
        gone = {(one.set, one.input_path, one.object_name): ("", "") for one in rows.values() if one.undoes is not None}
        if gone:
            spot_check.set_verdicts(paths, gone)
        if known and rows:
            who = next(iter(rows.values())).who
            record = {"schema_version": 1, "reviewer": who, "verdicts": [known[row] for row in sorted(known)]}
            spot_check.save(paths, sheet.parent, record, str(sheet.parent / spot_check.NAME))
        elif rows:
            (sheet.parent / spot_check.NAME).unlink(missing_ok=True)


def _write_reviewed(folder: Path, log: ReviewLog) -> None:
    """`reviewed.csv` next to decisions.csv: what a person decided of each REVIEW part, as `deft feedback` reads it."""
    names = set(_names(folder))
    rows = [
        (one.object_name, "good" if one.chosen == PASS else "real defect", one.chosen, one.who, one.when[:10], one.note)
        for one in _counting(log, SCORED) if one.object_name in names and one.chosen != UNSURE
    ]  # fmt: skip
    columns = ["part", "verdict", "label", "operator", "date", "note"]
    write_sheet(folder / REVIEWED, pd.DataFrame(rows, columns=columns))


def _names(folder: Path) -> list[str]:
    rows = read_sheet(folder / DECISIONS)
    return list(rows["object_name" if "object_name" in rows.columns else "part"])


def _write_goldens(paths: RunPaths, log: ReviewLog) -> None:
    """`import/golden_review.csv`: what a person says of each suspected golden."""
    rows = [(one.label, one.chosen, one.note, one.who, one.when) for one in _counting(log, GOLDEN)]
    table = pd.DataFrame(rows, columns=["golden", "verdict", "note", "operator", "date"])
    write_sheet(paths.root.parents[1] / GOLDENS, table)


def _counting(log: ReviewLog, kind: str) -> list[Decision]:
    return [one for one in standing(log.lines()).values() if one.kind == kind]


def label_changes(paths: RunPaths, log: ReviewLog) -> list[Decision]:
    """Decisions of this run's list that say another label than the row's CSV."""
    listed = read_review(paths.label_review)
    keys = set(zip(listed["set"], listed["input_path"], listed["object_name"], strict=True))
    return [
        one for one in log.standing().values()
        if one.kind == LABEL and one.chosen not in (one.label, UNSURE)
        and (one.set, one.input_path, one.object_name) in keys
    ]  # fmt: skip
