"""Models that this loop does not train: the user's own checkpoint, and those trained on another machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deft_aoi.base.console import command_line
from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write, atomic_write_json, move_aside, sha256_file
from deft_aoi.base.paths import BASELINE, RunPaths
from deft_aoi.base.rows import is_defect, read_rows, write_rows
from deft_aoi.engine.engine_choice import TAO
from deft_aoi.executors.elsewhere import RECORD, SCORES
from deft_aoi.executors.platform_choice import ELSEWHERE
from deft_aoi.record.facts import Trained
from deft_aoi.record.run import Plan, Run, read_json
from deft_aoi.stages.score_sets import all_sets, matched, needed_sets
from deft_aoi.stages.stage import StageResult

EXPORT = "export"  # folder of an iteration with what was handed out
EXPORT_RECORD = "export.json"
UNNAMED = "not named"


def brings_model(plan: Plan, label: str) -> bool:
    """Whether the model of `label` comes from outside this loop."""
    return plan.platform == ELSEWHERE or (label == BASELINE and bool(plan.baseline_ckpt))


def folder(paths: RunPaths, label: str) -> Path:
    """Where the scores of a model trained elsewhere are kept, with the record of where they came from."""
    return paths.folder(label) / "scores"


def export_record(paths: RunPaths, label: str) -> Path:
    return paths.folder(label) / EXPORT / EXPORT_RECORD


def is_waiting(plan: Plan, paths: RunPaths, label: str) -> bool:
    """Whether the training of an iteration is somebody else's turn."""
    return plan.platform == ELSEWHERE and label != BASELINE and not (folder(paths, label) / RECORD).is_file()


def command(paths: RunPaths, label: str) -> str:
    """What to type while the loop waits for another machine."""
    if export_record(paths, label).is_file():
        return command_line("step", "--results-dir", paths.root, "--scores", "NEW_SCORES.csv")
    return command_line("export-training", "--results-dir", paths.root)


def waiting(run: Run, label: str) -> str:
    """One line for a loop that cannot go on before another machine has trained."""
    exported = export_record(run.paths, label)
    done = f"{exported.parent} says how" if exported.is_file() else "nothing is exported yet"
    return f"{label}/train is done on another machine ({done}); type: {command(run.paths, label)}"


def take(run: Run, label: str, files: Sequence[Path], checkpoint: str) -> None:
    """Check the scores of a model trained elsewhere row by row and keep them in the run.

    Raises InputError where they do not fit the sets, or an iteration's training data was never handed out.
    """
    handed = None if label == BASELINE else handed_out(run, label)
    needed = [one.name for one in needed_sets(run.plan, run.workspace, run.optics)]
    table = matched(files, all_sets(run.workspace, run.optics), needed, run.optics, run.workspace.root)
    refuse_repeated(run, label, files)
    there = folder(run.paths, label)
    if there.exists():
        move_aside(there)
    write_rows(there / SCORES, table)
    named = Path(checkpoint).expanduser() if checkpoint else None
    record = {
        "checkpoint": checkpoint or UNNAMED,
        "checkpoint_sha256": sha256_file(named) if named and named.is_file() else None,
        "taken": [{"file": file.name, "rows": len(read_rows(file)), "sha256": sha256_file(file)} for file in files],
        "scores_sha256": sha256_file(there / SCORES),
        "handed_out": handed,
    }
    atomic_write_json(there / RECORD, record)


def refuse_repeated(run: Run, label: str, files: Sequence[Path]) -> None:
    """Raises InputError for scores that another model of this run was judged by: they are not those of the new one."""
    digests = {sha256_file(file): file for file in files}
    for other in {entry["iter"] for entry in run.entries} - {label}:
        path = folder(run.paths, other) / RECORD
        for taken in read_json(path)["taken"] if path.is_file() else ():
            if taken["sha256"] in digests:
                raise InputError(
                    f"{digests[taken['sha256']]}: these are the scores of {other}, byte for byte; expected those of "
                    f"the model that was trained with {export_record(run.paths, label).parent}"
                )


def handed_out(run: Run, label: str) -> dict[str, Any]:
    """The export's record; raises InputError where there is none, or its files are no longer those of the loop."""
    path = export_record(run.paths, label)
    if not path.is_file():
        raise InputError(f"{path}: no export of {label}; type: {command(run.paths, label)}, then train with that")
    record = read_json(path)
    for name, digest in record["files"].items():
        if not (path.parent / name).is_file() or sha256_file(path.parent / name) != digest:
            raise InputError(
                f"{path.parent / name}: gone or changed since it was handed out; type: "
                f"{command_line('export-training', '--results-dir', run.paths.root)}, and train with that"
            )
    return record


def collect(run: Run, label: str) -> StageResult:
    """The line of stage `train` for a model that this loop did not train."""
    if run.plan.platform != ELSEWHERE:
        return _own_checkpoint(run)
    if label == BASELINE:
        take(run, label, [run.workspace.root / name for name in run.plan.baseline_scores], run.plan.baseline_ckpt)
    there = folder(run.paths, label)
    record = read_json(there / RECORD)
    name = run.paths.relative(there / RECORD)
    facts = replace(
        _facts({"best_val": name, "latest": name}),
        taken=tuple(record["taken"]),
        scores_sha256=record["scores_sha256"],
    )
    artifacts = [there / SCORES, there / RECORD]
    scored = f"{len(read_rows(there / SCORES))} scores of {', '.join(one['file'] for one in record['taken'])}"
    if label == BASELINE:
        return StageResult(f"own ChangeNet taken as baseline, not trained here: {scored}", facts, tuple(artifacts))
    rows = read_rows(run.training_csv(label))
    facts = replace(
        facts,
        rows=len(rows),
        defects=int(is_defect(rows["label"]).sum()),
        training_csv=run.training_csv(label),
        handed_out=record["handed_out"],
    )
    exported = export_record(run.paths, label)
    artifacts += [exported, *(exported.parent / name for name in record["handed_out"]["files"])]
    return StageResult(f"trained elsewhere on {len(rows)} rows: {scored}", facts, tuple(artifacts))


def _own_checkpoint(run: Run) -> StageResult:
    """The user's checkpoint, copied into the run: what scored it stays where the journal vouches for it."""
    source = run.workspace.inside(run.plan.baseline_ckpt, "--baseline-ckpt")
    target = run.paths.train(BASELINE) / source.name
    if not target.is_file():
        with open(source, "rb") as stream:
            atomic_write(target, lambda out: shutil.copyfileobj(stream, out, 1 << 20))
    name = run.paths.relative(target)
    summary = f"own checkpoint {source.name} taken as baseline, not trained here"
    return StageResult(summary, _facts({"best_val": name, "latest": name}), (target,))


def _facts(checkpoints: dict[str, str]) -> Trained:
    """Facts of a `train` line without what only a training of this loop knows."""
    return Trained(checkpoints=checkpoints, engine=TAO, trained_here=False)


def named_checkpoint(path: Path) -> tuple[str, str | None]:
    """(checkpoint, SHA-256) for the hand-off: of a model trained elsewhere its name there, its hash if it was known."""
    if path.name != RECORD:
        return str(path), sha256_file(path)
    record = read_json(path)
    return str(record["checkpoint"]), record["checkpoint_sha256"]
