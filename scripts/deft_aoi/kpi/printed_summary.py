"""The printed summary of a KPI analysis: one screen that an engineer reads without us."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

WIDTH = 100
LABELS, GROUPS = 7, 3
Record = Mapping[str, Any]


def point_line(point: Record) -> str:
    """`T (FAR=x%, precision=.., recall=.., f1=..)` with a threshold that decides the same when read back."""
    return (
        f"{point['threshold']!r} (FAR={100 * point['far']:.4g}%, precision={point['precision']:.4f}, "
        f"recall={point['recall']:.4f}, f1={point['f1']:.4f})"
    )


def counts_line(point: Record) -> str:
    """Accuracy and the confusion matrix of one threshold."""
    counts = {name: point[name] for name in ("tn", "fp", "fn", "tp")}
    accuracy = (point["tp"] + point["tn"]) / sum(counts.values())
    return f"accuracy={accuracy:.4f}, " + ", ".join(f"{name.upper()}={count:,}" for name, count in counts.items())


def summary_text(record: Record) -> str:
    """At most 33 lines of at most 100 columns, whatever the number of labels and boards."""
    return (
        "\n".join([*head(record), "", *points(record), "", *setter(record), "", *labels(record), *worst(record)]) + "\n"
    )


def head(record: Record) -> list[str]:
    boards = f" on {record['boards']['boards']:,} boards" if record["boards"] else ""
    name = record["csv"] if len(record["csv"]) < 40 else "..." + record["csv"][-37:]
    lines = [
        f"100% recall threshold: {point_line(record['recall_100'])}",
        f"Best F1 threshold: {point_line(record['best_f1'])}",
        *(
            f"at {name}: {counts_line(record[key])}"
            for name, key in (("100% recall", "recall_100"), ("best F1", "best_f1"))
        ),
        f"{name}: {record['n_pass']:,} PASS rows, {record['n_defect']:,} defects{boards}; AUROC {record['auroc']:.6f}",
        "A part is called NO_PASS when its score > threshold. FAR = false calls / PASS rows.",
    ]
    if verdict := record.get("verdict"):
        lines += textwrap.wrap(f"verdict {verdict['status']}: {verdict['sentence']}", WIDTH, subsequent_indent="  ")
    return lines


def points(record: Record) -> list[str]:
    """Three thresholds side by side, with what the number of rows proves about each rate."""
    lines = [
        f"{'threshold for':<16}{'':<22}{'false calls':>14}{'FAR':>9}{'at most*':>10}{'escapes':>14}{'at most*':>10}"
    ]
    for name, key in (("every defect", "recall_100"), ("99.5% of them", "recall_995"), ("the best F1", "best_f1")):
        one = record[key]
        calls, misses = f"{one['fp']:,}/{record['n_pass']:,}", f"{one['fn']:,}/{record['n_defect']:,}"
        lines.append(
            f"{name:<16}{one['threshold']!r:<22}{calls:>14}{pct(one['far']):>9}{pct(one['far_upper']):>10}"
            f"{misses:>14}{pct(one['escape_upper']):>10}"
        )
    note = "* one-sided 95 % bound"
    if (boards := record["boards"]) is not None:
        by_board = f"FAR {pct(boards['far_upper'])}, escapes {pct(boards['escape_upper'])}"
        note += f", rows independent; by board, for every defect: {by_board}"
    else:
        note += "; boards unknown: independence assumed, not proven"
    return [*lines, *textwrap.wrap(note, WIDTH, subsequent_indent="  ")]


def setter(record: Record) -> list[str]:
    """Which defect the threshold hangs on, and what another set would do."""
    found, n_defect = record["threshold_set_by"], record["n_defect"]
    line = f"One defect sets the threshold: line {found['line']}, {found['label']}, score {found['score']!r}."
    if found["without_lowest_defect"] is None:
        return [line, "It is the only defect: recall 100 % says nothing about the next one."]
    return [
        line,
        f"Without it FAR would be {pct(found['without_lowest_defect'])} ({found['false_calls_less']:,} false calls "
        "less). 0 escapes is by construction:",
        f"the next defect of the line scores below all {n_defect:,} about once in {n_defect + 1:,}.",
    ]


def labels(record: Record) -> list[str]:
    """Scores by label; PASS first, then the defects that hold the threshold down."""
    rows = sorted(record["by_label"].items(), key=lambda item: (item[1]["far"] is not None, item[1]["min"]))
    lines = [f"{'label':<24}{'rows':>9}{'NO_PASS':>9}{'lowest':>12}{'median':>12}{'highest':>12}{'FAR, if alone':>16}"]
    for name, row in rows[:LABELS]:
        numbers = "".join(f"{row[key]:>12.5g}" for key in ("min", "median", "max"))
        alone = "" if row["far"] is None else pct(row["far"])
        lines.append(f"{name[:23]:<24}{row['rows']:>9,}{row['called_no_pass']:>9,}{numbers}{alone:>16}")
    if len(rows) > LABELS:
        lines.append(f"... {len(rows) - LABELS} more labels, all higher: kpi.json")
    return lines


def worst(record: Record) -> list[str]:
    """The boards, component types and lights with the most false calls, a line each."""
    lines = []
    for what, key in (("board", "by_board"), ("component", "by_component"), ("light", "by_light")):
        table = record[key]
        if table is None:
            continue
        found = [row for row in table["rows"] if row["false_calls"] or row["escapes"]][:GROUPS]
        told = ", ".join(f"{row['name'][:24]} {row['false_calls']:,}/{row['n_pass']:,}" for row in found) or "none"
        lines.append(f"most false calls by {what} ({table['groups']:,}): {told}"[:WIDTH])
    return lines


def pct(fraction: float) -> str:
    """Percent with three significant digits."""
    return f"{100 * fraction:.3g}%"
