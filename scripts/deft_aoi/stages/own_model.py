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
from deft_aoi.record.order import TRAIN
from deft_aoi.record.run import Plan, Run, read_json
from deft_aoi.stages.score_sets import all_sets, matched, needed_sets, same_scores
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
        return command_line("step", "--results-dir", paths.root, "--scores", expected_scores(paths, label))
    return command_line("export-training", "--results-dir", paths.root)


def expected_scores(paths: RunPaths, label: str) -> Path:
    """Where the scores of the model of `label` are expected: a name of its own, unlike those of earlier models."""
    return paths.root.parents[1] / f"{label}_inference.csv"


def waiting(run: Run, label: str) -> str:
    """One line for a loop that cannot go on before another machine has trained."""
    exported = export_record(run.paths, label)
    done = f"{exported.parent} says how" if exported.is_file() else "nothing is exported yet"
    return f"{label}/train is done on another machine ({done}); type: {command(run.paths, label)}"


def take(run: Run, label: str, files: Sequence[Path], checkpoint: str) -> None:
    """Check the scores of a model trained elsewhere row by row and keep them in the run.

    Raises InputError where they do not fit the sets, are those of an earlier model, or an iteration's training data was
    never handed out.
    """
    handed = None if label == BASELINE else handed_out(run, label)
    if label != BASELINE:
        _check_files(run, label, files)
    needed = needed_sets(run.plan, run.workspace, run.optics)
    names = [one.name for one in needed]
    table = matched(files, all_sets(run.workspace, run.optics), names, run.optics, run.workspace.root)
    for earlier in _earlier(run, label):
        if same := same_scores(table, read_rows(folder(run.paths, earlier) / SCORES), needed):
            raise _another_model(run, label, files[0], f"every {same[0]} row has the score of {earlier}")
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


def _check_files(run: Run, label: str, files: Sequence[Path]) -> None:
    """Refuse a file that is not there, and one that already served an earlier model, by name or content."""
    approved = {(run.workspace.root / name).resolve() for name in run.plan.baseline_scores}
    records = {earlier: read_json(folder(run.paths, earlier) / RECORD) for earlier in _earlier(run, label)}
    known = {one["sha256"]: earlier for earlier, record in records.items() for one in record["taken"]}
    for file in files:
        if not file.is_file():
            raise InputError(
                f"--scores {file}: no such file; copy the inference.csv of the model trained with "
                f"{export_record(run.paths, label).parent} to {expected_scores(run.paths, label)}"
            )
        if earlier := known.get(sha256_file(file)):
            raise _another_model(run, label, file, f"this file holds the scores of {earlier}")
        if file.resolve() in approved:
            raise _another_model(run, label, file, f"this is the approved file with the scores of {BASELINE}")


def _earlier(run: Run, label: str) -> list[str]:
    """Labels of the models before `label` whose scores the run keeps."""
    done = [entry["iter"] for entry in run.entries if entry["stage"] == TRAIN and entry["iter"] != label]
    return [one for one in dict.fromkeys(done) if (folder(run.paths, one) / RECORD).is_file()]


def _another_model(run: Run, label: str, file: Path, found: str) -> InputError:
    return InputError(
        f"--scores {file}: {found}; expected those of the model trained with "
        f"{export_record(run.paths, label).parent}: copy its inference.csv to {expected_scores(run.paths, label)}"
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
