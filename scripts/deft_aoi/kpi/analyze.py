"""KPI of one scored CSV: sweep, bound, group, and write the analysis files."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write, atomic_write_json, atomic_write_text
from deft_aoi.base.rows import PASS, SCORE, read_some, write_sheet
from deft_aoi.kpi.boards import board_counts, board_record
from deft_aoi.kpi.bounds import lower_bound, upper_bound
from deft_aoi.kpi.gate import choose_point, judge
from deft_aoi.kpi.printed_summary import summary_text
from deft_aoi.kpi.scored import LIGHT, Groups, Scored, read_scored
from deft_aoi.kpi.sweep import OperatingPoint, Sweep, at_threshold, auroc, best_f1_point, operating_point, sweep
from deft_aoi.kpi.target import Contract

METRICS, SUMMARY, MISSED, RECORD = (
    "threshold_metrics.csv", "summary.txt", "best_f1_missed_no_pass_samples.csv", "kpi.json",
)  # fmt: skip
FIGURES = (
    "confusion_matrix_recall_100", "confusion_matrix_best_f1", "score_distribution_with_recall_100_threshold",
    "roc_curve", "far_against_recall",
)  # fmt: skip
FILES = (METRICS, SUMMARY, MISSED, RECORD, *(f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")))
MOST_GROUPS = 1000  # of one column in kpi.json, the worst first


def analyze(
    path: Path, *, label_column: str = "label", score_column: str = SCORE, pass_label: str = PASS
) -> dict[str, Any]:
    """KPI of a scored CSV as one JSON-ready record; see :func:`kpi_record` for its keys."""
    scored = read_scored(path, label_column=label_column, score_column=score_column, pass_label=pass_label)
    return kpi_record(scored, swept_of(scored))


def swept_of(scored: Scored) -> Sweep:
    """Sweep of a scored CSV; a refusal names the file."""
    try:
        return sweep(scored.defect, scored.score)
    except InputError as error:
        raise InputError(f"{scored.csv}: {error}") from error


def kpi_record(scored: Scored, swept: Sweep, contract: Contract | None = None) -> dict[str, Any]:
    """JSON-ready record: counts, `recall_100`, `recall_995` and `best_f1` points with bounds, AUROC, figures by label,
    light, board and component type (where the CSV tells them), bounds by board, the verdict on a contract.

    `threshold_set_by` says which defect sets the threshold and what would be without it.
    """
    full = operating_point(swept)
    boards = scored.boards
    record: dict[str, Any] = {
        "csv": str(scored.csv),
        "rows": int(scored.score.size),
        "n_pass": swept.n_pass,
        "n_defect": swept.n_defect,
        "auroc": auroc(swept),
        "recall_100": point_record(full),
        "recall_995": point_record(operating_point(swept, 0.995)),
        "best_f1": point_record(best_f1_point(swept)),
        "threshold_set_by": threshold_setter(scored, swept, full),
        "by_label": by_label(scored, full.threshold),
        "by_light": by_group(scored, scored.groups(LIGHT), full.threshold),
        "by_board": by_group(scored, boards, full.threshold),
        "by_component": by_group(scored, scored.components, full.threshold),
    }
    record["boards"] = bounds_by_board(scored, full.threshold)
    if contract is not None:
        point = choose_point(contract, swept)
        counted = bounds_by_board(scored, point.threshold)
        known = counted["tallies"] if counted else None
        verdict = judge(contract, point.fp, swept.n_pass, point.fn, swept.n_defect, by_board=known)
        record["verdict"] = {"target": contract.text, "threshold": point.threshold, **verdict.record()}
    return record


def bounds_by_board(scored: Scored, threshold: float) -> dict[str, Any] | None:
    """:func:`board_record` at one threshold; None where the boards are unknown."""
    boards = scored.boards
    if boards is None:
        return None
    return board_record(board_counts(boards, scored.defect, scored.score, threshold))


def point_record(point: OperatingPoint) -> dict[str, Any]:
    """An operating point as a dict with one-sided 95 % bounds of FAR and of the escape rate (fractions)."""
    n_pass, n_defect = point.fp + point.tn, point.tp + point.fn
    return {
        **dataclasses.asdict(point),
        "far_lower": lower_bound(point.fp, n_pass),
        "far_upper": upper_bound(point.fp, n_pass),
        "escape_upper": upper_bound(point.fn, n_defect),
    }


def threshold_setter(scored: Scored, swept: Sweep, full: OperatingPoint) -> dict[str, Any]:
    """The defect that sets the threshold of recall 100 %, and FAR and threshold had it not been in the set."""
    defects = np.flatnonzero(scored.defect)
    lowest = int(defects[scored.score[defects].argmin()])
    without = None
    if defects.size > 1:
        second = float(np.partition(scored.score[defects], 1)[1])
        index = int(np.searchsorted(swept.threshold, second)) - 1
        without = at_threshold(swept, float(swept.threshold[index]))
    return {
        "line": scored.line(lowest),
        "label": str(scored.label[lowest]),
        "score": float(scored.score[lowest]),
        "without_lowest_defect": without.far if without else None,
        "threshold_without": without.threshold if without else None,
        "false_calls_less": full.fp - without.fp if without else None,
    }


def by_label(scored: Scored, threshold: float) -> dict[str, dict[str, Any]]:
    """Per label: rows, how many score above `threshold`, the lowest, middle and highest score, and for a defect `far`:
    what FAR at recall 100 % would be if there were no other defect."""
    passes = np.sort(scored.score[~scored.defect])
    found = {}
    for name in sorted(set(scored.label)):
        mine = scored.score[scored.label == name]
        defect = bool(scored.defect[np.argmax(scored.label == name)])
        above = passes.size - int(np.searchsorted(passes, mine.min(), side="left"))
        found[str(name)] = {
            "rows": int(mine.size),
            "called_no_pass": int((mine > threshold).sum()),
            "min": float(mine.min()),
            "median": float(np.median(mine)),
            "max": float(mine.max()),
            "far": above / passes.size if defect and passes.size else None,
        }
    return found


def by_group(scored: Scored, groups: Groups | None, threshold: float) -> dict[str, Any] | None:
    """Counts at `threshold` by one column, the most false calls and escapes first; at most :data:`MOST_GROUPS`."""
    if groups is None:
        return None
    size, code = len(groups.names), groups.code
    called = scored.score > threshold

    def count(rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(code[rows], minlength=size).astype(np.int64)

    n_pass, n_defect = count(~scored.defect), count(scored.defect)
    calls, misses = count(~scored.defect & called), count(scored.defect & ~called)
    lowest = np.full(size, np.inf)
    np.minimum.at(lowest, code[scored.defect], scored.score[scored.defect])
    order = np.lexsort((np.array(groups.names), -calls / np.maximum(n_pass, 1), -calls, -misses))
    rows = [
        {
            "name": groups.names[i],
            "n_pass": int(n_pass[i]),
            "n_defect": int(n_defect[i]),
            "false_calls": int(calls[i]),
            "escapes": int(misses[i]),
            "far": float(calls[i] / n_pass[i]) if n_pass[i] else None,
            "lowest_defect": float(lowest[i]) if n_defect[i] else None,
        }
        for i in order[:MOST_GROUPS]
    ]
    return {"column": groups.column, "groups": size, "rows": rows}


def write_analysis(
    path: Path, output: Path, *, label_column: str = "label", score_column: str = SCORE, pass_label: str = PASS,
    bins: int = 40, contract: Contract | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write every file of :data:`FILES` into `output` and return the record that kpi.json holds."""
    from deft_aoi.kpi import plots  # matplotlib starts slowly and only this function draws

    if bins < 1:
        raise InputError(f"--bins {bins}: expected at least 1")
    scored = read_scored(path, label_column=label_column, score_column=score_column, pass_label=pass_label)
    swept = swept_of(scored)
    record = kpi_record(scored, swept, contract)
    full, best = operating_point(swept), best_f1_point(swept)
    write_threshold_metrics(output / METRICS, swept)
    atomic_write_text(output / SUMMARY, summary_text(record))
    _write_missed(output / MISSED, scored, best.threshold)
    paths = [output / name for name in FIGURES]
    plots.confusion_matrix(paths[0], full, "Threshold at recall 100 %")
    plots.confusion_matrix(paths[1], best, "Threshold of the best F1")
    plots.score_distribution(paths[2], scored.defect, scored.score, full.threshold, bins)
    plots.roc_curve(paths[3], swept, record["auroc"], full)
    plots.far_against_recall(paths[4], swept, full)
    atomic_write_json(output / RECORD, record)
    return record


