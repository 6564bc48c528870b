"""Journal a stage whose heavy work somebody else did, as the scripts of NVIDIA's bank do it.

What the line says is found on disk by the stage's own `collect`; a number that is handed in must be the one found.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError, NotYet
from deft_aoi.base.rows import read_parquet
from deft_aoi.loop import driver
from deft_aoi.record import journal, order
from deft_aoi.record.facts import Mined
from deft_aoi.record.locations import Places
from deft_aoi.record.order import Step
from deft_aoi.record.run import Run, add_line, approved
from deft_aoi.stages.stage import StageResult

_TOLERANCE = 1e-6
REASONS = {"kpi_met": "metric_met", "max_iterations": "max_iterations"}  # of the end, in the bank's words


def commit(
    results_dir: Path, step: Step, *, summary: str, duration: int, told: Mapping[str, Any], failed: bool = False
) -> Run:
    """Add the line of `step`, which must be the next one, and render the report; returns the run as it then is.

    `told`: what the caller says of the stage, under the names of its facts; None is nothing said. Raises InputError
    where the files do not give it.
    """
    if duration < 0:
        raise InputError(f"duration {duration}: expected whole seconds, 0 or more")
    with driver.only_worker(results_dir) as run:
        approved(run.paths, run.state)
        following = driver.pending(run)
        if following != step:
            raise InputError(f"{step} is not next in this run: {following or 'nothing, the loop is complete'} is")
        if failed:
            result = StageResult(summary, {"code": "stage_failed", "stage": step.stage, "evidence": "", "remedy": ""})
        else:
            result = _found(run, step, told)
            _compare(told, result.record(), step)
        after = add_line(
            run,
            iter_label=step.label,
            stage=step.stage,
            status="error" if failed else "ok",
            summary=summary if failed else f"{summary} · {result.summary}",
            duration_sec=duration,
            artifacts=[journal.artifact(run.paths.root, path) for path in result.artifacts],
            facts=Places(run.paths.root, run.workspace.root).portable(result.record()),
            max_iterations=run.plan.max_iterations,
        )
        driver.render(after, step)
        return after


def _found(run: Run, step: Step, told: Mapping[str, Any]) -> StageResult:
    """The stage's result from disk; mining that NVIDIA's containers did is taken by its parquet."""
    parquet = told.get("mining_mined_parquet")
    if step.stage == order.DATA_MINING and parquet is not None:
        path = run.workspace.inside(parquet, "--mining-parquet")
        if not (run.paths.mining(step.label) / "mining_pool.csv").is_file():
            raise InputError(f"{run.paths.mining(step.label)}/mining_pool.csv: no such file; data_merge reads it")
        count = len(read_parquet(path, {}))
        return StageResult(f"{count} rows mined", Mined(mining_mined_parquet=path, mining_mined_count=count), (path,))
    try:
        return driver.stage_module(step.stage).collect(run, step.label)
    except NotYet as missing:
        raise InputError(str(missing)) from missing
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file; {step} leaves it there") from error


def _compare(told: Mapping[str, Any], found: Mapping[str, Any], step: Step) -> None:
    """Raise InputError where a value that was handed in is not what the files give."""
    for name, value in told.items():
        known = found.get(name)
        if value is None or name not in found or known is None:
            continue
        if isinstance(value, (int, float)):
            same = abs(float(value) - float(known)) <= _TOLERANCE * max(1.0, abs(float(known)))
        else:
            same = Path(str(value)).resolve() == Path(str(known)).resolve()
        if not same:
            raise InputError(
                f"{step}: {name} {value} was handed in, the files of the run give {known}; numbers are computed here "
                "and never taken over: leave it out, or put the files right"
            )


def finalize(results_dir: Path, label: str, reason: str, wait: float) -> driver.Outcome:
    """Do the loop's last stage. Raises InputError where the loop is not at its end, or ends for another reason."""
    with driver.only_worker(results_dir) as run:
        following = driver.pending(run)
        if following is None or following.stage != order.LOOP_STOP or following.label != label:
            raise InputError(f"{label}/loop_stop is not next in this run: {following or 'nothing, it is complete'} is")
        found = order.stop_reason(run.entries, run.plan.max_iterations) or "hard_stop"
        if REASONS.get(found, found) != reason:
            raise InputError(
                f"--stop-reason {reason}: the scores on disk say {REASONS.get(found, found)}; it is computed here"
            )
    return driver.step(results_dir, wait=wait)
