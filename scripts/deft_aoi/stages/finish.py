"""Stage `loop_stop`: name the best model from the scores on disk and deliver it."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import HardStop, InputError
from deft_aoi.base.files import atomic_write_json, atomic_write_text, sha256_file
from deft_aoi.base.paths import RunPaths
from deft_aoi.base.safe_paths import inside
from deft_aoi.engine.engine_choice import ENGINES, TAO
from deft_aoi.executors.base import Task
from deft_aoi.kpi.judged import own_threshold, score_facts
from deft_aoi.kpi.reuse import reference_of
from deft_aoi.kpi.scored import read_scored
from deft_aoi.record import order
from deft_aoi.record.bank_runs import FINAL_AUTOML
from deft_aoi.record.facts import Accepted, Evaluated, Stopped
from deft_aoi.record.locations import Places
from deft_aoi.record.order import EVALUATE
from deft_aoi.record.run import Run, load_run, read_json
from deft_aoi.spec.tree import Spec, get, load_spec, put, spec_text
from deft_aoi.stages.own_model import named_checkpoint
from deft_aoi.stages.rca import last_look
from deft_aoi.stages.stage import StageResult
from deft_aoi.stages.trained_model import trained_model

CONTAINER_CHECKPOINT = "/model/best.pth"
ENCRYPTION_KEY = "tlt_encode"  # TAO's public default: nothing is encrypted with it
AUGMENTATIONS = ("random_flip", "random_rotate", "random_color", "with_scale_random_crop")


def tasks(run: Run, label: str) -> list[Task]:
    return []


def collect(run: Run, label: str) -> StageResult:
    """Deliver the best model; a loop that a person ended before any evaluation has none."""
    reason = order.stop_reason(run.entries, run.plan.max_iterations) or "hard_stop"
    if not any(entry["stage"] == EVALUATE and entry["status"] == "ok" for entry in run.entries):
        return StageResult(f"{reason}: no model was evaluated, nothing to deliver", Stopped(reason))
    label_best, best = run.champion()
    recomputed = score_facts(best.inference_csv, run.plan.target, own_threshold(best.to_json()))
    if (recomputed["far_pct"], recomputed["threshold"]) != (best.far_pct, best.threshold):
        raise HardStop(
            "score_mismatch",
            f"the inference CSV of {label_best} gives FAR {recomputed['far_pct']:.4g}%, the journal says "
            f"{best.far_pct:.4g}%: one of them was changed",
            evidence=str(best.inference_csv),
            remedy="deft verify names what changed",
        )
    keep_earlier(run, label_best)
    atomic_write_json(run.paths.best_model, best_model(run, label_best, best))
    reference = run.paths.reference
    scored = read_scored(best.inference_csv)
    atomic_write_json(reference, reference_of(scored, recomputed["threshold"]))
    spec = write_inference_spec(run.paths)
    opened = accepted(run, label_best)
    verdict = (opened or best).verdict
    analysed, rca_dir = last_look(run, label_best)
    facts = Stopped(reason, label_best, best.far_pct, verdict, opened.shown() if opened else None, analysed, rca_dir)
    summary = f"{reason}: best is {label_best} with FAR {best.far_pct:.2f}% · {verdict}"
    return StageResult(summary, facts, (run.paths.best_model, spec, reference))


def keep_earlier(run: Run, label: str) -> None:
    """After a rollback: set the model that was delivered before aside under its own name."""
    for path in (run.paths.inference_spec, run.paths.reference, run.paths.best_model):
        before = read_json(run.paths.best_model).get("iteration") if run.paths.best_model.is_file() else None
        if path.is_file() and before not in (None, label):
            shutil.copy2(path, path.with_name(f"{path.stem}.{before}{path.suffix}"))


def accepted(run: Run, label: str) -> Accepted | None:
    """What the acceptance set says of a model; None where it was not opened for it."""
    for entry in reversed(run.entries):
        if entry["stage"] == order.ACCEPTANCE and entry["status"] == "ok" and entry["facts"]["model"] == label:
            return Accepted.from_json(entry["facts"], f"{run.paths.log}, line {entry['seq']}")
    return None


def best_model(run: Run, label: str, best: Evaluated) -> dict[str, Any]:
    """Content of best_model.json: the checkpoint with its threshold and where they came from.

    `verdict` is that of the acceptance set where it was opened for this model.
    """
    opened = accepted(run, label)
    spec = run.paths.folder(label) / "specs/train.yaml"
    checkpoint, digest = named_checkpoint(best.best_ckpt_path)
    trained = trained_model(run.plan, run.spec, run.workspace.backbone_dir)
    return {
        "model": trained.sentence,
        "changenet": trained.changenet,
        "checkpoint": checkpoint,
        "checkpoint_sha256": digest,
        "checkpoint_kind": best.best_ckpt_kind,
        "threshold": best.threshold,
        "far_pct": best.far_pct,
        "far_upper_pct": best.far_upper_pct,
        "kpi_target": run.plan.kpi_target,
        "verdict": (opened or best).verdict,
        "acceptance": opened.shown() if opened else None,
        "iteration": label,
        "engine": run.plan.engine,
        "backbone": trained.backbone or None,
        "spec_backbone": get(run.spec, "model.backbone.type"),
        "images_dir": str(run.workspace.images),
        "kpi_scores": str(best.inference_csv),
        "training_spec": str(spec if spec.is_file() else run.workspace.spec),
    }


def prepare_inference_spec(paths: RunPaths) -> Path:
    """Write best_model_inference_spec.yaml; in the middle of a loop, first best_model.json of the best model so far."""
    if paths.state.is_file():
        run = load_run(paths.root)
        last = order.last_deciding(run.entries)
        ended = last is not None and last["stage"] == order.LOOP_STOP
        now = read_json(paths.best_model).get("iteration") if paths.best_model.is_file() else None
        if (record := final_automl(run)) is not None:
            keep_earlier(run, FINAL_AUTOML)
            atomic_write_json(paths.best_model, record)
        elif order.champion_label(run.entries) and (not ended or now in (None, FINAL_AUTOML)):
            label, best = run.champion()
            keep_earlier(run, label)
            atomic_write_json(paths.best_model, best_model(run, label, best))
    return write_inference_spec(paths)


def final_automl(run: Run) -> dict[str, Any] | None:
    """best_model.json of the model that an AutoML pipeline trained after the loop, where its FAR is the lowest.

    FAR and threshold are computed where it names its scores, else taken as it gave them, which the record says. Raises
    InputError where it names no checkpoint of the workspace or no number.
    """
    part = run.state["iterations"].get(FINAL_AUTOML)
    if part is None:
        return None
    where = f"{run.paths.state}: iterations.{FINAL_AUTOML}"
    places = Places.of(run.paths, run.state["config"])
    checkpoint = run.workspace.inside(places.file(str(part.get("best_ckpt_path") or "")), f"{where}.best_ckpt_path")
    if not checkpoint.is_file():
        raise InputError(f"{where}.best_ckpt_path {checkpoint}: no such file; put it back and type it again")
    csv = places.file(str(part["inference_csv"])) if part.get("inference_csv") else None
    told = score_facts(run.workspace.inside(csv, where), run.plan.target) if csv else part
    for name in ("far_pct", "threshold"):
        if isinstance(told.get(name), bool) or not isinstance(told.get(name), (int, float)):
            raise InputError(f"{where}.{name} is {told.get(name)!r}; expected a number, or inference_csv to compute it")
    label, best = run.champion()
    if told["far_pct"] >= best.far_pct:
        return None
    spec = part.get("training_spec")
    return best_model(run, label, best) | {
        "checkpoint": str(checkpoint), "checkpoint_sha256": sha256_file(checkpoint), "checkpoint_kind": FINAL_AUTOML,
        "threshold": told["threshold"], "far_pct": told["far_pct"], "far_upper_pct": None, "verdict": None,
        "acceptance": None, "iteration": FINAL_AUTOML, "engine": TAO, "kpi_scores": str(csv) if csv else None,
        "far_from": "its scores" if csv else "the AutoML pipeline, not computed here",
        **({"training_spec": str(places.file(str(spec)))} if spec else {}),
    }  # fmt: skip


def write_inference_spec(paths: RunPaths) -> Path:
    """Write best_model_inference_spec.yaml for the model of best_model.json and what trained it; returns its path."""
    model = read_json(paths.best_model)
    threshold, named = model.get("threshold"), model.get("training_spec")
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not isinstance(named, str):
        raise InputError(f"{paths.best_model}: damaged (threshold or training_spec); deft verify names what changed")
    places = Places.at(paths.root)
    spec = inside(places.workspace, str(places.file(named)), f"{paths.best_model}: training_spec")
    wanted = inference_spec(load_spec(spec), float(threshold))
    if model.get("engine") in ENGINES:
        text = _own_spec(paths, wanted, places.file(str(model.get("checkpoint") or "")))
    else:
        text = spec_text(consumer_spec(wanted))
    atomic_write_text(paths.inference_spec, text)
    return paths.inference_spec


def _own_spec(paths: RunPaths, spec: Spec, checkpoint: Path) -> str:
    """A spec for this skill's engine: it names the real checkpoint and no backbone, which TAO would look for."""
    spec["model"].pop("backbone", None)
    put(spec, "inference.checkpoint", str(checkpoint))
    put(spec, "inference.results_dir", str(paths.root / "best_model_inference"))
    lead = (
        "# Not a TAO spec: this model is not a ChangeNet. To decide new rows, type:\n"
        f"#   deft score --model {paths.best_model} --csv ROWS.csv\n"
    )
    return lead + spec_text(spec)