def write_threshold_metrics(path: Path, swept: Sweep) -> None:
    """One line per candidate threshold, floats with every digit that they need to be read back unchanged."""
    columns = {
        "threshold": swept.threshold, "tp": swept.tp, "fp": swept.fp, "tn": swept.tn, "fn": swept.fn,
        "precision": swept.precision, "recall": swept.recall, "f1": swept.f1, "far": swept.far,
        "accuracy": (swept.tp + swept.tn) / (swept.n_pass + swept.n_defect),
        "predicted_no_pass_count": swept.tp + swept.fp,
        "actual_no_pass_count": swept.tp + swept.fn,
        "actual_pass_count": swept.fp + swept.tn,
    }  # fmt: skip
    buffer = io.BytesIO()
    buffer.write((",".join(columns) + "\n").encode())
    arrow_csv.write_csv(pa.table(columns), buffer, arrow_csv.WriteOptions(include_header=False))
    atomic_write(path, lambda stream: stream.write(buffer.getbuffer()))


def _write_missed(path: Path, scored: Scored, threshold: float) -> None:
    """Defects at or below `threshold` with every column of the input, in row order; for a person's spreadsheet.

    The `analysis_` columns are those of NVIDIA's script.
    """
    missed = np.flatnonzero(scored.defect & (scored.score <= threshold))
    rows = read_some(scored.csv, missed)
    rows.insert(0, "line", [scored.line(int(row)) for row in missed])
    rows = rows.assign(
        analysis_row_index=missed, analysis_score=scored.score[missed], analysis_threshold=threshold,
        analysis_actual_label_group="NO_PASS", analysis_predicted_label_group=PASS, analysis_outcome="FN",
    )  # fmt: skip
    write_sheet(path, rows)
