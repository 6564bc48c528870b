"""Order is data: which stage may follow which, what comes next, when the loop stops. Pure functions of the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deft_aoi.errors import InputError
from deft_aoi.paths import BASELINE, iter_label, iter_number

BASELINE_ORDER = ("train", "evaluate", "rca")
ITERATION_ORDER = ("rca", "routing", "anomalygen", "data_mining", "data_merge", "train", "evaluate")
LOOP_STOP = "loop_stop"
RESOLVE = "resolve"
STAGES = (
    "evaluate", "rca", "routing", "anomalygen_finetune", "anomalygen", "data_mining", "data_merge", "train",
    LOOP_STOP, RESOLVE,
)  # fmt: skip
# Within one iteration. `anomalygen` may be absent from journals of the EA variant, `anomalygen_finetune` is optional.
FOLLOWERS: dict[str, tuple[str, ...]] = {
    "train": ("evaluate",),
    "rca": ("routing",),
    "routing": ("anomalygen", "anomalygen_finetune", "data_mining"),
    "anomalygen_finetune": ("anomalygen",),
    "anomalygen": ("data_mining",),
    "data_mining": ("data_merge",),
    "data_merge": ("train",),
}


@dataclass(frozen=True)
class Step:
    """One stage of one iteration."""

    label: str
    stage: str

    def __str__(self) -> str:
        return f"{self.label}/{self.stage}"


def legal_steps(previous: Mapping[str, Any] | None) -> tuple[Step, ...]:
    """Steps that may follow the journal's last line (None: an empty journal)."""
    if previous is None:
        # A pre-seeded baseline (its checkpoint was trained elsewhere) starts at evaluate.
        return (Step(BASELINE, "train"), Step(BASELINE, "evaluate"))
    label, stage = previous["iter"], previous["stage"]
    if stage == LOOP_STOP:
        return ()
    if stage == RESOLVE:
        return (Step(label, previous["facts"]["stage"]), Step(label, LOOP_STOP))
    if previous["status"] == "error":
        return (Step(label, RESOLVE), Step(label, LOOP_STOP))
    following = iter_label(iter_number(label) + 1)
    stop = Step(label, LOOP_STOP)
    if label == BASELINE and stage == "evaluate":
        return (Step(label, "rca"), stop)
    if label == BASELINE and stage == "rca":
        # 7.0.x journals go from the baseline's rca straight to routing.
        return (Step(following, "rca"), Step(following, "routing"), stop)
    if stage == "evaluate":
        return (Step(following, "rca"), stop)
    return tuple(Step(label, name) for name in FOLLOWERS[stage])


def check_order(
    previous: Mapping[str, Any] | None, entry: Mapping[str, Any], max_iterations: int | None = None
) -> None:
    """Refuse a line that may not follow `previous`, naming the legal ones."""
    step = Step(entry["iter"], entry["stage"])
    legal = legal_steps(previous)
    if step not in legal:
        after = "an empty journal" if previous is None else f"{previous['iter']}/{previous['stage']}"
        names = ", ".join(map(str, legal)) or "nothing: the loop is complete"
        raise InputError(f"{step} cannot follow {after}; legal next: {names}")
    if max_iterations is not None and iter_number(step.label) > max_iterations:
        raise InputError(f"{step}: the run was approved for {max_iterations} iterations; expected loop_stop")


def next_step(entries: Sequence[Mapping[str, Any]], max_iterations: int, *, preseeded: bool = False) -> Step | None:
    """The one step that the loop takes next; None when it is complete.

    After a hard stop (status error) it is `resolve`: a person's decision, never a retry.
    """
    if not entries:
        return Step(BASELINE, "evaluate" if preseeded else "train")
    last = entries[-1]
    label, stage = last["iter"], last["stage"]
    if stage == LOOP_STOP:
        return None
    if stage == RESOLVE:
        return Step(label, last["facts"]["stage"])
    if last["status"] == "error":
        return Step(label, RESOLVE)
    order = BASELINE_ORDER if label == BASELINE else ITERATION_ORDER
    if stage != order[-1]:
        return Step(label, order[order.index("anomalygen" if stage == "anomalygen_finetune" else stage) + 1])
    if stop_reason(entries, max_iterations) is not None:
        return Step(label, LOOP_STOP)
    return Step(iter_label(iter_number(label) + 1), ITERATION_ORDER[0])


def stop_reason(entries: Sequence[Mapping[str, Any]], max_iterations: int) -> str | None:
    """`kpi_met`, `max_iterations`, or None when the loop goes on after a finished baseline or iteration."""
    evaluated = [entry for entry in entries if entry["stage"] == "evaluate" and entry["status"] == "ok"]
    if evaluated and evaluated[-1].get("facts", {}).get("met") is True:
        return "kpi_met"
    if iter_number(entries[-1]["iter"]) >= max_iterations:
        return "max_iterations"
    return None
