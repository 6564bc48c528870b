"""The part of the Pre-Flight Summary on what the rows are worth: suspect labels, where defects can come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deft_aoi.data.label_review import Review
from deft_aoi.data.review_counts import count_review

POOL_DATA = "mining_pool"  # name of the pool in preflight.json and in the Summary; absent without one
_SHOWN = 8
_TABLE = "label_review.csv"


def sample_lines(
    dataset: Mapping[str, Mapping[str, Any]], made: Sequence[str], found: Review | None, *, screen: bool = True
) -> list[str]:
    """Markdown: a line for each defect type of the KPI set with where more of it can come from, then the labels in
    doubt. `made` are the labels that AnomalyGen or pre-generated pairs bring; `screen`: mining judges its picks."""
    return [*source_lines(dataset, made), *(["", *review_lines(found, screen=screen)] if found else [])]


def source_lines(dataset: Mapping[str, Mapping[str, Any]], made: Sequence[str]) -> list[str]:
    kpi, training, pool = (dataset.get(name, {}).get("defects", {}) for name in ("kpi", "training", POOL_DATA))
    generated = {name.casefold() for name in made}
    lines = ["| defect of the KPI set | KPI | training | pool | synthetic | more can come from |", "|---" * 6 + "|"]
    for name, count in kpi.items():
        possible = {"mining": bool(pool.get(name)), "synthetic": name.casefold() in generated}
        where = " + ".join(source for source, there in possible.items() if there)
        made_word = "yes" if possible["synthetic"] else "-"
        where = where or "**nowhere: collect such samples**"
        lines.append(f"| {name} | {count} | {training.get(name, 0)} | {pool.get(name, 0)} | {made_word} | {where} |")
    return lines


def review_lines(found: Review, *, screen: bool = True) -> list[str]:
    """Counts of suspect labels, what the loop does with them, and the most suspect rows."""
    record = found.record()
    if found.why_not:
        return [f"- Labels were not examined: {found.why_not}."]
    lines = ["| labels examined | rows | flagged as errors | suspect besides | not examined |", "|---|---|---|---|---|"]
    for name, counts in record["sets"].items():
        cells = (counts["examined"], counts["likely"], counts["doubtful"], counts["left_out"])
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    if found.table.empty:
        return [*lines, "", "No label is suspect."]
    mined = "is withheld if mining still suspects it" if screen else "may be mined as it is"
    counts = count_review(found.table["verdict"].tolist())
    lead = (
        f"{counts.rows} labels are suspect ({_TABLE} has all). A person should check them. Gap analysis may add more. "
        "To change one, fix or remove its row and run Pre-Flight again. Otherwise a training row is used as it is, and "
        f"a pool row {mined}. The most suspect:"
    )
    lines += ["", lead, ""]
    for row in found.table.head(_SHOWN).to_dict("records"):
        lines.append(
            f"- {row['set']} line {row['line']}: {row['object_name']} ({row['boardname'] or row['input_path']}) is "
            f"labelled {row['label']}, the other rows say {row['suggested']} (suspicion {row['doubt']:.0%})"
        )
    if len(found.table) > _SHOWN:
        lines.append(f"- and {len(found.table) - _SHOWN} more in {_TABLE}")
    return lines
