"""Labels that a person corrected, written into the workspace's CSVs for the next run.

A run's inputs are hashed by its approval, so nothing is written while one is under way. The CSV as it was stays next to
the new one. KPI labels decide verdicts: they are changed only where the person says so in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import copy_aside
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import normalise_label, parse_csv, write_rows
from deft_aoi.data.sets import JUDGES, KPI, POOL, TRAINING, VALIDATION
from deft_aoi.record.review_log import Decision
from deft_aoi.report.source import open_run
from deft_aoi.spec.tree import load_spec, optics

KPI_WORDS = "change KPI labels"  # what a person types


@dataclass(frozen=True)
class Fixed:
    """One CSV that was rewritten: how many labels, and where the file as it was is kept."""

    set: str
    csv: Path
    labels: int
    kept: Path


def require_idle(workspace: Workspace) -> None:
    """Raise InputError while a run of the workspace is under way."""
    for run in workspace.runs():
        if (run / "deft_state.json").is_file() and open_run(run).status() in ("in_progress", "hard_stop"):
            raise InputError(
                f"{run.name} is under way, and its approval covers these CSVs: finish or stop it first, then write the "
                "labels; they count from the next run on"
            )


def write_labels(workspace: Workspace, decisions: Sequence[Decision], kpi_words: str = "") -> list[Fixed]:
    """Write the chosen labels. Raises InputError where a run is under way, a row is not found, or labels of a set that
    judges would change without the words; nothing is written then."""
    require_idle(workspace)
    if any(one.set in JUDGES for one in decisions) and kpi_words.strip() != KPI_WORDS:
        raise InputError(f"labels of the set that judges would change; type {KPI_WORDS!r} to do that")
    csvs = {TRAINING: workspace.training_csv, VALIDATION: workspace.validation_csv, KPI: workspace.kpi_csv,
            POOL: workspace.pool_csv}  # fmt: skip
    plans = []
    for name in dict.fromkeys(one.set for one in decisions):
        rows = parse_csv(csvs[name])
        where = _places(workspace, name, csvs[name])
        mine = [one for one in decisions if one.set == name]
        for one in mine:
            place = where.get((one.input_path, one.object_name), ())
            now = {normalise_label(str(rows["label"].iloc[row])) for row in place}
            if now != {one.label}:
                found = ", ".join(sorted(now)) or "no such row"
                raise InputError(f"{csvs[name]}: {one.object_name} was {one.label} when it was decided, now: {found}")
            for row in place:
                rows.loc[row, "label"] = one.chosen
        plans.append((name, rows, len(mine)))
    return [_written(name, csvs[name], rows, count) for name, rows, count in plans]


def _places(workspace: Workspace, name: str, csv: Path) -> dict[tuple[str, str], list[int]]:
    """Rows of the file by the identity that the loop knows them by."""
    from deft_aoi.base.rows import read_pool

    if name == POOL:
        view = optics(load_spec(workspace.spec), workspace.spec)
        rows = read_pool(csv, workspace.root, view.lights, view.ext)
    else:
        rows = parse_csv(csv)
    found: dict[tuple[str, str], list[int]] = {}
    for number, key in enumerate(zip(rows["input_path"], rows["object_name"], strict=True)):
        found.setdefault(key, []).append(number)
    return found


def _written(name: str, csv: Path, rows: object, count: int) -> Fixed:
    kept = copy_aside(csv)
    write_rows(csv, rows)  # type: ignore[arg-type]
    return Fixed(name, csv, count, kept)
