"""KPI of one scored CSV: read and refuse, sweep, bound, and write the analysis files."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deft_aoi.contracts import IDENTITY, PASS, SCORE, check_repeats
from deft_aoi.errors import InputError
from deft_aoi.fsio import atomic_write, atomic_write_json, atomic_write_text
from deft_aoi.kpi.bounds import lower_bound, upper_bound
from deft_aoi.kpi.sweep import OperatingPoint, Sweep, auroc, best_f1_point, far_at_recall, operating_point, sweep

FILES = (
    "threshold_metrics.csv",
    "summary.txt",
    "best_f1_missed_no_pass_samples.csv",
    "confusion_matrix_recall_100.png",
    "confusion_matrix_best_f1.png",
    "score_distribution_with_recall_100_threshold.png",
    "kpi.json",
)


@dataclass(frozen=True)
class Scored:
    """A scored CSV: `label` (n,) text, `defect` (n,) bool, `score` (n,) float64, all in row order."""

    csv: Path
    label: NDArray[np.object_]
    defect: NDArray[np.bool_]
    score: NDArray[np.float64]


def read_scored(csv: Path, *, label_column: str = "label", score_column: str = SCORE, pass_label: str = PASS) -> Scored:
    """Read labels and scores of a CSV.

    Raises InputError with the line number for a missing column, an empty or misspelt label, a score that is no finite
    number, and a row that repeats another (same input, golden and object name: it would count twice).
    """
    if not csv.is_file():
        raise InputError(f"{csv}: no such CSV; expected columns {label_column} and {score_column}")
    wanted = {label_column, score_column, *IDENTITY}
    try:
        rows = pd.read_csv(
            csv, dtype=str, keep_default_na=False, encoding="utf-8-sig", usecols=lambda name: name in wanted
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{csv}: not a readable UTF-8 CSV ({error})") from error
    if not isinstance(rows.index, pd.RangeIndex):  # pandas takes a surplus first cell as row name and shifts the rest
        raise InputError(f"{csv}: rows have more cells than the header; quote cells that hold a comma")
    for name in (label_column, score_column):
        if name not in rows.columns:
            raise InputError(f"{csv}: column {name} missing; name it with --label-column or --score-column")
    if rows.empty:
        raise InputError(f"{csv}: no rows below the header")
    _check_labels(csv, rows[label_column], pass_label)
    check_repeats(csv, rows)
    label = rows[label_column].to_numpy(dtype=object)
    return Scored(csv, label, np.asarray(label != pass_label, dtype=bool), _scores(csv, rows[score_column]))


def analyze(
    csv: Path, *, label_column: str = "label", score_column: str = SCORE, pass_label: str = PASS
) -> dict[str, Any]:
    """KPI of a scored CSV as one JSON-ready record; see :func:`kpi_record` for its keys."""
    scored = read_scored(csv, label_column=label_column, score_column=score_column, pass_label=pass_label)
    return kpi_record(scored, swept_of(scored))


def swept_of(scored: Scored) -> Sweep:
    """Sweep of a scored CSV; a refusal names the file."""
    try:
        return sweep(scored.defect, scored.score)
    except InputError as error:
        raise InputError(f"{scored.csv}: {error}") from error


def kpi_record(scored: Scored, swept: Sweep) -> dict[str, Any]:
    """JSON-ready record: counts, `recall_100`, `recall_995` and `best_f1` points with bounds, AUROC, per label.

    `without_lowest_defect` says what FAR would be had the defect that sets the threshold not been in the set.
    """
    full = operating_point(swept)
    defects = np.flatnonzero(scored.defect)
    lowest = int(defects[scored.score[defects].argmin()])
    return {
        "csv": str(scored.csv),
        "rows": int(scored.score.size),
        "n_pass": swept.n_pass,
        "n_defect": swept.n_defect,
        "auroc": auroc(swept),
        "recall_100": point_record(full),
        "recall_995": point_record(operating_point(swept, 0.995)),
        "best_f1": point_record(best_f1_point(swept)),
        "by_label": by_label(scored, full.threshold),
        "threshold_set_by": {
            "line": lowest + 2,
            "label": str(scored.label[lowest]),
            "score": float(scored.score[lowest]),
            "without_lowest_defect": _far_without(scored, lowest),
        },
    }


def point_record(point: OperatingPoint) -> dict[str, Any]:
    """An operating point as a dict with one-sided 95 % bounds of FAR and of the escape rate (fractions)."""
    n_pass, n_defect = point.fp + point.tn, point.tp + point.fn
    return {
        **dataclasses.asdict(point),
        "far_lower": lower_bound(point.fp, n_pass),
        "far_upper": upper_bound(point.fp, n_pass),
        "escape_upper": upper_bound(point.fn, n_defect),
    }


def by_label(scored: Scored, threshold: float) -> dict[str, dict[str, Any]]:
    """Per label: rows, how many score above `threshold`, and the lowest, middle and highest score."""
    frame = pd.DataFrame({"label": scored.label, "score": scored.score, "called": scored.score > threshold})
    groups = frame.groupby("label", sort=True)
    table = groups["score"].agg(["size", "min", "median", "max"]).join(groups["called"].sum())
    return {
        str(label): {"rows": int(size), "called_no_pass": int(called), "min": low, "median": mid, "max": high}
        for label, size, low, mid, high, called in table.itertuples(name=None)
    }


def write_analysis(
    csv: Path, output: Path, *, label_column: str = "label", score_column: str = SCORE, pass_label: str = PASS,
    bins: int = 40,
) -> dict[str, Any]:  # fmt: skip
    """Write every file of :data:`FILES` into `output` and return the record that kpi.json holds."""
    from deft_aoi.kpi import figures  # matplotlib starts slowly and only this function draws

    if bins < 1:
        raise InputError(f"--bins {bins}: expected at least 1")
    scored = read_scored(csv, label_column=label_column, score_column=score_column, pass_label=pass_label)
    swept = swept_of(scored)
    record = kpi_record(scored, swept)
    full, best = operating_point(swept), best_f1_point(swept)
    write_threshold_metrics(output / FILES[0], swept)
    atomic_write_text(output / FILES[1], summary_text(record))
    _write_missed(output / FILES[2], scored, best.threshold)
    figures.confusion_matrix(output / FILES[3], full, "Threshold at recall 100 %")
    figures.confusion_matrix(output / FILES[4], best, "Threshold of the best F1")
    figures.score_distribution(output / FILES[5], scored.defect, scored.score, full.threshold, bins)
    atomic_write_json(output / FILES[6], record)
    return record


def write_threshold_metrics(path: Path, swept: Sweep) -> None:
    """One line per candidate threshold, floats with every digit that they need to be read back unchanged."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    columns = {
        "threshold": swept.threshold, "tp": swept.tp, "fp": swept.fp, "tn": swept.tn, "fn": swept.fn,
        "precision": swept.precision, "recall": swept.recall, "f1": swept.f1, "far": swept.far,
    }  # fmt: skip
    buffer = io.BytesIO()
    buffer.write((",".join(columns) + "\n").encode())
    arrow_csv.write_csv(pa.table(columns), buffer, arrow_csv.WriteOptions(include_header=False))
    atomic_write(path, lambda stream: stream.write(buffer.getbuffer()))


