"""What a person decides about a run: how to go on after a hard stop, and which checkpoints may go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deft_aoi.base.errors import OK, InputError
from deft_aoi.base.files import move_aside
from deft_aoi.executors.base import EXIT
from deft_aoi.kpi.judged import own_threshold, score_facts
from deft_aoi.loop import driver
from deft_aoi.record import disk_space, order
from deft_aoi.record.facts import Evaluated
from deft_aoi.record.order import EVALUATE, LOOP_STOP, RESOLVE, ROLLBACK
from deft_aoi.record.prune import prune, unneeded
from deft_aoi.record.run import Run, add_line, approved, read_json
from deft_aoi.stages.stage import DECIDED


def resolve(results_dir: Path, reason: str, *, stop: bool = False) -> driver.Outcome:
    """Record a person's decision after a hard stop: the failed stage may run again, or (`stop`) the loop ends here.

    Ending hands the best model so far over, if there is one.
    """
    with driver.only_worker(results_dir) as run:
        following = driver.pending(run)
        if following is None or following.stage != RESOLVE:
            raise InputError(f"{run.paths.root}: no hard stop to resolve; type: deft status")
        error = next(entry for entry in reversed(run.entries) if entry["status"] == "error")
        failed = error["stage"]
        if not stop:
            clear_jobs(
                run, following.label, failed, keep_finished=error.get("facts", {}).get("code") == disk_space.CODE
            )
        run = add_line(
            run,
            iter_label=following.label,
            stage=RESOLVE,
            status="ok",
            summary=reason,
            duration_sec=0,
            facts={"decision": order.STOP if stop else "retry"},
        )
    if stop:
        return driver.step(results_dir, wait=0)
    return driver.Outcome(OK, f"resolved: {failed} of {following.label} may run again", run)


def clear_jobs(run: Run, label: str, failed: str, *, keep_finished: bool) -> None:
    """Set the failed stage's jobs aside, and what they were made from, so that they run again; a full disk says
    nothing against a finished one."""
    for job in run.paths.jobs.glob(f"{label}-{failed}-*"):
        decided = job.name == f"{label}-{failed}-{DECIDED}"
        good = decided or ((job / EXIT).is_file() and read_json(job / EXIT)["returncode"] == 0)
        if ".failed-" not in job.name and not (keep_finished and good):
            move_aside(job)


def rollback(results_dir: Path, to: str, reason: str, *, open_acceptance: bool = False) -> driver.Outcome:
    """Make an earlier model the best one again, by a journal line; nothing is deleted, the next iteration starts there.

    Between iterations the loop goes on from it. After the end it is delivered by the next step; `open_acceptance`
    lets that step open the acceptance set for it, which is then an opening more. Raises InputError where a rollback is
    not due, or the model cannot be taken back as it was scored.
    """
    with driver.only_worker(results_dir) as run:
        approved(run.paths, run.state)
        current = _require_due(run)
        model = _model(run, to, current)
        if open_acceptance and run.plan.acceptance != order.SEALED:
            raise InputError("--open-acceptance: the approved plan has no acceptance set; leave it out")
        label = run.entries[-1]["iter"]
        after = add_line(
            run, iter_label=label, stage=ROLLBACK, status="ok", duration_sec=0,
            summary=f"{current} -> {to} (FAR {model.far_pct:.2f}%): {reason}",
            facts={
                "to": to, "from": current, "reason": reason, "met": model.met,
                "far_pct": model.far_pct, "open_acceptance": open_acceptance,
            },
        )  # fmt: skip
        upcoming = driver.pending(after)
        note = driver.render(after, order.Step(label, LOOP_STOP))
    return driver.Outcome(OK, f"rolled back from {current} to {to} · next: deft step ({upcoming}){note}", after)


def _require_due(run: Run) -> str:
    """Label of the best model; raises InputError unless a rollback may be the next line."""
    last = run.entries[-1] if run.entries else None
    current = order.champion_label(run.entries)
    if last is None or current is None:
        raise InputError(f"{run.paths.root}: no evaluated model yet, nothing to roll back")
    if not any(step.stage == ROLLBACK for step in order.legal_steps(last)):
        raise InputError(
            f"{run.paths.root}: {last['iter']}/{last['stage']} is under way; a rollback is legal after an iteration's "
            "evaluate or after loop_stop: go on with deft step (after a hard stop: deft resolve), then roll back"
        )
    return current


def _model(run: Run, to: str, current: str) -> Evaluated:
    """The model to go back to, with checkpoint and scores as they were."""
    evaluated = list(dict.fromkeys(e["iter"] for e in run.entries if (e["stage"], e["status"]) == (EVALUATE, "ok")))
    if to == current or to not in evaluated:
        others = ", ".join(label for label in evaluated if label != current) or "none"
        raise InputError(f"--to {to}: the best model is {current}; expected another evaluated one: {others}")
    left = run.left(to, Evaluated)
    for path in (left.best_ckpt_path, left.inference_csv):
        if not path.is_file():
            raise InputError(f"{path}: gone (pruned?), so {to} cannot be taken back")
    found = score_facts(left.inference_csv, run.plan.target, own_threshold(left.to_json()))
    if found["far_pct"] != left.far_pct:
        raise InputError(
            f"{left.inference_csv}: gives FAR {found['far_pct']:.4g}%, the journal says {left.far_pct:.4g}%; "
            f"type: deft verify --results-dir {run.paths.root}"
        )
    return left


def prune_run(results_dir: Path, policy: str, *, dry_run: bool = False) -> list[dict[str, Any]]:
    """Drop checkpoints by policy, journaled; with `dry_run` only say which."""
    with driver.only_worker(results_dir) as run:
        if dry_run:
            paths = unneeded(run, policy)
            return [{"path": run.paths.relative(path), "bytes": path.stat().st_size} for path in paths]
        return prune(run, policy)
