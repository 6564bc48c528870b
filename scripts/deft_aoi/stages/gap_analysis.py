"""Gap analysis of one scored CSV: who holds the threshold down, where, why, with a picture to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft_aoi.base.errors import HardStop, InputError
from deft_aoi.base.files import atomic_write_json, atomic_write_text
from deft_aoi.base.rows import PASS, SCORE, is_defect, pad_columns, read_rows, scores_of, write_parquet, write_sheet
from deft_aoi.base.safe_paths import check_cells
from deft_aoi.kpi.analyze import read_scored
from deft_aoi.rca.causes import CAUSES, propose
from deft_aoi.rca.evidence import Known, Measured, measure
from deft_aoi.rca.holders import holders
from deft_aoi.rca.tables import light_table, tables, text, worst
from deft_aoi.rca.weak import breakdown, per_light, target_defects, weak_samples
from deft_aoi.spec.tree import Optics

SHEET = "rca_images/contact_sheet.png"
SHEET_ROWS = 10
UNREACHABLE = "unreachable_kpi.txt"


@dataclass(frozen=True)
class Subject:
    """What to analyse: a scored CSV, the folder that its paths start from, the recall that the KPI wants, how many weak
    samples of a label to keep; `known` the rows that the model learned from, `judges` sets that help to judge labels;
    `source` the set that the rows are of; no image may be outside `workspace` (None: outside `images`); `most_far` the
    FAR that the target allows.
    """

    csv: Path
    images: Path
    optics: Optics
    recall: float = 1.0
    top_k_per_label: int = 50
    known: Known | None = None
    judges: Sequence[Known] = field(default=())
    source: str = "kpi"
    workspace: Path | None = None
    most_far: float = 0.0


@dataclass(frozen=True)
class Analysis:
    """`scored` and `weak` rows (weakest first within a label, with cause and evidence), the rows of the contact sheet
    in its order, the threshold, the tables and the facts that go to the journal."""

    scored: pd.DataFrame
    weak: pd.DataFrame
    sheet: pd.DataFrame
    threshold: float
    facts: dict[str, Any]


def analyse(subject: Subject, folder: Path) -> Analysis:
    """Analyse and write every file of the contract into `folder`.

    Raises HardStop `unreachable_kpi` (and writes that file instead) where the recall cannot be reached.
    """
    read_scored(subject.csv)  # refuses labels and scores that nobody could judge, with their lines
    scored = pad_columns(read_rows(subject.csv))
    check_cells(scored, subject.csv, subject.images, (subject.workspace or subject.images).resolve())
    scored[SCORE] = scores_of(subject.csv, scored[SCORE])
    try:
        threshold, weak = weak_samples(scored, subject.recall, subject.top_k_per_label)
    except InputError as error:
        atomic_write_text(folder / UNREACHABLE, f"{subject.csv}: {error}\n")
        raise HardStop(
            "unreachable_kpi", str(error), evidence=str(folder / UNREACHABLE), remedy="give rows of both classes"
        ) from error
    places = weak.index.to_numpy(np.int64)
    measured = measure(scored, places, subject.images, subject.optics, subject.known, subject.judges)
    causes = [propose(one) for one in measured.evidence]
    weak = weak.assign(
        row=places,
        cause=[cause.name for cause in causes],
        evidence=[cause.evidence for cause in causes],
        doubt=[round(one.doubt, 4) for one in measured.evidence],
        likely=[one.likely for one in measured.evidence],
    )
    sheet = sheet_rows(weak)
    facts = write(Analysis(scored, weak, sheet, threshold, {}), measured, subject, folder)
    return Analysis(scored, weak, sheet, threshold, facts)


def write(found: Analysis, measured: Measured, subject: Subject, folder: Path) -> dict[str, Any]:
    """Every file of the analysis; returns the facts."""
    gaps = per_light(found.weak, subject.images, subject.optics)
    gaps["cause"] = np.repeat(found.weak["cause"].to_numpy(), len(subject.optics.lights))
    write_parquet(folder / "kpi_gaps.parquet", gaps)
    atomic_write_text(folder / "threshold.txt", repr(found.threshold))
    by_group = tables(found.scored, found.weak, found.threshold)
    by_light = light_table(found.scored, measured, subject.optics)
    for name, table in {**by_group, "light": by_light}.items():
        if isinstance(table, pd.DataFrame):
            write_sheet(folder / f"by_{name}.csv", table)
    write_sheet(folder / "weak_samples.csv", listing(found, measured, subject.optics))
    lines = [breakdown(found.scored, found.weak, found.threshold, subject.top_k_per_label)]
    for name, table in {**by_group, "light": by_light}.items():
        lines += [f"By {name}:", *text(table), ""]
    counts = Counter(found.weak["cause"])
    wrong = Counter(found.weak.loc[found.weak["weakness"] > 0, "cause"])
    lines += ["Causes proposed (weak_samples.csv has the evidence of each row):"]
    lines += [f"  {name}: {counts[name]}, {wrong[name]} of them decided wrongly" for name in CAUSES if counts[name]]
    atomic_write_text(folder / "weak_samples_breakdown.txt", "\n".join(lines) + "\n")
    draw_sheet(found.sheet, gaps, folder / SHEET)
    facts: dict[str, Any] = {
        "rca_dir": str(folder),
        "rca_source": subject.source,
        "rca_gaps_parquet": str(folder / "kpi_gaps.parquet"),
        "rca_threshold": found.threshold,
        "rca_target_defects": target_defects(found.scored),
        "holders": [one.to_json() for one in holders(found.scored, found.weak, subject.most_far)],
        "weak_rows": len(found.weak),
        "weak_by_label": {str(k): int(v) for k, v in found.weak["label"].value_counts().sort_index().items()},
        "causes": {name: {"weak": counts[name], "wrong": wrong[name]} for name in CAUSES if counts[name]},
        "by_light": worst(by_light),
        **{f"by_{name}": worst(by_group[name]) for name in ("board", "component")},
        "doubtful_labels": int((found.weak["cause"] == CAUSES[0]).sum()),
    }
    atomic_write_json(folder / "metrics.json", {k: v for k, v in facts.items() if k != "rca_dir"})
    return facts


def listing(found: Analysis, measured: Measured, optics: Optics) -> pd.DataFrame:
    """`weak_samples.csv`: one row for each weak sample with its place on the sheet, cause and all numbers."""
    place = {row: number for number, row in enumerate(found.sheet["row"], start=1)}
    table = found.weak[
        ["label", SCORE, "weakness", "cause", "evidence", "boardname", "input_path", "golden_path", "object_name"]
    ].copy()
    table.insert(0, "line", found.weak["row"] + 2)
    table.insert(0, "sheet_row", [str(place.get(row, "")) for row in found.weak["row"]])
    evidence = measured.evidence
    table["doubt"] = [round(one.doubt, 4) for one in evidence]
    table["golden_ratio"] = [round(one.golden_ratio, 3) for one in evidence]
    table["shift_px"] = [round(one.shift, 2) for one in evidence]
    for light in optics.lights:
        table[f"gain_{light}"] = [round((one.gain or {}).get(light, np.nan), 4) for one in evidence]
    table["training_rows"] = ["" if one.training_rows is None else str(one.training_rows) for one in evidence]
    table["distance"] = [round(one.distance, 3) for one in evidence]
    return table


def sheet_rows(weak: pd.DataFrame, rows: int = SHEET_ROWS) -> pd.DataFrame:
    """The samples to look at: labels take turns, the weakest first, PASS and defects half and half where both reach."""
    ranked = weak.sort_values("weakness", ascending=False, kind="stable")
    defect = is_defect(ranked["label"])
    passes = ranked[~defect]
    others = ranked[defect]
    turn = others.groupby("label").cumcount()
    others = others.assign(turn=turn).sort_values(["turn", "weakness"], ascending=[True, False], kind="stable")
    half = max(rows // 2, rows - len(others))
    some = pd.concat([others.head(rows - min(half, len(passes))).drop(columns="turn"), passes.head(half)])
    return some.sort_values("weakness", ascending=False, kind="stable").head(rows)


def draw_sheet(sheet: pd.DataFrame, gaps: pd.DataFrame, path: Path) -> None:
    """One PNG of the sheet's samples."""
    from deft_aoi.rca.contact_sheet import contact_sheet

    groups = dict(list(gaps.groupby(["input_path", "object_name", "label"], sort=False)))
    frames = []
    for row in sheet.to_dict("records"):
        frame = groups[(row["input_path"], row["object_name"], row["label"])]
        frames.append(frame.assign(cause=row["cause"], evidence=row["evidence"], boardname=row["boardname"]))
    contact_sheet(frames, path)


def holder(scored: pd.DataFrame) -> str:
    """The defect that holds the threshold down, in words."""
    lowest = scored.loc[scored.loc[is_defect(scored["label"]), SCORE].idxmin()]
    return f"{lowest['label']} {lowest['object_name']}"


def false_calls(weak: pd.DataFrame) -> int:
    """Weak PASS rows that are called falsely."""
    return int(((weak["label"] == PASS) & (weak["weakness"] > 0)).sum())
