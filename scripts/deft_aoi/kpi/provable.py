"""What a KPI set of a given size can prove of a contract, before any model has been scored."""

from __future__ import annotations

from deft_aoi.kpi.bounds import samples_needed, upper_bound
from deft_aoi.kpi.target import Bound, Contract

_ROWS = {"far": ("PASS rows", "false calls", "called falsely"), "escape": ("defects", "escapes", "missed")}


def provable(contract: Contract, n_pass: int, n_defect: int) -> list[str]:
    """One sentence for each bound on a rate, and one where the contract as a whole says too little."""
    rows = {"far": n_pass, "escape": n_defect}
    lines = [_sentence(bound, rows[bound.metric]) for bound in contract.bounds if bound.metric in rows]
    if not contract.recall_stated:
        lines.append("The target says nothing of recall: 100% is meant.")
    if contract.one_sided:
        lines.append("The target bounds no false calls: calling every part NO_PASS would meet it. Add one by 'and'.")
    if contract.objective is not None and len(contract.bounds) == 1:
        lines.append("The target states no limit: the loop runs all its iterations and keeps the lowest cost.")
    lines += [
        f"{b.name} comes from {b.file}, run on this host; its bytes are part of the approval."
        for b in contract.commands
    ]
    return lines


def _sentence(bound: Bound, rows: int) -> str:
    units, events, wrong = _ROWS[bound.metric]
    count, limit = -1, bound.limit or 0.0
    while count < rows and bound.met_by(upper_bound(count + 1, rows)):
        count += 1
    if count >= 0:
        return f"With {rows:,} {units} {bound.text} is proven at {count} {events} or fewer (95 % confidence)."
    if limit > 1e-9:
        return (
            f"With {rows:,} {units} {bound.text} can be reached but not proven: that needs "
            f"{samples_needed(limit):,} {units}, none {wrong}."
        )
    if bound.metric == "escape":
        return (
            f"No number of defects proves {bound.text}: {rows:,} without an escape show that at most "
            f"{100 * upper_bound(0, rows):.2g}% of defects escape (95 % confidence)."
        )
    return f"No number of rows proves {bound.text}; it can be reached."
