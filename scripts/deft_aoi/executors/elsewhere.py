"""A machine that this one cannot reach: TAO trains and scores there, this executor answers with the scores handed in.

The checkpoint of such a model is a record (:data:`RECORD`) next to its scores. An inference looks its rows up there; a
row without a score is refused, never guessed. Nothing is trained here.
"""

from __future__ import annotations

import json
import posixpath
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json, atomic_write_text, utc_now
from deft_aoi.base.rows import IDENTITY, SCORE, read_rows, write_rows
from deft_aoi.executors.base import HANDLE, LOG, JobState, Place, Probe, Task
from deft_aoi.executors.records import open_handle, record_end, settled
from deft_aoi.executors.tao_status import STATUS_FILE
from deft_aoi.spec.tree import get, load_spec

RECORD, SCORES = "model.json", "scores.csv"  # of one model, in one folder


class ElsewhereExecutor:
    """Inference by look-up; every other task is refused with what to do instead."""

    platform = "elsewhere"

    def __init__(self, place: Place) -> None:
        self.workspace = place.workspace

    def submit(self, task: Task, job: Path) -> None:
        if task.command[:3] != ("visual_changenet", "inference", "-e"):
            raise InputError(
                f"{task.name}: platform {self.platform} runs no {' '.join(task.command[:2])}; it trains and scores on "
                "the other machine (deft export-training)"
            )
        job.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        handle = {"platform": self.platform, "task": list(task.command), "submitted": utc_now()}
        atomic_write_json(job / HANDLE, handle)
        said = look_up(Path(task.command[3]), task.output, self.workspace)
        message = {"date": utc_now(), "status": "SUCCESS", "message": task.finished or ""}
        atomic_write_text(task.output / STATUS_FILE, json.dumps(message) + "\n")
        atomic_write_text(job / LOG, said + "\n")
        record_end(job, 0, time.monotonic() - started)

    def poll(self, job: Path) -> JobState:
        if open_handle(job) is None:
            return settled(job)
        return JobState("lost", reason="interrupted while scores were looked up")

    def log(self, job: Path) -> Path:
        return job / LOG

    def cancel(self, job: Path) -> None:
        """Nothing runs here."""

    def describe(self) -> str:
        return "another machine: this one exports training data and takes scores back"

    def probe(self) -> list[Probe]:
        return [
            Probe(3, "ok", "credentials: none needed here"),
            Probe(4, "ok", "registry login: not needed, no image is pulled here"),
            Probe(5, "ok", "images: none here; the other machine brings TAO"),
            Probe(6, "ok", "architecture and GPU: those of the other machine, not seen from here"),
        ]


def look_up(spec_file: Path, output: Path, workspace: Path) -> str:
    """Write inference.csv for the spec's rows from the scores of its checkpoint; returns a line for the log.

    Raises InputError with the line of the first row that has no score.
    """
    spec = load_spec(spec_file)
    csv, images = (Path(str(get(spec, f"dataset.classify.infer_dataset.{key}"))) for key in ("csv_path", "images_dir"))
    record = Path(str(get(spec, "inference.checkpoint")))
    table = record.with_name(SCORES)
    scores = read_rows(table)
    known = dict(zip(keys(scores), scores[SCORE], strict=True))
    rows = read_rows(csv)
    prefix = images.resolve().relative_to(workspace).as_posix()
    found = [known.get(key) for key in keys(rows, prefix)]
    missing = [number for number, score in enumerate(found) if score is None]
    if missing:
        raise InputError(
            f"{csv}, line {missing[0] + 2}: {rows['object_name'][missing[0]]} has no score in {table} ({len(missing)} "
            "such rows); score these rows with the same model and add them: deft step --scores CSV"
        )
    rows[SCORE] = pd.Series(found, index=rows.index)
    write_rows(output / "inference.csv", rows)
    return f"{len(rows)} rows of {csv} have the scores of {table}"


def keys(rows: pd.DataFrame, prefix: str = "") -> Iterator[tuple[str, ...]]:
    """Input folder, golden folder (from the workspace, below `prefix`) and object name of each row."""
    for input_path, golden_path, name in rows[list(IDENTITY)].itertuples(index=False):
        yield (
            posixpath.normpath(f"{prefix}/{input_path}" if prefix else input_path),
            posixpath.normpath(f"{prefix}/{golden_path}" if prefix else golden_path),
            name,
        )
