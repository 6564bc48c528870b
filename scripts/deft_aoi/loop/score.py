"""`deft score`: decide new rows with the best model of a run, wherever the run's heavy work runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json, move_aside, sha256_file
from deft_aoi.base.paths import REFERENCE, RunPaths
from deft_aoi.base.rows import PASS, SCORE, read_rows, write_rows
from deft_aoi.data.depth import content, depth_problem
from deft_aoi.data.sets import set_of
from deft_aoi.engine.engine_choice import TAO
from deft_aoi.executors import platform_choice
from deft_aoi.executors.base import Executor, Place, Task
from deft_aoi.executors.tao_status import task_problem
from deft_aoi.kpi.reuse import NO_PASS, REVIEW, REVIEW_SHARE, decide, drift, review_band, unseen_components
from deft_aoi.kpi.scored import Scored, read_scored
from deft_aoi.loop import driver
from deft_aoi.record.locations import Places
from deft_aoi.record.run import load_run, read_json
from deft_aoi.spec.tree import dump_spec, load_spec, optics, put
from deft_aoi.stages.evaluate import inference_task
from deft_aoi.stages.finish import inference_spec

UNLABELLED = "unlabelled"
DECISIONS, RECORD = "decisions.csv", "score.json"
_REQUIRED = ("input_path", "golden_path", "object_name")
_POLL_SECONDS = 0.2
_PATHS = ("checkpoint", "training_spec", "images_dir")  # of best_model.json


@dataclass(frozen=True)
class Scores:
    """What was decided: counts by decision, the band for a person (None: unknown), warnings, what the labels say."""

    rows: int
    decisions: dict[str, int]
    threshold: float
    band: tuple[float, float] | None
    drift_distance: float | None
    warnings: tuple[str, ...]
    labelled: dict[str, int] | None

    def record(self) -> dict[str, Any]:
        return {**vars(self), "band": list(self.band) if self.band else None, "warnings": list(self.warnings)}


def load_model(model_file: Path) -> dict[str, Any]:
    """Content of best_model.json with its paths as they are now: the workspace may have been moved since."""
    model = read_json(model_file)
    missing = [name for name in ("checkpoint", "threshold", "training_spec") if name not in model]
    if missing:
        raise InputError(f"{model_file}: {', '.join(missing)} missing; expected best_model.json of a finished run")
    places = Places.at(model_file.parent)
    return {**model, **{name: str(places.file(str(model[name]))) for name in _PATHS if model.get(name)}}


def checked_checkpoint(model_file: Path, model: dict[str, Any]) -> Path:
    """The model's checkpoint; raises InputError where it is gone or another one."""
    checkpoint = Path(model["checkpoint"])
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: checkpoint of {model_file} is gone; put it back or correct the path there")
    if sha256_file(checkpoint) != model.get("checkpoint_sha256"):
        raise InputError(f"{checkpoint}: not the checkpoint that {model_file} was judged with; put that one back")
    return checkpoint


def score(
    model_file: Path, csv: Path, output: Path, *, images_dir: Path | None = None, review_share: float = REVIEW_SHARE
) -> Scores:
    """Write decisions.csv and score.json into `output`.

    A CSV that already has `siamese_score` is only decided; any other is scored by the model, as a task of its own.
    Raises InputError where the model is not as it was delivered, or a row cannot be scored.
    """
    model = load_model(model_file)
    reference = read_reference(model_file, model)
    band = review_band(reference, review_share)
    rows = read_rows(csv, required=_REQUIRED)
    unlabelled = "label" not in rows.columns or (rows["label"] == "").any()
    if unlabelled:
        rows["label"] = rows["label"].replace("", UNLABELLED) if "label" in rows.columns else UNLABELLED
    if SCORE not in rows.columns:
        csv = infer(model_file, model, rows, output, images_dir or Path(model["images_dir"]))
        rows = read_rows(csv, required=_REQUIRED)
    elif unlabelled:
        csv = output / "rows.csv"
        write_rows(csv, rows)
    scored, threshold = read_scored(csv), float(model["threshold"])
    decision = decide(scored.score, threshold, band)
    result = _result(scored, decision, threshold, band, reference)
    by_threshold = decide(scored.score, threshold, None)
    write_rows(output / DECISIONS, rows.assign(by_threshold=by_threshold, decision=decision))
    atomic_write_json(output / RECORD, {"model": str(model_file), **result.record()})
    return result


def _result(
    scored: Scored, decision: NDArray[np.str_], threshold: float, band: tuple[float, float] | None,
    reference: dict[str, Any] | None,
) -> Scores:  # fmt: skip
    found = drift(scored.score, reference) if reference else None
    warnings = [found.warning if found else None, unseen_components(scored, reference) if reference else None]
    if reference is None:
        warnings.append(f"no {REFERENCE} next to the model: no rows for a person, no drift check")
    counts = {name: int((decision == name).sum()) for name in (PASS, NO_PASS, REVIEW)}
    labelled = None
    if not (scored.label == UNLABELLED).any():
        called = scored.score > threshold
        labelled = {
            "n_pass": int((~scored.defect).sum()),
            "n_defect": int(scored.defect.sum()),
            "false_calls": int((called & ~scored.defect).sum()),
            "escapes": int((~called & scored.defect).sum()),
            "escapes_for_a_person": int((~called & scored.defect & (decision == REVIEW)).sum()),
        }
    return Scores(
        int(scored.score.size), counts, threshold, band, found.distance if found else None,
        tuple(text for text in warnings if text), labelled,
    )  # fmt: skip


