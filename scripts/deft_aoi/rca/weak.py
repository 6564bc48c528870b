"""The weakest rows of a scored set, as TAO's gap analysis finds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from deft_aoi.base.rows import PASS, SCORE, image_path, is_defect
from deft_aoi.kpi.sweep import best_f1_point, gap_point, sweep
from deft_aoi.spec.tree import Optics


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
    """The text that TAO's gap analysis writes next to its Parquet file."""
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