def consumer_spec(spec: Spec) -> Spec:
    """A TAO inference spec as NVIDIA's deployment reads it: row by row, wherever it is mounted."""
    put(spec, "dataset.classify.batch_size", 1)
    put(spec, "dataset.classify.workers", 1)
    return {"encryption_key": ENCRYPTION_KEY, "results_dir": "", **spec}


def inference_spec(training: Spec, threshold: float) -> Spec:
    """A spec that only infers: `model` and `dataset.classify` as trained, no training data, the threshold set."""
    training = copy.deepcopy(training)
    classify = training["dataset"]["classify"]
    for name in ("train_dataset", "validation_dataset", "test_dataset"):
        classify.pop(name, None)
    classify["infer_dataset"] = {"csv_path": "", "images_dir": ""}
    spec: Spec = {"task": "classify", "model": training["model"], "dataset": {"classify": classify}}
    put(spec, "model.classify.eval_margin", threshold)
    augmentation = dict(classify.get("augmentation_config") or {})
    augmentation |= {name: {**(augmentation.get(name) or {}), "enable": False} for name in AUGMENTATIONS}
    augmentation |= {"with_random_blur": False, "with_random_crop": False, "augment": False}
    classify["augmentation_config"] = augmentation
    put(spec, "inference.checkpoint", CONTAINER_CHECKPOINT)
    put(spec, "inference.results_dir", "/model/inference")
    if (loss := get(training, "train.classify.loss")) is not None:
        put(spec, "train.classify.loss", loss)
    return spec
