"""What a person can do next, by rule from the facts of a run."""

from __future__ import annotations

from deft_aoi.base.rows import PASS
from deft_aoi.report.quoting import Record, code, plain
from deft_aoi.report.words import listed


def next_steps(facts: Record) -> list[str]:
    """:func:`recommendations` with their figures filled in."""
    return [plain(text, facts["figures"]) for text in recommendations(facts)]


def recommendations(facts: Record) -> list[str]:
    """What a person could do next, the most useful first, each only where the facts call for it."""
    result, advice = facts["result"], []
    if facts["run"]["problem"]:
        remedy = facts["run"]["problem"]["remedy"]
        advice.append(f"The loop stopped. To go on: {code(remedy)}" if remedy else "The loop stopped; see the journal.")
    if result is None:
        return advice
    needed = [
        text
        for count, text in (
            (result["further_pass_needed"], "{{further_pass}} PASS rows without a false call"),
            (result["further_defects_needed"], "{{further_defects}} defects without an escape"),
        )
        if count
    ]
    if result["verdict"] == "NOT PROVABLE" and result["met"] and not facts["proof"]["acceptance"]:
        size = f" It needs at least {' and '.join(needed)}." if needed else ""
        advice.append(
            "Prove the target: put boards that nothing else uses into `kpi/acceptance_set.csv` and start a new run. "
            f"The KPI set cannot prove it, because it chose the threshold.{size}"
        )
    elif not result["met"] and facts["run"]["status"] == "complete":
        advice.append(
            "{{gap}}: start a new run with more iterations while mining still finds rows. When it finds none, add new "
            "boards to the mining pool."
            if defects_left(facts)
            else "{{gap}}: add new boards to the mining pool, since every defect in it is mined. Then start a new run."
        )
    reference = facts["classical"]
    if reference and reference["far_pct"] <= result["far_pct"]:
        advice.append(
            "Compare with the classical image difference, which needs no training: it does as well here "
            "({{far.classical}})."
        )
    if result["far_995_pct"] is not None and result["far_995_pct"] < 0.6 * result["far_pct"]:
        advice.append(
            "Check the lowest-scoring defects: are their labels right, and can the camera see them? A few of them hold "
            "the threshold down; at {{soft_recall}} recall the FAR would be {{far_995.best}}."
        )
    empty = without_yield(facts)
    if empty:
        names = listed([code(name) for name in empty])
        advice.append(f"No row of {names} was mined: check their suspect labels in the pool, or add examples there.")
    return advice


def defects_left(facts: Record) -> bool:
    """Whether the last mining left defects in the pool; True where it did not count them."""
    mined = [one["mining"] for one in facts["iterations"] if one["mining"]]
    counts = (mined[-1].get("by_label") or {}) if mined else {}
    defects = [one for name, one in counts.items() if name != PASS]
    return not defects or any((one.get("candidates") or 0) > (one.get("kept") or 0) for one in defects)


def without_yield(facts: Record) -> list[str]:
    """Defects that analysis found weak but of which mining never kept a row."""
    mined = [one["mining"] for one in facts["iterations"] if one["mining"]]
    if not mined:
        return []
    weak = {name for one in facts["iterations"] if one["rca"] for name in one["rca"].get("weak_by_label") or {}}
    kept = {name for part in mined for name, y in (part.get("by_label") or {}).items() if y.get("kept")}
    return sorted(weak - kept - {PASS})
