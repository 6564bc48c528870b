"""Stage `anomalygen_finetune`: AnomalyGen learns the defects of the workspace's data set, once, before it generates.

Three calls of AnomalyGen's own: test cases of every mask for its validation, its configuration, its training. The
checkpoint stays in the run; stage `anomalygen` generates from it in every iteration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from deft_aoi.base.errors import HardStop, InputError
from deft_aoi.executors.base import PAIDF_ANOMALYGEN, Task
from deft_aoi.record.facts import Finetuned
from deft_aoi.record.order import FINETUNE
from deft_aoi.record.run import Run
from deft_aoi.stages import anomalygen_inline
from deft_aoi.stages.anomalygen_slots import (
    Slots,
    checkpoint_view,
    container,
    fetch_task,
    trained_folder,
)
from deft_aoi.stages.stage import StageResult
from deft_aoi.synthetic.dataset import SPEC, AnomalySet, model_file, problems, read_entries, training_problems

FINISHED = "trained"  # in the output root once the training has ended well
SAVES = 5  # checkpoints of one training, and validations: each is some gigabytes


def home(run: Run, label: str) -> Path:
    return run.paths.folder(label) / FINETUNE


def tasks(run: Run, label: str) -> Iterator[Task]:
    slots, out = Slots(run.workspace, run.plan.project), home(run, label)
    for slot in run.plan.anomalygen_fetch:
        yield fetch_task(slots, slot, run.paths.folder(label) / "anomalygen_fetch")
    folder = slots.dataset
    masks = _masks(folder)
    cases, config = out / "cases/validation.jsonl", out / "config/ag_config.yaml"
    prepare = (
        *anomalygen_inline.script(run, "prep_testcase.sh"), "--name", run.plan.project,
        "--num-sdg", str(sum(masks.values())),
        "--dataset-dir", str(folder), "--clean-dir", str(folder), "--defect-spec", str(folder / SPEC),
        "--amp-output-dir", str(out / "cases/amp"), "--output-jsonl", str(cases),
        "--mode", "validation", "--seed", str(run.plan.seed),
    )  # fmt: skip
    yield anomalygen_inline.on_generator(run, slots, "prep_validation", prepare, out / "cases", (cases,))
    every = max(1, -(-run.plan.anomalygen_max_iter // SAVES))
    configure = (
        *anomalygen_inline.script(run, "generate_config.py"), "--name", run.plan.project, "--dataset-dir", str(folder),
        "--defect-spec", str(folder / SPEC), "--validation-jsonl", str(cases), "--model-size", "2b",
        "--max-iter", str(run.plan.anomalygen_max_iter), "--save-iter", str(every), "--validation-iter", str(every),
        "--output", str(config),
    )  # fmt: skip
    yield anomalygen_inline.on_generator(run, slots, "generate_config", configure, config.parent, (config,), gpus=0)
    yield _training(run, slots, config, out / "results")


def _training(run: Run, slots: Slots, config: Path, results: Path) -> Task:
    gpus = run.plan.num_gpus
    flags = ("--ag-config", str(config), "--num-gpus", str(gpus), "--model-size", "2b")
    expects = (results / FINISHED,)
    # AnomalyGen leaves no mark of its own that tells a whole training from one that was killed.
    shell = f'"$ANOMALYGEN_SCRIPTS/$0" "$@" && touch "$IMAGINAIRE_OUTPUT_ROOT/{FINISHED}"'
    box = container(slots)
    box = replace(box, environment={**box.environment, "IMAGINAIRE_OUTPUT_ROOT": str(results)})
    found = trained_folder(results)
    resume = found / "checkpoints/latest_checkpoint.txt" if found else None  # it goes on from its latest by itself
    return Task(
        "launch_training", ("bash", "-lc", shell, "launch_training.sh", *flags), results, expects=expects,
        resume=resume, image=PAIDF_ANOMALYGEN, gpus=gpus, container=box,
    )  # fmt: skip


def _masks(folder: Path) -> dict[str, int]:
    """Real defects by type. Raises HardStop before any script where the set breaks an invariant or teaches nothing."""
    try:
        found, entries = AnomalySet.at(folder), read_entries(folder / SPEC)
        broken = problems(found, entries) + training_problems(found, entries)
    except InputError as error:
        broken, entries = [str(error)], []
    if broken:
        raise _unfit(folder, broken)
    return {entry.defect_type: len(found.masks(entry)) for entry in entries}


def _unfit(folder: Path, broken: Sequence[str]) -> HardStop:
    return HardStop(
        "anomalygen_dataset",
        f"AnomalyGen cannot be fine-tuned on {folder}: {'; '.join(broken)}",
        evidence=str(folder),
        remedy="fix the data set, then: deft resolve --reason TEXT; or approve a plan with --anomalygen-finetune off",
    )


def collect(run: Run, label: str) -> StageResult:
    """Raises HardStop where the training left no checkpoint that can be used."""
    out = home(run, label)
    found = trained_folder(out / "results")
    try:
        if found is None:
            raise InputError(f"{out / 'results'}: no ag_config.yaml with checkpoints/model/iter_*.pt next to it")
        folder, step = checkpoint_view(found, run.plan.anomalygen_step, out / "view")
    except InputError as error:
        raise HardStop(
            "no_checkpoint",
            f"fine-tuning ended well but left nothing to generate from: {error}",
            evidence=str(run.paths.jobs / f"{label}-{FINETUNE}-launch_training/output.log"),
            remedy="see the log of the training, then: deft resolve --reason TEXT",
        ) from error
    data_set = Slots(run.workspace, run.plan.project).dataset
    masks = _masks(data_set)
    facts = Finetuned(
        generator=anomalygen_inline.generator_name(run), checkpoint_dir=folder, step=step,
        dataset=data_set, examples=masks, max_iter=run.plan.anomalygen_max_iter,
    )  # fmt: skip
    summary = f"generator fine-tuned on {sum(masks.values())} real defects of {len(masks)} types · step {step}"
    artifacts = (found / "ag_config.yaml", model_file(folder, step), out / "cases/validation.jsonl")
    return StageResult(summary, facts, artifacts)
