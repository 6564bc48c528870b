"""Stage `rca`: which samples hold the threshold down, why, and with pictures."""

from __future__ import annotations

import time
from pathlib import Path

from deft_aoi.base.csv_text import line_of
from deft_aoi.base.errors import DeftError
from deft_aoi.base.paths import BASELINE
from deft_aoi.base.rows import read_rows
from deft_aoi.data.sets import KPI
from deft_aoi.executors.base import TAO_PYT, Task
from deft_aoi.rca.causes import LABEL
from deft_aoi.rca.evidence import Known
from deft_aoi.rca.weak import target_defects, weak_samples
from deft_aoi.record.facts import Analysed
from deft_aoi.record.run import Run
from deft_aoi.spec.tree import dump_spec, put
from deft_aoi.stages.evaluate import FINISHED
from deft_aoi.stages.gap_analysis import Analysis, Subject, analyse, false_calls, holder
from deft_aoi.stages.spot_check import merge, review_rows, sheets
from deft_aoi.stages.stage import StageResult
from deft_aoi.stages.task_specs import task_spec, without_nulls

__all__ = ["collect", "target_defects", "tasks", "weak_samples"]


def tasks(run: Run, label: str) -> list[Task]:
    """With the validation rows as source: score them with the best model so far. The KPI rows are scored already."""
    if run.plan.rca_source == KPI:
        return []
    analysed, best = run.champion()
    folder = run.paths.folder(label) / "rca_scores"
    spec = task_spec(run, analysed)
    infer = {"csv_path": str(run.workspace.validation_csv), "images_dir": str(run.workspace.images)}
    put(spec, "dataset.classify.infer_dataset", infer)
    put(spec, "inference.checkpoint", str(best.best_ckpt_path))
    put(spec, "inference.results_dir", str(folder))
    path = run.paths.folder(label) / "specs/rca_scores.yaml"
    dump_spec(path, without_nulls(spec))
    command = ("visual_changenet", "inference", "-e", str(path))
    expects = (folder / "inference.csv",)
    return [Task("score_validation", command, folder, expects=expects, finished=FINISHED, image=TAO_PYT, gpus=1)]


def collect(run: Run, label: str) -> StageResult:
    """Analyse the best model so far: the one that the iteration starts from."""
    analysed, best = run.champion()
    source = run.plan.rca_source
    csv = best.inference_csv
    if source != KPI:
        csv = run.paths.folder(label) / "rca_scores/inference.csv"
    folder = run.paths.rca(label) / time.strftime("%Y%m%d_%H%M%S", time.gmtime())
    found = analyse(subject(run, analysed, csv, source), folder)
    facts = Analysed.from_json(found.facts | {"analysed": analysed}, str(folder))
    ask_for_review(run, found, source, label)
    causes = ", ".join(f"{name} {count['weak']}" for name, count in facts.causes.items())
    of = analysed if source == KPI else f"{analysed} on the {source} rows"
    summary = f"{len(found.weak)} weak samples of {of} ({false_calls(found.weak)} false calls; {causes}), "
    summary += f"threshold held by {holder(found.scored)}, hardest defects: {', '.join(facts.rca_target_defects[:3])}"
    if earlier := next((one for one in sheets(run.entries) if one.model == analysed), None):
        summary += f" · {analysed} was analysed before: the same contact sheet as in {earlier.iteration}/rca"
    return StageResult(summary, facts, (folder / "kpi_gaps.parquet", folder / "threshold.txt"))


def last_look(run: Run, best: str) -> tuple[str | None, Path | None]:
    """(model, folder) of the gap analysis of the model that is delivered: made before, else of its KPI rows now.

    It chooses nothing; where it cannot be made, the hand-over goes on without.
    """
    for one in sheets(run.entries):  # the first of a model: verdicts are recorded next to it
        if one.model == best:
            return best, one.folder
    folder = run.paths.rca(best) / time.strftime("%Y%m%d_%H%M%S", time.gmtime())
    try:
        found = analyse(subject(run, best, run.champion()[1].inference_csv, KPI), folder)
    except (DeftError, OSError):
        return None, None
    ask_for_review(run, found, KPI, best)
    return best, folder


def ask_for_review(run: Run, found: Analysis, source: str, label: str) -> None:
    """Bring weak rows whose label is suspect into label_review.csv."""
    csv = run.workspace.kpi_csv if source == KPI else run.workspace.validation_csv
    doubted = found.weak[found.weak["cause"] == LABEL].assign(line=lambda rows: [line_of(csv, r) for r in rows["row"]])
    merge(run.paths, review_rows(doubted, source, f"gap analysis of {label}"))


def subject(run: Run, analysed: str, csv: Path, source: str) -> Subject:
    """The scored rows of a model with what it learned from; `source` is the set of these rows."""
    root = run.workspace.images if analysed == BASELINE else run.workspace.root
    most = (run.plan.target.far.limit if run.plan.target.far else None) or 0.0
    judges = [run.workspace.training_csv, *([run.workspace.validation_csv] if source == KPI else [])]
    return Subject(
        csv, run.workspace.images, run.optics, run.plan.target.recall, run.plan.top_k_per_label,
        known=Known(read_rows(run.training_csv(analysed)), root),
        judges=[Known(read_rows(csv), run.workspace.images) for csv in judges],
        source=source, workspace=run.workspace.root, most_far=most,
    )  # fmt: skip
