"""Where the weak samples sit: by label, light, board and component type."""

from __future__ import annotations

import numpy as np
import pandas as pd

from deft_aoi.base.rows import SCORE, is_defect
from deft_aoi.rca.causes import DRIFT_LEAST, DRIFT_RATIO
from deft_aoi.rca.evidence import Measured
from deft_aoi.spec.tree import Optics

COMPONENT_COLUMNS = ("comp_type_1", "comp_type_2", "part_type")  # the first that tells components apart
GROUPED = ("label", "board", "component")


def group_table(scored: pd.DataFrame, weak: pd.DataFrame, threshold: float, column: str) -> pd.DataFrame:
    """One row for each value of `column`: rows, PASS rows, false calls, FAR, defects, escapes, the lowest defect score,
    weak samples and their most frequent cause; most false calls and escapes first."""
    defect, called = is_defect(scored["label"]), scored[SCORE] > threshold
    table = pd.DataFrame(
        {
            column: scored[column], "rows": 1, "passes": ~defect, "false_calls": ~defect & called, "defects": defect,
            "escapes": defect & ~called, "lowest_defect": scored[SCORE].where(defect),
        }
    )  # fmt: skip
    sums = table.groupby(column).agg(
        dict.fromkeys(("rows", "passes", "false_calls", "defects", "escapes"), "sum") | {"lowest_defect": "min"}
    )
    sums.insert(3, "far_pct", 100 * sums["false_calls"] / sums["passes"].where(sums["passes"] > 0))
    picked = weak.groupby(column)
    sums["weak"] = picked.size().reindex(sums.index, fill_value=0)
    sums["usual_cause"] = picked["cause"].agg(lambda causes: causes.mode().iloc[0]).reindex(sums.index, fill_value="")
    order = ["escapes", "false_calls", "far_pct", "weak"]
    return sums.sort_values(order, ascending=False, kind="stable").reset_index()


def component_column(scored: pd.DataFrame) -> str | None:
    """The first component column with more than one value."""
    return next((c for c in COMPONENT_COLUMNS if c in scored.columns and scored[c].nunique() > 1), None)


def board_column(scored: pd.DataFrame) -> str | None:
    return "boardname" if "boardname" in scored.columns and (scored["boardname"] != "").any() else None


def tables(scored: pd.DataFrame, weak: pd.DataFrame, threshold: float) -> dict[str, pd.DataFrame | str]:
    """`label`, `board` and `component`: a table, or why there is none."""
    found: dict[str, pd.DataFrame | str] = {"label": group_table(scored, weak, threshold, "label")}
    board, component = board_column(scored), component_column(scored)
    found["board"] = group_table(scored, weak, threshold, board) if board else "the CSV names no boards"
    if board and scored[board].nunique() == 1:
        found["board"] = f"all rows are of one board ({scored[board].iloc[0]})"
    found["component"] = (
        group_table(scored, weak, threshold, component) if component else "the CSV tells no component types apart"
    )
    return found


def light_table(scored: pd.DataFrame, measured: Measured, optics: Optics) -> pd.DataFrame:
    """One row for each light: brightness of test over golden among the measured rows, among good parts of training
    (median and spread; of the set where training is not known), the board that is farthest from it, and how many
    measured rows are beyond what :mod:`deft_aoi.rca.causes` calls drift."""
    rows = scored.iloc[measured.measured].reset_index(drop=True)
    board = board_column(scored)
    lines = []
    for number, light in enumerate(optics.lights):
        gains = pd.Series(measured.gains[:, number])
        middle, spread = measured.gain[light]
        far = (gains - middle).abs() > max(DRIFT_RATIO * spread, DRIFT_LEAST * middle)
        record = {
            "light": light, "measured": len(gains), "gain": float(gains.median()), "usual_gain": middle,
            "usual_spread": spread, "drifted": int(far.sum()),
        }  # fmt: skip
        if board:
            by_board = gains.groupby(rows[board]).median()
            worst = (by_board - middle).abs().idxmax()
            record |= {"farthest_board": worst, "its_gain": float(by_board.loc[str(worst)])}
        lines.append(record)
    return pd.DataFrame(lines)


def text(table: pd.DataFrame | str, rows: int = 10) -> list[str]:
    """Lines for people; the first rows only."""
    if isinstance(table, str):
        return [f"  {table}"]
    shown = table.head(rows).copy()
    for name in shown.columns:
        if shown[name].dtype.kind == "f":
            shown[name] = [("-" if np.isnan(value) else f"{value:.4g}") for value in shown[name]]
    lines = [f"  {line}" for line in shown.to_string(index=False).splitlines()]
    return lines + ([f"  and {len(table) - rows} more"] if len(table) > rows else [])


def worst(table: pd.DataFrame | str, rows: int = 12) -> list[dict[str, object]]:
    """JSON-ready first rows; empty where there is no table."""
    if isinstance(table, str):
        return []
    return [
        {str(key): (None if isinstance(value, float) and np.isnan(value) else value) for key, value in row.items()}
        for row in table.head(rows).to_dict("records")
    ]
