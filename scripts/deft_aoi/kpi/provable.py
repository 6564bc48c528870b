"""What a set of a given size can prove of a contract, before any model has been scored."""

from __future__ import annotations

from dataclasses import dataclass

from deft_aoi.kpi.bounds import ALIKE, CONFIDENCE, boards_needed, clean, smallest
from deft_aoi.kpi.target import Bound, Contract

_ROWS = {"far": ("PASS rows", "called falsely"), "escape": ("defects", "missed")}


@dataclass(frozen=True)
class Size:
    """Rows of a set: PASS rows, defects, and the boards that they are on (0 or 1: unknown)."""

    n_pass: int
    n_defect: int
    boards: int


def provable(contract: Contract, kpi: Size, sealed: Size | None) -> list[str]:
    """What the sealed acceptance set can prove of each bound, or how large one has to be, and one sentence where the
    contract as a whole says too little."""
    asked = [b for b in (*contract.bounds, contract.proof) if b is not None and b.metric in _ROWS and b.limit]
    lines = [_start(sealed)]
    lines += [_sentence(bound, sealed or kpi, sealed is not None) for bound in asked]
    if contract.proof is not None:
        lines.append(
            "No number of defects proves a recall of 100%. So a PASS needs no escape, and proof of "
            f"{contract.proof.text} (default; another is asked for by the target, as in '... and escape <= 1%')."
        )
    if any(bound.metric == "far" and not bound.limit for bound in contract.bounds):
        lines.append("No number of rows proves FAR <= 0%; it can be reached.")
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
    if (evaluator := contract.evaluator) is not None:
        source = f"{evaluator.path}, run on this host; its bytes are part of the approval"
        if evaluator.kind == "artifact":
            source = f"{evaluator.template}, which {evaluator.producer} writes and the loop waits for"
        lines.append(f"{', '.join(bound.name for bound in contract.bounds)}: from {source}.")
    return lines


def _start(sealed: Size | None) -> str:
    if sealed is None:
        return (
            "There is no sealed acceptance set (kpi/acceptance_set.csv), so the verdict will be FAIL or NOT PROVABLE, "
            "never PASS: the KPI rows choose threshold and model and cannot prove what they chose."
        )
    if sealed.boards < 2:
        return (
            "The acceptance set names fewer than two boards (column boardname): parts of a board are alike, so without "
            "boards the verdict will never be PASS."
        )
    return (
        f"PASS means proven with {CONFIDENCE:.0%} confidence on the sealed acceptance set, for parts of a board that "
        f"are alike up to a correlation of {ALIKE:g} (more if the rows show more)."
    )


def _sentence(bound: Bound, size: Size, sealed: bool) -> str:
    units, wrong = _ROWS[bound.metric]
    rows = size.n_pass if bound.metric == "far" else size.n_defect
    boards = min(size.boards, rows)
    per_board = max(1, round(rows / boards)) if boards > 1 else 1
    if sealed and boards > 1 and bound.met_by(clean(boards, per_board).upper()):
        return f"The {rows:,} {units} on {boards:,} boards prove {bound.text} if none is {wrong}."
    needed = smallest(lambda count: bound.met_by(clean(count, per_board).upper()), 1)
    if needed is None:
        return f"No number of {units} proves {bound.text}."
    fewest = boards_needed(bound.limit or 0.0)
    text = f"{bound.text} needs {needed * per_board:,} {units} on {needed:,} boards, none {wrong}"
    text += f" (never fewer than {fewest:,} boards, however many are on a board)" if fewest < needed else ""
    return f"{text}; the acceptance set has {rows:,} on {boards:,}." if sealed and boards > 1 else f"{text}."
