"""Stage `rca`: which samples hold the threshold down, per label, with pictures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft_aoi.confine import check_cells
from deft_aoi.contracts import PASS, SCORE, image_path, is_defect, read_rows, scores_of, write_parquet
from deft_aoi.executors.base import Task
from deft_aoi.experiment import Optics
from deft_aoi.fsio import atomic_write_json, atomic_write_text
from deft_aoi.kpi.contract import parse_target
from deft_aoi.kpi.sweep import best_f1_point, gap_point, sweep
from deft_aoi.run import Run
from deft_aoi.stages.base import StageResult


def tasks(run: Run, label: str) -> list[Task]:
    return []


def collect(run: Run, label: str) -> StageResult:
    """Analyse the best model so far: the one that the iteration starts from."""
    analysed, best = run.champion()
    recall = parse_target(run.plan.kpi_target).recall
    scored = read_rows(
        Path(best["inference_csv"]), required=("input_path", "golden_path", "label", "object_name", SCORE)
    )
    check_cells(scored, Path(best["inference_csv"]), run.workspace.images, run.workspace.root)
    scored[SCORE] = scores_of(Path(best["inference_csv"]), scored[SCORE])
    threshold, weak = weak_samples(scored, recall, run.plan.top_k_per_label)
    folder = run.paths.rca(label) / time.strftime("%Y%m%d_%H%M%S", time.gmtime())
    gaps = per_light(weak, run.workspace.images, run.optics)
    write_parquet(folder / "kpi_gaps.parquet", gaps)
    atomic_write_text(folder / "threshold.txt", repr(threshold))
    atomic_write_text(
        folder / "weak_samples_breakdown.txt", breakdown(scored, weak, threshold, run.plan.top_k_per_label)
    )
    targets = target_defects(scored)
    facts: dict[str, Any] = {
        "rca_dir": str(folder),
        "rca_gaps_parquet": str(folder / "kpi_gaps.parquet"),
        "rca_threshold": threshold,
        "rca_target_defects": targets,
        "analysed": analysed,
        "weak_rows": len(weak),
        "weak_by_label": {str(k): int(v) for k, v in weak["label"].value_counts().sort_index().items()},
    }
    atomic_write_json(folder / "metrics.json", {k: v for k, v in facts.items() if k != "rca_dir"})
    draw_contact_sheet(gaps, folder / "rca_images/contact_sheet.png")
    wrong = int((weak["weakness"] > 0).sum())
    holder = scored.loc[scored.loc[is_defect(scored["label"]), SCORE].idxmin()]
    summary = f"{len(weak)} weak samples of {analysed} ({wrong} false calls), threshold held by {holder['label']} "
    summary += f"{holder['object_name']}, hardest defects: {', '.join(targets[:3])}"
    if any(e["stage"] == "rca" and e.get("facts", {}).get("analysed") == analysed for e in run.entries):
        summary += f" · {analysed} was analysed before, nothing new"
    return StageResult(summary, facts, (folder / "kpi_gaps.parquet", folder / "threshold.txt"))


def weak_samples(scored: pd.DataFrame, min_recall: float, top_k_per_label: int) -> tuple[float, pd.DataFrame]:
    """(threshold, the `top_k_per_label` weakest rows of every label, weakest first within the label).

    weakness = score - threshold for PASS, threshold - score for a defect: positive where the row is decided wrongly.
    """
    defect = is_defect(scored["label"]).to_numpy()
    threshold = gap_point(sweep(defect, scored[SCORE].to_numpy()), min_recall).threshold
    margin = scored[SCORE].to_numpy() - threshold
    ranked = scored.assign(weakness=np.where(defect, -margin, margin))
    ranked = ranked.sort_values("weakness", ascending=False, kind="stable")
    return threshold, ranked.groupby("label", sort=True).head(top_k_per_label).sort_values(
        ["label", "weakness"], ascending=[True, False], kind="stable"
    )


def target_defects(scored: pd.DataFrame) -> list[str]:
    """Defect labels, the costliest first: by escapes at the best-F1 threshold, then by the share of PASS rows that
    must be called falsely to keep every sample of the label."""
    defect = is_defect(scored["label"])
    swept = sweep(defect.to_numpy(), scored[SCORE].to_numpy())
    threshold = best_f1_point(swept).threshold
    passes = scored.loc[~defect, SCORE].to_numpy()
    cost = {
        str(label): (-int((group <= threshold).sum()), -float((passes >= group.min()).mean()))
        for label, group in scored[defect].groupby("label")[SCORE]
    }
    return sorted(cost, key=lambda label: (*cost[label], label))


def per_light(weak: pd.DataFrame, images: Path, optics: Optics) -> pd.DataFrame:
    """One row for each weak sample and light: filepath, label, siamese_score, weakness and where it comes from."""
    rows = [
        {
            "filepath": str(image_path(images, row["input_path"], row["object_name"], light, optics.ext)),
            "label": row["label"],
            "siamese_score": float(row[SCORE]),
            "weakness": float(row["weakness"]),
            "light": light,
            "golden_filepath": str(image_path(images, row["golden_path"], row["object_name"], light, optics.ext)),
            "input_path": row["input_path"],
            "object_name": row["object_name"],
        }
        for row in weak.to_dict("records")
        for light in optics.lights
    ]
    return pd.DataFrame(rows)


def breakdown(scored: pd.DataFrame, weak: pd.DataFrame, threshold: float, top_k: int) -> str:
    """The text that TAO's gap analysis writes beside its Parquet file."""
    lines = [
        f"Weak samples breakdown by label (threshold={threshold!r}, top_k_per_label={top_k})",
        f"Total KPI samples: {len(scored)}",
        f"Total weak samples kept: {len(weak)}",
        "",
    ]
    for label, group in sorted(weak.groupby("label"), key=lambda item: (item[0] != PASS, item[0])):
        wrong = int((group["weakness"] > 0).sum())
        share = 100 * len(group) / len(weak)
        fate = f"{wrong} misclassified, {len(group) - wrong} marginal"
        lines.append(f"  {str(label).upper()}: {len(group)} ({share:.1f}%) — {fate}")
    return "\n".join(lines) + "\n"


def draw_contact_sheet(gaps: pd.DataFrame, path: Path, rows: int = 10) -> None:
    """One PNG of the weakest samples, alternating labels: test, golden and difference of each light."""
    from deft_aoi.stages.contact_sheet import contact_sheet

    components = gaps.groupby(["label", "input_path", "object_name"], sort=False)
    ranked = sorted(components, key=lambda item: -item[1]["weakness"].iloc[0])
    by_label: dict[str, list[pd.DataFrame]] = {}
    for (label, *_), group in ranked:
        by_label.setdefault(str(label), []).append(group)
    order = [group for nth in range(rows) for groups in by_label.values() for group in groups[nth : nth + 1]]
    contact_sheet(order[:rows], path)