def point_line(point: dict[str, Any]) -> str:
    """`T (FAR=x%, precision=.., recall=.., f1=..)` with a threshold that decides the same when read back."""
    return (
        f"{point['threshold']!r} (FAR={100 * point['far']:.4g}%, precision={point['precision']:.4f}, "
        f"recall={point['recall']:.4f}, f1={point['f1']:.4f})"
    )


def summary_text(record: dict[str, Any]) -> str:
    """A page that an engineer reads without us."""
    full, near, best, setter = (record[key] for key in ("recall_100", "recall_995", "best_f1", "threshold_set_by"))
    n_pass, n_defect = record["n_pass"], record["n_defect"]
    without = setter["without_lowest_defect"]
    lines = [
        f"{record['csv']}: {record['rows']:,} rows, {n_pass:,} PASS, {n_defect:,} defects",
        "rule: NO_PASS when score > threshold; FAR = false calls / PASS rows",
        "",
        f"100% recall threshold: {point_line(full)}",
        f"  false calls {full['fp']:,} of {n_pass:,}; true FAR at most {100 * full['far_upper']:.4g}% "
        "(one-sided 95 %, at this threshold)",
        f"  escapes 0 of {n_defect:,} by construction; the next defects may escape at up to "
        f"{100 * full['escape_upper']:.3g}% (one-sided 95 %)",
        f"  set by line {setter['line']} ({setter['label']}, score {setter['score']!r})"
        + (f"; without it FAR would be {100 * without:.4g}%" if without is not None else "; the only defect"),
        f"99.5% recall threshold: {point_line(near)}",
        f"best F1 threshold: {point_line(best)}; escapes {best['fn']:,}",
        f"AUROC: {record['auroc']:.6f}",
        "",
        f"{'label':<24}{'rows':>9}{'NO_PASS':>9}{'lowest':>12}{'median':>12}{'highest':>12}   (at 100% recall)",
    ]
    for label, row in record["by_label"].items():
        numbers = "".join(f"{row[key]:>12.5g}" for key in ("min", "median", "max"))
        lines.append(f"{label:<24}{row['rows']:>9,}{row['called_no_pass']:>9,}{numbers}")
    return "\n".join(lines) + "\n"


def _check_labels(csv: Path, labels: pd.Series, pass_label: str) -> None:
    bad = {
        value
        for value in labels.unique()
        if not value.strip() or (value != pass_label and value.strip().upper() == pass_label.upper())
    }
    if bad:
        wrong = labels.isin(bad).to_numpy()
        row = int(wrong.argmax())
        raise InputError(
            f"{csv}, line {row + 2}: label {labels.iloc[row]!r}; expected exactly {pass_label} or the name of the "
            f"defect ({int(wrong.sum())} such rows), anything else would count as a defect"
        )


def _scores(csv: Path, column: pd.Series) -> NDArray[np.float64]:
    try:
        return column.to_numpy(dtype=object).astype(np.float64)
    except ValueError:
        row = next(index for index, text in enumerate(column) if not _is_float(text))
        raise InputError(
            f"{csv}, line {row + 2}: {column.name} is {column.iloc[row]!r}; expected a number. Run the inference again"
        ) from None


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _far_without(scored: Scored, row: int) -> float | None:
    keep = np.ones(scored.score.size, dtype=bool)
    keep[row] = False
    if not scored.defect[keep].any():
        return None
    return far_at_recall(scored.defect[keep], scored.score[keep])


def _write_missed(path: Path, scored: Scored, threshold: float) -> None:
    """Defects at or below `threshold` with every column of the input, in row order."""
    missed = np.flatnonzero(scored.defect & (scored.score <= threshold))
    kept = set((missed + 1).tolist())
    rows = pd.read_csv(
        scored.csv, dtype=str, keep_default_na=False, encoding="utf-8-sig",
        skiprows=lambda line: line > 0 and line not in kept,
    ) if missed.size else pd.read_csv(scored.csv, dtype=str, nrows=0, encoding="utf-8-sig")  # fmt: skip
    rows.insert(0, "line", missed + 2)
    atomic_write(path, lambda stream: rows.to_csv(stream, index=False, lineterminator="\n"))
