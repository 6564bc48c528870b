"""Stage `acceptance`: the chosen model, its threshold frozen, scores the sealed set once, at the loop's end."""

from __future__ import annotations

from typing import Any

from deft_aoi.base.errors import HardStop
from deft_aoi.base.files import sha256_file
from deft_aoi.executors.base import Task
from deft_aoi.kpi.analyze import bounds_by_board, swept_of
from deft_aoi.kpi.evaluator import evaluated, measure
from deft_aoi.kpi.gate import Verdict, judge
from deft_aoi.kpi.scored import Scored, read_scored
from deft_aoi.kpi.sweep import at_threshold
from deft_aoi.record import order
from deft_aoi.record.acceptance_ledger import opening_of, record
from deft_aoi.record.facts import Accepted, Evaluated
from deft_aoi.record.run import Run, read_json
from deft_aoi.stages.evaluate import METRIC_RESULT, inference_task
from deft_aoi.stages.stage import StageResult
from deft_aoi.stages.task_specs import inference_spec


def tasks(run: Run, label: str) -> list[Task]:
    """One inference. The opening is in the workspace's ledger before it is handed to the executor."""
    chosen, facts = run.champion()
    number = _open(run, facts)
    output, csv = run.paths.acceptance(number), run.workspace.acceptance_csv
    name = f"opening_{number}"
    spec = inference_spec(run, chosen, f"acceptance_{number}", str(facts.best_ckpt_path), csv=csv, output=output)
    return [inference_task(name, spec, output)]


def collect(run: Run, label: str) -> StageResult:
    """Judge the frozen threshold on the sealed rows; nothing of the model may be changed after this."""
    chosen, facts = run.champion()
    number = _open(run, facts)
    csv = run.paths.acceptance(number) / "inference.csv"
    scored, threshold = read_scored(csv), facts.known_threshold()
    verdict, boards = judged(run, scored, threshold, sealed=number == 1)
    called = scored.score > threshold
    opening = opening_of(run.paths.root.name, facts.best_ckpt_path, threshold, run.workspace.acceptance_csv)
    calls, misses = int((called & ~scored.defect).sum()), int((~called & scored.defect).sum())
    n_defect = int(scored.defect.sum())
    found = Accepted(
        **opening,
        opening=number,
        model=chosen,
        inference_csv=csv,
        false_calls=calls,
        misses=misses,
        n_pass=scored.score.size - n_defect,
        n_defect=n_defect,
        far_pct=100 * verdict.far,
        escape_pct=100 * misses / n_defect,
        far_upper_pct=100 * verdict.far_upper,
        escape_upper_pct=100 * verdict.escape_upper,
        kpi_far_pct=facts.far_pct,
        boards=boards,
        verdict=verdict.status,
        gate=verdict.record(),
    )
    return StageResult(_summary(found), found, (csv,))


def judged(run: Run, scored: Scored, threshold: float, *, sealed: bool) -> tuple[Verdict, dict[str, Any] | None]:
    """(verdict, bounds by board) of the frozen threshold; only this set, while it is `sealed`, proves anything."""
    contract = run.plan.target
    point = at_threshold(swept_of(scored), threshold)
    measured = None
    if contract.evaluator is not None:
        output = scored.csv.with_name(METRIC_RESULT)
        approved = read_json(run.paths.preflight)["inputs"]
        measured = evaluated(contract, run.workspace.root, scored.csv, order.ACCEPTANCE, output, approved).measured
    elif contract.commands:
        measured = measure(
            contract, run.workspace.root, scored.csv, threshold, read_json(run.paths.preflight)["inputs"]
        )
    boards = bounds_by_board(scored, threshold)
    verdict = judge(
        contract, point.fp, point.fp + point.tn, point.fn, point.fn + point.tp, measured,
        by_board=boards["tallies"] if boards else None, sealed=sealed,
    )  # fmt: skip
    return verdict, boards


def _open(run: Run, facts: Evaluated) -> int:
    """Number of this opening; raises HardStop where set or checkpoint are not those that were approved and scored."""
    csv, checkpoint = run.workspace.acceptance_csv, facts.best_ckpt_path
    name = csv.relative_to(run.workspace.root).as_posix()
    approved = read_json(run.paths.preflight)["inputs"].get(name)
    if not csv.is_file() or sha256_file(csv) != approved:
        raise HardStop(
            "acceptance_changed",
            f"{csv} is not the file of the approved Summary",
            evidence=str(csv),
            remedy="put it back, then: deft resolve --reason TEXT; another set needs a new run",
        )
    made = {item["path"]: item["sha256"] for entry in run.entries for item in entry.get("artifacts", [])}
    name = run.paths.relative(checkpoint) if checkpoint.is_relative_to(run.paths.root) else ""
    digest = sha256_file(checkpoint) if checkpoint.is_file() else ""
    if digest != made.get(name, digest or None):
        raise HardStop(
            "checkpoint_changed",
            f"{checkpoint} is not the checkpoint that the KPI rows were scored with",
            evidence=str(checkpoint),
            remedy="deft verify names what changed; put it back, then: deft resolve --reason TEXT",
        )
    opening = opening_of(run.paths.root.name, checkpoint, facts.known_threshold(), csv)
    return record(run.workspace, csv, opening, {run.paths.log: run.entries})


def _summary(found: Accepted) -> str:
    number = found.opening
    seal = "sealed set opened" if number == 1 else f"acceptance set opened AGAIN (opening {number}: no longer sealed)"
    return (
        f"{seal} for {found.model}: {found.misses} of {found.n_defect} defects escape, "
        f"FAR {found.far_pct:.2f}% on {found.n_pass} PASS rows · {found.verdict}"
    )
