"""Hand out one iteration's training to another machine: rows with provenance, TAO specs, images, three commands."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.console import command_line
from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write, atomic_write_json, atomic_write_text, sha256_file, sha256_json
from deft_aoi.base.paths import BASELINE
from deft_aoi.base.rows import IDENTITY, image_paths, pad_columns, read_rows, write_rows
from deft_aoi.base.versions import image
from deft_aoi.executors.base import TAO_PYT
from deft_aoi.executors.platform_choice import ELSEWHERE
from deft_aoi.loop import driver
from deft_aoi.record.run import Run, approved
from deft_aoi.spec.tree import DATASETS, Spec, dump_spec, get, put
from deft_aoi.stages import own_model
from deft_aoi.stages.score_sets import UNLABELLED, all_sets, needed_sets
from deft_aoi.stages.task_specs import training_tree, without_nulls

TRAIN, VALIDATION, SCORE, PROVENANCE = "train.csv", "validation.csv", "score.csv", "provenance.csv"
TRAIN_SPEC, SCORE_SPEC, IMAGES, TAR, READ_ME = "train.yaml", "inference.yaml", "images.csv", "images.tar", "README.md"
YOUR_CHECKPOINT = "YOUR_CHECKPOINT.pth"


@dataclass(frozen=True)
class Export:
    """What was handed out, and the commands: two for the other machine, one for this."""

    folder: Path
    label: str
    rows: int
    to_score: int
    images: int
    commands: tuple[str, str, str]

    def record(self) -> dict[str, Any]:
        return {**vars(self), "folder": str(self.folder), "commands": list(self.commands)}


def export_training(results_dir: Path, *, at: str = "", images_at: str = "", tar: bool = False) -> Export:
    """Write the iteration's export into `<run>/<label>/export`.

    `at`: the folder's path on the other machine (default: the same path); `images_at`: where the workspace's files are
    there (default: the workspace's path, with `tar` the folder `images` of the export). Raises InputError where the
    next stage is no training of platform `elsewhere`.
    """
    with driver.only_worker(results_dir) as run:
        approved(run.paths, run.state)
        return _export(run, at.rstrip("/"), images_at.rstrip("/"), tar)


def _export(run: Run, at: str, images_at: str, tar: bool) -> Export:
    following = driver.pending(run)
    if run.plan.platform != ELSEWHERE:
        raise InputError(
            f"{run.paths.root}: trains on platform {run.plan.platform} itself; a run of platform {ELSEWHERE} exports: "
            "deft preflight --baseline-scores CSV"
        )
    if following is None or following.stage != "train" or following.label == BASELINE:
        raise InputError(
            f"{run.paths.root}: the next stage is {following or 'none'}; training data is exported when it is an "
            f"iteration's train. Type: {command_line('step', '--results-dir', run.paths.root)}"
        )
    label = following.label
    folder = run.paths.folder(label) / own_model.EXPORT
    there = at or str(folder)
    pictures = images_at or (f"{there}/images" if tar else str(run.workspace.root))
    tables = write_tables(run, label, folder)
    files = write_image_list(run, folder, tables.values())
    if tar:
        write_tar(run, folder / TAR, files)
    write_specs(run, label, folder, there, pictures, len(tables[SCORE]))
    commands = commands_of(run, label, there)
    atomic_write_text(folder / READ_ME, read_me(run, label, commands, there, pictures, tar=tar))
    write_record(run, label, folder)
    return Export(folder, label, len(tables[TRAIN]), len(tables[SCORE]), len(files), commands)


def write_tables(run: Run, label: str, folder: Path) -> dict[str, pd.DataFrame]:
    """Training rows with their provenance, validation rows and rows to score; every path from the workspace."""
    sets = {one.name: one for one in all_sets(run.workspace, run.optics)}
    scored = [one.rows for one in needed_sets(run.plan, run.workspace, run.optics)]
    to_score = pad_columns(pd.concat(scored, ignore_index=True).fillna("")).drop_duplicates(list(IDENTITY))
    to_score["label"] = to_score["label"].replace("", UNLABELLED)
    tables = {TRAIN: read_rows(run.training_csv(label)), VALIDATION: sets["validation"].rows, SCORE: to_score}
    for name, rows in tables.items():
        write_rows(folder / name, rows.reset_index(drop=True))
    write_rows(folder / PROVENANCE, read_rows(run.paths.provenance_csv(label)))
    return tables


def write_image_list(run: Run, folder: Path, tables: Iterable[pd.DataFrame]) -> list[str]:
    """images.csv: every file that the rows name, from the workspace, with bytes and SHA-256; returns the names."""
    root = run.workspace.root
    names = {
        Path(file).relative_to(root).as_posix()
        for rows in tables
        for column in ("input_path", "golden_path")
        for light in run.optics.lights
        for file in image_paths(rows, column, root, light, run.optics.ext)
    }
    found = sorted(names)
    for name in found:
        run.workspace.inside(name, "image to hand out")
    record = [(name, (root / name).stat().st_size, sha256_file(root / name)) for name in found]
    write_rows(folder / IMAGES, pd.DataFrame(record, columns=["file", "bytes", "sha256"]))
    return found


def write_tar(run: Run, path: Path, names: Sequence[str]) -> None:
    """The images under their names from the workspace; the same images give the same bytes."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.mode = 0, 0, 0, "", "", 0o644
        return entry

    def write(stream: Any) -> None:
        with tarfile.open(fileobj=stream, mode="w", dereference=True) as archive:
            for name in names:
                archive.add(run.workspace.root / name, arcname=name, filter=plain)

    atomic_write(path, write)


def write_specs(run: Run, label: str, folder: Path, there: str, pictures: str, to_score: int) -> None:
    """train.yaml and inference.yaml, derived from the user's spec for the paths of the other machine."""
    spec = training_tree(run, label, start_of(run) or YOUR_CHECKPOINT, Path(there) / "results/train")
    put(spec, "results_dir", f"{there}/results")
    put(spec, "model.backbone.pretrained_backbone_path", get(run.spec, "model.backbone.pretrained_backbone_path"))
    csvs = dict(zip(DATASETS, (TRAIN, VALIDATION, SCORE, SCORE), strict=True))
    for name, csv in csvs.items():
        put(spec, f"dataset.classify.{name}", {"csv_path": f"{there}/{csv}", "images_dir": pictures})
    dump_spec(folder / TRAIN_SPEC, without_nulls(spec))
    score: Spec = spec
    put(score, "dataset.classify.batch_size", min(run.plan.batch_size, to_score))  # TAO refuses fewer rows than a batch
    put(score, "inference.checkpoint", f"{there}/results/train/LATEST_OR_BEST.pth")
    put(score, "inference.results_dir", f"{there}/results/inference")
    put(score, "inference.num_gpus", 1)
    put(score, "inference.gpu_ids", [0])
    dump_spec(folder / SCORE_SPEC, without_nulls(score))


def start_of(run: Run) -> str:
    """Checkpoint of the best model so far, as it is called on the machine that trains; empty where nobody named it."""
    start, _ = own_model.named_checkpoint(run.champion()[1].best_ckpt_path)
    return "" if start == own_model.UNNAMED else start


def commands_of(run: Run, label: str, there: str) -> tuple[str, str, str]:
    scores = own_model.expected_scores(run.paths, label)
    back = command_line("step", "--results-dir", run.paths.root, "--scores", scores, "--checkpoint", "MODEL.pth")
    override = "" if start_of(run) else f" train.pretrained_model_path={YOUR_CHECKPOINT}"
    return (
        f"visual_changenet train -e {there}/{TRAIN_SPEC}{override}",
        f"visual_changenet inference -e {there}/{SCORE_SPEC} inference.checkpoint=MODEL.pth",
        back,
    )


def read_me(run: Run, label: str, commands: Sequence[str], there: str, pictures: str, *, tar: bool) -> str:
    """What a person on the other machine needs: where files are expected, the commands, what comes back."""
    train, score, back = commands
    unpack = [f"Images: unpack them first, `mkdir -p {pictures} && tar -xf {there}/{TAR} -C {pictures}`."]
    by_name = [f"Images: `{IMAGES}` lists every file with its SHA-256; they are expected below `{pictures}`."]
    container = f"docker run --rm --gpus all --shm-size=8g -v {there}:{there} -v {pictures}:{pictures} {image(TAO_PYT)}"
    best, named = run.champion()[0], start_of(run)
    model = "your own model" if best == BASELINE else f"the model of {best}"
    start = (
        f"The training starts from the best model so far: {best}, {model}, checkpoint `{named}`. It must be there."
        if named
        else f"The training starts from the best model so far: {best}, {model}. Nobody has named its checkpoint: in "
        f"command 1, write its path instead of `{YOUR_CHECKPOINT}`."
    )
    backbone = get(run.spec, "model.backbone.pretrained_backbone_path")
    also = f"The backbone `{backbone}` (`model.backbone.pretrained_backbone_path`) must be there too."
    scores = own_model.expected_scores(run.paths, label)
    lines = [
        f"# Training of {label}, run {run.paths.root.name}",
        "",
        f"This folder is expected at `{there}` on the machine that trains.",
        *(unpack if tar else by_name),
        start,
        *([also] if backbone else []),
        "Edit no file of this folder: a changed export is refused. To change a path, add it to the command "
        "(`KEY=VALUE`), or export again with `--at` and `--images-at`.",
        "",
        "1. Train there:",
        f"   `{train}`",
        "2. Score there, MODEL.pth being the checkpoint of the lowest validation loss (or the latest):",
        f"   `{score}`",
        f"3. Copy `{there}/results/inference/inference.csv` to the machine of this run as `{scores}`, under that name, "
        "so that it is not taken for the scores of an earlier model. Then type there, with the checkpoint's path for "
        "MODEL.pth:",
        f"   `{back}`",
        "",
        f"In NVIDIA's container, put this before 1 and 2: `{container}`",
        "",
    ]
    return "\n".join(lines)


def write_record(run: Run, label: str, folder: Path) -> None:
    """export.json: the hash of everything that was handed out; the journal takes it in with the scores."""
    names = [TRAIN, PROVENANCE, VALIDATION, SCORE, IMAGES, TRAIN_SPEC, SCORE_SPEC]
    files = {name: sha256_file(folder / name) for name in names}
    combined = sha256_file(run.training_csv(label))
    record = {"label": label, "training_csv_sha256": combined, "files": files}
    atomic_write_json(folder / own_model.EXPORT_RECORD, {**record, "digest": sha256_json(record)})
