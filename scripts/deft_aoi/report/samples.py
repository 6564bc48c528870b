"""What the rows are worth: why samples are weak, where more can come from, suspect labels, copies across sets."""

from __future__ import annotations

from deft_aoi.base.errors import InputError
from deft_aoi.base.rows import PASS
from deft_aoi.data.label_review import read_review
from deft_aoi.data.review_counts import count_review
from deft_aoi.rca.causes import CAUSES
from deft_aoi.report.source import Record, Source

_REVIEW_ROWS = 12


def source_words(policy: str, asked: str) -> str:
    """Which set asked for more rows, and what that means for the FAR."""
    if "weakness" in policy:
        looked = "KPI" if asked == "kpi" else asked
        return (
            "Mined rows were chosen by their own scores in the pool; no KPI row took part. Gap analysis looked at the "
            f"{looked} rows: they say which labels are routed."
        )
    if policy.startswith("random"):
        return (
            "Mined rows were drawn at random from the whole pool, whatever routing named; gap analysis looked at the "
            f"{asked} rows."
        )
    if policy == "uncertain":
        return "A person labelled the mined rows; they are those nearest to the threshold, which the KPI set chose."
    if asked == "kpi":
        return "Mined rows are neighbours of weak KPI rows, so the KPI set also steered the training data."
    return f"Mined rows are neighbours of weak {asked} rows; no KPI row took part."


def barred_words(mined: list[Record]) -> list[str]:
    """How many pool rows were left out since they show a picture of a set that judges."""
    counts = [sum(one["barred"].values()) for one in mined if one.get("barred")]
    if not counts:
        return []
    return [
        f"{max(counts):,} pool rows are near-duplicates (re-encoded, brightened or moved) of rows that judge: "
        "they were never mined."
    ]


def samples(source: Source, shown: list[Record]) -> Record | None:
    """Tables of one page; None where no stage and no Pre-Flight reported anything about it."""
    found = {
        "causes": causes(shown),
        "coverage": coverage(shown),
        "labels": labels(source),
        "review": review(source),
        "shared": shared(source),
    }
    return found if any(found.values()) else None


def causes(shown: list[Record]) -> Record | None:
    """Proposed causes by iteration: weak samples and how many of them are decided wrongly."""
    seen = [(it["label"], it["rca"]) for it in shown if it["rca"] and it["rca"].get("causes")]
    if not seen:
        return None
    rows = [(name, [part["causes"].get(name) for _, part in seen]) for name in CAUSES]
    return {
        "labels": [label for label, _ in seen],
        "rows": [row for row in rows if any(row[1])],
        "sources": [str(part.get("rca_source") or "kpi") for _, part in seen],
    }


def coverage(shown: list[Record]) -> Record | None:
    """The last routing: where each label can come from, what was forecast and what mining then kept."""
    for it in reversed(shown):
        if it["routing"] and it["routing"].get("coverage"):
            kept = (it["mining"] or {}).get("by_label") or {}
            entries = [{**one, "kept": (kept.get(one["label"]) or {}).get("kept")} for one in it["routing"]["coverage"]]
            entries.sort(key=lambda one: (one["label"] != PASS, one["label"]))
            asked = [one["sentence"] for one in it["routing"].get("requests") or []]
            return {"label": it["label"], "entries": entries, "mined": it["mining"] is not None, "requests": asked}
    return None


def labels(source: Source) -> Record | None:
    """How many labels Pre-Flight examined and suspected, by set."""
    recorded = (source.preflight.get("samples") or {}).get("labels") or {}
    return recorded if recorded.get("sets") else None


def review(source: Source) -> Record | None:
    """label_review.csv as it is: the most suspect rows, those that somebody looked at first."""
    path = source.paths.label_review
    try:
        table = read_review(path)
    except InputError:  # a page still shows what can be read
        return None
    if table.empty:
        return None
    judged = table["verdict"] != ""
    counts = count_review(table["verdict"].tolist())
    table = table.assign(judged=judged).sort_values(["judged", "doubt"], ascending=False, kind="stable")
    return {
        "rows": table.head(_REVIEW_ROWS).to_dict("records"),
        "all": counts.rows,
        "judged": counts.judged,
        "path": source.paths.relative(path),
    }


def shared(source: Source) -> Record | None:
    """Copies and shared boards as Pre-Flight counted them."""
    audit = (source.preflight.get("samples") or {}).get("audit") or {}
    pairs = [one for one in audit.get("shared") or [] if one["kind"] != "blank"]
    boards = audit.get("shared_boards") or []
    if not audit:
        return None
    return {"pairs": pairs, "boards": boards, "broken": audit.get("broken") or {}, "unread": audit.get("unread") or 0}
