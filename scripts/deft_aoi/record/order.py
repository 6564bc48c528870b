"""Order is data: which stage may follow which, what comes next, when the loop stops. Pure functions of the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import BASELINE, iter_label, iter_number

TRAIN, EVALUATE, RCA, ROUTING = "train", "evaluate", "rca", "routing"
ANOMALYGEN, DATA_MINING, DATA_MERGE = "anomalygen", "data_mining", "data_merge"
BASELINE_ORDER = (TRAIN, EVALUATE, RCA)
ITERATION_ORDER = (RCA, ROUTING, ANOMALYGEN, DATA_MINING, DATA_MERGE, TRAIN, EVALUATE)
FINETUNE = "anomalygen_finetune"  # once, in the first iteration, where the plan asks for it
LOOP_STOP = "loop_stop"
RESOLVE = "resolve"
PRUNE = "prune"
ACCEPTANCE = "acceptance"
ROLLBACK = "rollback"
STOP = "stop"
SEALED = "sealed"  # a plan whose acceptance set is opened once, before the loop stops
ON, OFF = "on", "off"  # of a plan's `anomalygen_finetune` and `pool`
STAGES = (
    "evaluate", "rca", "routing", FINETUNE, "anomalygen", "data_mining", "data_merge", "train",
    ACCEPTANCE, LOOP_STOP, RESOLVE, PRUNE, ROLLBACK,
)  # fmt: skip
# Within one iteration. `anomalygen` may be absent from journals of the EA variant, fine-tuning is optional.
FOLLOWERS: dict[str, tuple[str, ...]] = {
    "train": ("evaluate",),
    "rca": ("routing",),
    "routing": ("anomalygen", FINETUNE, "data_mining"),
    FINETUNE: ("anomalygen",),
    "anomalygen": ("data_mining",),
    "data_mining": ("data_merge",),
    "data_merge": ("train",),
}
_CARRIED = ("stage", "decision", "after", "open_acceptance")


@dataclass(frozen=True)
class Step:
    """One stage of one iteration."""

    label: str
    stage: str

    def __str__(self) -> str:
        return f"{self.label}/{self.stage}"


def deciding(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The line that says what comes next: `entry`, or what a `prune` line was written after."""
    return entry["facts"]["after"] if entry["stage"] == PRUNE else entry


