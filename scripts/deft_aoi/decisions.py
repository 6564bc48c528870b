"""What a person decides about a run: how to go on after a hard stop, and which checkpoints may go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deft_aoi import driver, journal, pipeline, space
from deft_aoi.errors import OK, InputError
from deft_aoi.executors.base import EXIT
from deft_aoi.fsio import move_aside
from deft_aoi.pipeline import RESOLVE
from deft_aoi.prune import prune, unneeded
from deft_aoi.run import Run, load_run, read_json


def resolve(results_dir: Path, reason: str, *, stop: bool = False) -> driver.Outcome:
    """Record a person's decision after a hard stop: the failed stage may run again, or (`stop`) the loop ends here.

    Ending hands the best model so far over, if there is one.
    """
    run = load_run(results_dir)
    with driver.only_worker(run):
        run = load_run(results_dir)
        following = driver.pending(run)
        if following is None or following.stage != RESOLVE:
            raise InputError(f"{run.paths.root}: no hard stop to resolve; type: deft status")
        error = next(entry for entry in reversed(run.entries) if entry["status"] == "error")
        failed = error["stage"]
        if not stop:
            _clear_jobs(run, following.label, failed, keep_finished=error.get("facts", {}).get("code") == space.CODE)
        journal.append(
            run.paths.log,
            iter_label=following.label,
            stage=RESOLVE,
            status="ok",
            summary=reason,
            duration_sec=0,
            facts={"decision": pipeline.STOP if stop else "retry"},
        )
        driver.snapshot(run)
    if stop:
        return driver.step(results_dir, wait=0)
    return driver.Outcome(OK, f"resolved: {failed} of {following.label} may run again")


def _clear_jobs(run: Run, label: str, failed: str, *, keep_finished: bool) -> None:
    """Set the failed stage's jobs aside, so that they run again; a full disk says nothing against a finished one."""
    for job in run.paths.jobs.glob(f"{label}-{failed}-*"):
        good = (job / EXIT).is_file() and read_json(job / EXIT)["returncode"] == 0
        if ".failed-" not in job.name and not (keep_finished and good):
            move_aside(job)


def prune_run(results_dir: Path, policy: str, *, dry_run: bool = False) -> list[dict[str, Any]]:
    """Drop checkpoints by policy, journaled; with `dry_run` only say which."""
    run = load_run(results_dir)
    with driver.only_worker(run):
        run = load_run(results_dir)
        if dry_run:
            paths = unneeded(run, policy)
            return [{"path": run.paths.relative(path), "bytes": path.stat().st_size} for path in paths]
        gone = prune(run, policy)
        if gone:
            driver.snapshot(run)
    return gone