def read_reference(model_file: Path, model: dict[str, Any]) -> dict[str, Any] | None:
    """Quantiles of the KPI scores; None for a model of an older version, or where the file was left behind."""
    path = model_file.parent / REFERENCE
    if not path.is_file():
        return None
    reference = read_json(path)
    if reference["threshold"] != model["threshold"]:
        raise InputError(f"{path}: belongs to another model (threshold {reference['threshold']!r}); copy both files")
    return reference


def infer(model_file: Path, model: dict[str, Any], rows: pd.DataFrame, output: Path, images_dir: Path) -> Path:
    """Score the rows, written to `output/rows.csv`, by a task where the model runs; returns the scored CSV."""
    write_rows(output / "rows.csv", rows)
    if not Path(model["checkpoint"]).is_file() and model.get("engine") == TAO:
        raise InputError(
            f"{model['checkpoint']}: not on this machine; score {output / 'rows.csv'} where it is (visual_changenet "
            "inference), then: deft score --csv inference.csv, which has siamese_score"
        )
    checkpoint = checked_checkpoint(model_file, model)
    spec = inference_spec(load_spec(Path(model["training_spec"])), float(model["threshold"]))
    put(spec, "dataset.classify.infer_dataset.csv_path", str(output / "rows.csv"))
    put(spec, "dataset.classify.infer_dataset.images_dir", str(images_dir))
    put(spec, "inference.checkpoint", str(checkpoint))
    put(spec, "inference.results_dir", str(output / "inference"))
    _check_depth(rows, output / "rows.csv", images_dir, spec, clips=model.get("engine") == TAO)
    size = int(spec["dataset"]["classify"].get("batch_size") or len(rows))
    put(spec, "dataset.classify.batch_size", min(size, len(rows)))
    dump_spec(output / "score.yaml", spec)
    task = inference_task("score", output / "score.yaml", output / "inference")
    run_task(task, executor_of(model_file, model, output), output / "job")
    return output / "inference/inference.csv"


def _check_depth(rows: pd.DataFrame, csv: Path, root: Path, spec: Mapping[str, Any], *, clips: bool) -> None:
    """Raises InputError where the pictures keep more bits than a decoder of 8 can use; one that is not on this machine
    is left to the task."""
    new = set_of("score", csv, rows, root, optics(spec, csv))
    files = dict.fromkeys(Path(name) for light in (*new.files, *new.goldens) for name in light)
    if problem := depth_problem(((path, content(path)) for path in files), clips=clips):
        raise InputError(problem)


def executor_of(model_file: Path, model: dict[str, Any], output: Path) -> Executor:
    """Where the model's run works; this host for a model that was copied away from its run."""
    if RunPaths(model_file.parent.resolve()).state.is_file():
        return driver.make_executor(load_run(model_file.parent))
    if model.get("engine") not in ("features", "net"):
        raise InputError(
            f"{model_file}: engine {model.get('engine')!r} runs where its run does; leave it in its folder"
        )
    return platform_choice.make_executor(Place(platform_choice.LOCAL, {}, output, {}, model["engine"]))


def run_task(task: Task, executor: Executor, job: Path) -> None:
    """Run a task and wait for it. Raises InputError with what it reported where it fails."""
    for folder in (job, task.output):
        if folder.exists():
            move_aside(folder)
    task.output.mkdir(parents=True)
    executor.submit(task, job)
    while (now := executor.poll(job)).kind == "running":
        time.sleep(_POLL_SECONDS)
    problem = task_problem(task)
    if now.returncode not in (0, None) or problem:
        log = executor.log(job)
        tail = log.read_text(errors="replace").strip().splitlines()[-1:] if log.is_file() else []
        raise InputError(
            f"{task.name} failed (exit {now.returncode}): {' '.join(tail) or problem or now.reason}; see {log}"
        )


def limit_lines(threshold: float, band: tuple[float, float] | None) -> list[str]:
    """What the scores are compared with, for a person."""
    lines = [f"NO_PASS when score > {threshold!r}"]
    if band:
        lines.append(f"REVIEW, too near the threshold for a machine: {band[0]:.6g} to {band[1]:.6g}")
    return lines


def text(result: Scores, output: Path) -> str:
    """What a person reads."""
    share = {name: f"{count:,} ({count / result.rows:.1%})" for name, count in result.decisions.items()}
    lines = [
        f"{result.rows:,} rows: PASS {share[PASS]}, NO_PASS {share[NO_PASS]}, REVIEW {share[REVIEW]}",
        *limit_lines(result.threshold, result.band),
    ]
    if result.labelled:
        known = result.labelled
        lines.append(
            f"labels say: {known['false_calls']:,} of {known['n_pass']:,} PASS rows called falsely, "
            f"{known['escapes']:,} of {known['n_defect']:,} defects escape ({known['escapes_for_a_person']:,} of these "
            "go to a person)"
        )
    if result.drift_distance is not None:
        lines.append(f"distance from the KPI set's PASS scores: {result.drift_distance:.3f} (0 same, 1 apart)")
    lines += [f"WARNING: {warning}" for warning in result.warnings]
    return "\n".join([*lines, f"wrote {output / DECISIONS}"])