def last_deciding(entries: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Last line of a journal that is no `prune`; None for an empty one."""
    return next((entry for entry in reversed(entries) if entry["stage"] != PRUNE), None)


def inherited(previous: Mapping[str, Any] | None, stage: str) -> dict[str, Any]:
    """Facts that a `resolve`, `prune` or `rollback` line takes over from the line before, so that the tail decides."""
    if previous is None:
        return {}
    before = deciding(previous)
    if stage == RESOLVE:
        return {"stage": before["stage"]}
    if stage in (PRUNE, ROLLBACK):
        while stage == ROLLBACK and before["stage"] == ROLLBACK:
            before = before["facts"]["after"]
        kept = {name: before[name] for name in ("iter", "stage", "status") if name in before}
        known = {name: value for name, value in before.get("facts", {}).items() if name in _CARRIED}
        marks = {"prev": ""} if "prev" in before else {}
        return {"after": kept | {"facts": known} | marks}
    return {}


def legal_steps(previous: Mapping[str, Any] | None) -> tuple[Step, ...]:
    """Steps that may follow the journal's last line (None: an empty journal)."""
    if previous is None:
        # A pre-seeded baseline (its checkpoint was trained elsewhere) starts at evaluate.
        return (Step(BASELINE, "train"), Step(BASELINE, "evaluate"))
    return (*_followers(deciding(previous)), Step(previous["iter"], PRUNE))


def _followers(last: Mapping[str, Any]) -> tuple[Step, ...]:
    label, stage = last["iter"], last["stage"]
    stop, following = Step(label, LOOP_STOP), iter_label(iter_number(label) + 1)
    sealed = Step(label, ACCEPTANCE)  # only where the plan has an acceptance set
    if last["status"] == "error":
        return (Step(label, RESOLVE), stop)
    if stage == LOOP_STOP:
        return (Step(label, ROLLBACK),)
    if stage == ACCEPTANCE:
        return (stop,)
    if stage == ROLLBACK:
        before = last["facts"]["after"]
        return (
            (Step(label, ACCEPTANCE), stop, *_followers(before)) if before["stage"] == LOOP_STOP else _followers(before)
        )
    if stage == RESOLVE:
        facts = last.get("facts", {})
        again = (Step(label, facts["stage"]),) if facts.get("stage") and facts.get("decision") != STOP else ()
        return (*again, stop)
    if label == BASELINE and stage == "evaluate":
        return (Step(label, "rca"), stop)
    if label == BASELINE and stage == "rca":
        # 7.0.x journals go from the baseline's rca straight to routing.
        return (Step(following, "rca"), Step(following, "routing"), sealed, stop)
    if stage == "evaluate":
        # 7.0.x has rca at an iteration's end; lines of its own carry no `prev`.
        old = () if "prev" in last else (Step(label, "rca"), Step(following, "routing"))
        return (Step(following, "rca"), *old, sealed, stop, Step(label, ROLLBACK))
    if stage == "rca" and "prev" not in last:
        return (Step(label, "routing"), Step(following, "rca"), Step(following, "routing"), sealed, stop)
    return tuple(Step(label, name) for name in FOLLOWERS[stage])


def check_order(
    previous: Mapping[str, Any] | None, entry: Mapping[str, Any], max_iterations: int | None = None
) -> None:
    """Refuse a line that may not follow `previous`, naming the legal ones."""
    step = Step(entry["iter"], entry["stage"])
    legal = legal_steps(previous)
    if step not in legal:
        after = "an empty journal" if previous is None else f"{previous['iter']}/{previous['stage']}"
        names = (
            ", ".join(str(other) for other in legal if other.stage not in (PRUNE, ROLLBACK))
            or "nothing: the loop is complete"
        )
        raise InputError(f"{step} cannot follow {after}; legal next: {names}")
    if max_iterations is not None and iter_number(step.label) > max_iterations and step.stage != PRUNE:
        raise InputError(f"{step}: the run was approved for {max_iterations} iterations; expected loop_stop")


@dataclass(frozen=True)
class Judged:
    """The last model that was evaluated: its iteration, and whether it (or the one rolled back to) met the target."""

    label: str | None = None
    met: bool = False

    def after(self, entry: Mapping[str, Any]) -> Judged:
        """What is known once `entry` is in the journal."""
        if entry["stage"] == ROLLBACK:
            return Judged(self.label, entry["facts"].get("met") is True)
        if entry["stage"] != "evaluate" or entry["status"] != "ok":
            return self
        return Judged(entry["iter"], entry.get("facts", {}).get("met") is True)


def judged(entries: Iterable[Mapping[str, Any]]) -> Judged:
    found = Judged()
    for entry in entries:
        found = found.after(entry)
    return found


def champion_label(entries: Sequence[Mapping[str, Any]]) -> str | None:
    """Label of the best model so far: the last that was named champion, or the one that a person rolled back to."""
    for entry in reversed(entries):
        facts = entry.get("facts") or {}
        if entry["stage"] == ROLLBACK:
            return str(facts["to"])
        if entry["stage"] == "evaluate" and entry["status"] == "ok" and facts.get("champion"):
            return str(entry["iter"])
    return None


def asked_stages(plan: Mapping[str, Any]) -> dict[str, bool]:
    """What the fields of a plan ask of :func:`next_step` and :func:`step_after` besides the loop's own order."""
    return {"sealed": plan.get("acceptance") == SEALED, "finetune": plan.get("anomalygen_finetune") == ON}


def next_step(
    entries: Sequence[Mapping[str, Any]],
    max_iterations: int,
    *,
    preseeded: bool = False,
    sealed: bool = False,
    finetune: bool = False,
) -> Step | None:
    """The one step that the loop takes next; None when it is complete.

    After a hard stop (status error) it is `resolve`: a person's decision, never a retry. `sealed`: the plan has an
    acceptance set, to be opened once before the loop stops. `finetune`: it has AnomalyGen fine-tuned before it first
    generates.
    """
    last = last_deciding(entries)
    if last is None:
        return Step(BASELINE, "evaluate" if preseeded else "train")
    return step_after(last, judged(entries), max_iterations, sealed=sealed, finetune=finetune)


def step_after(
    last: Mapping[str, Any], known: Judged, max_iterations: int, *, sealed: bool = False, finetune: bool = False
) -> Step | None:
    """:func:`next_step` from the journal's last line and the last judgement alone."""
    last = deciding(last)
    label, stage = last["iter"], last["stage"]
    if last["status"] == "error":
        return Step(label, RESOLVE)
    if stage == LOOP_STOP:
        return None
    if stage == ACCEPTANCE:
        return Step(label, LOOP_STOP)
    if stage == ROLLBACK:
        before = last["facts"]["after"]
        if before["stage"] == LOOP_STOP:
            return Step(label, ACCEPTANCE if last["facts"].get("open_acceptance") else LOOP_STOP)
        return step_after(before, known, max_iterations, sealed=sealed, finetune=finetune)
    if stage == RESOLVE:
        facts = last.get("facts", {})
        ends = facts.get("decision") == STOP or not facts.get("stage")
        if not ends and facts["stage"] not in STAGES:
            raise InputError("the journal's resolve line names no stage of ours; see: deft verify")
        return Step(label, LOOP_STOP if ends else facts["stage"])
    order = BASELINE_ORDER if label == BASELINE else ITERATION_ORDER
    if stage != order[-1] and not (stage == "rca" and known.label == label):  # 7.0.x: rca ends an iteration
        if stage == FINETUNE:
            return Step(label, "anomalygen")
        if finetune and stage == "routing" and iter_number(label) == 1:
            return Step(label, FINETUNE)
        if stage not in order:
            raise InputError(f"the journal ends with {label}/{stage}, which no {label} has; see: deft verify")
        return Step(label, order[order.index(stage) + 1])
    if _reason(last, known, max_iterations) is not None:
        return Step(label, ACCEPTANCE if sealed else LOOP_STOP)
    return Step(iter_label(iter_number(label) + 1), ITERATION_ORDER[0])


def stop_reason(entries: Sequence[Mapping[str, Any]], max_iterations: int) -> str | None:
    """`kpi_met`, `max_iterations`, `hard_stop` (a person ended the loop), `rollback` (a person chose another model
    after the end), or None when the loop goes on."""
    last = last_deciding(entries)
    return None if last is None else _reason(last, judged(entries), max_iterations)


def _reason(last: Mapping[str, Any], known: Judged, max_iterations: int) -> str | None:
    if last["stage"] == RESOLVE and last.get("facts", {}).get("decision") == STOP:
        return "hard_stop"
    if known.met:
        return "kpi_met"
    if iter_number(last["iter"]) >= max_iterations:
        return "max_iterations"
    return "rollback" if last["stage"] == ROLLBACK and last["facts"]["after"]["stage"] == LOOP_STOP else None
