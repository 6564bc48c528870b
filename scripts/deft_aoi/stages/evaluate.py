"""Stage `evaluate`: score the KPI rows with both checkpoints, keep the better, judge it, name the champion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deft_aoi.base.paths import BASELINE
from deft_aoi.executors.base import TAO_PYT, Task
from deft_aoi.kpi.analyze import write_analysis
from deft_aoi.kpi.compare import compare
from deft_aoi.kpi.evaluator import evaluated, measure
from deft_aoi.kpi.gate import better, rank
from deft_aoi.kpi.judged import judged, score_facts, standing
from deft_aoi.kpi.target import Contract
from deft_aoi.record.facts import Evaluated, Trained
from deft_aoi.record.locations import Places
from deft_aoi.record.order import TRAIN
from deft_aoi.record.run import Run, read_json
from deft_aoi.stages import seed_noise
from deft_aoi.stages.stage import StageResult
from deft_aoi.stages.task_specs import inference_spec

FINISHED = "Inference finished successfully."
CLASSICAL = "classical"
METRIC_RESULT = "metric_result.json"  # next to the scores: what a metric contract's evaluator reported of them


def tasks(run: Run, label: str) -> list[Task]:
    """One inference for each distinct checkpoint; at the baseline also the classical method on the same rows."""
    todo = [_inference(run, label, kind, path) for kind, path in checkpoints(run, label).items()]
    if label == BASELINE:
        output = run.paths.evaluate(label) / CLASSICAL
        spec = run.paths.folder(label) / "specs" / f"inference_{next(iter(checkpoints(run, label)))}.yaml"
        command = ("classical_baseline", "-e", str(spec), f"results_dir={output}")
        todo.append(Task(CLASSICAL, command, output, expects=(output / "inference.csv",)))
        for name, (path, output) in seed_noise.checkpoints(run).items():
            todo.append(inference_task(name, inference_spec(run, label, name, str(path), output=output), output))
    return todo


def _inference(run: Run, label: str, kind: str, checkpoint: Path) -> Task:
    return inference_task(kind, inference_spec(run, label, kind, str(checkpoint)), run.paths.inference(label, kind))


def inference_task(name: str, spec: Path, output: Path) -> Task:
    """One inference by a spec into its own folder."""
    command = ("visual_changenet", "inference", "-e", str(spec))
    expects = (output / "inference.csv",)
    return Task(name, command, output, expects=expects, finished=FINISHED, image=TAO_PYT, gpus=1)


def checkpoints(run: Run, label: str) -> dict[str, Path]:
    """Checkpoint kinds to score; `latest` is left out where it is the same file as `best_val`."""
    seeded = run.state["iterations"][label].get("best_ckpt_path")
    if label == BASELINE and seeded and not any(e["stage"] == TRAIN for e in run.entries):
        named = Places.of(run.paths, run.state["config"]).file(str(seeded))
        checkpoint = run.workspace.inside(named, f"{run.paths.state}: best_ckpt_path")
        return {run.state["iterations"][label].get("best_ckpt_kind") or "best_val": checkpoint}
    names = run.left(label, Trained).checkpoints
    found = {kind: run.paths.root / name for kind, name in names.items()}
    return found if found["best_val"] != found["latest"] else {"best_val": found["best_val"]}


def collect(run: Run, label: str) -> StageResult:
    target = run.plan.target
    candidates = {
        kind: candidate_facts(run, target, run.paths.inference(label, kind) / "inference.csv", label)
        | {"checkpoint": str(path)}
        for kind, path in judged_checkpoints(run, label).items()
    }
    kind = min(candidates, key=lambda name: rank(standing(target, candidates[name])))
    best = candidates[kind]
    verdict = judged(target, best)
    champion = label == BASELINE or better(standing(target, best), standing(target, run.champion()[1].to_json()))
    write_analysis(Path(best["inference_csv"]), run.paths.evaluate(label))
    left: dict[str, Any] = {
        "candidates": candidates,
        "best_ckpt_kind": kind,
        "best_ckpt_path": best["checkpoint"],
        **{name: value for name, value in best.items() if name != "checkpoint"},
        "far_upper_pct": 100 * verdict.far_upper,
        "verdict": verdict.status,
        "verdict_sentence": verdict.sentence,
        "met": verdict.met,
        "gate": verdict.record(),
        "champion": champion,
        "champion_label": label if champion else run.champion()[0],
        "classical": classical_facts(run, target) if classical_csv(run).is_file() else None,
    }
    if label == BASELINE:
        second = [
            candidate_facts(run, target, path / "inference.csv", label)
            for _, path in seed_noise.checkpoints(run).values()
        ]
        left["noise_floor"] = seed_noise.floor(run, target, best, second) if second else None
    else:
        left["against_champion"] = against(run, target, best)
    facts = Evaluated.from_json(left, f"{label}/evaluate")
    inferred = [run.paths.inference(label, name) / "inference.csv" for name in candidates]
    inferred += [csv.with_name(METRIC_RESULT) for csv in inferred if csv.with_name(METRIC_RESULT).is_file()]
    return StageResult(_summary(run, label, facts), facts, (*inferred, run.paths.evaluate(label) / "kpi.json"))


def against(run: Run, target: Contract, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What this model loses and wins against the best one so far, and whether the change is within the noise."""
    label, champion = run.champion()
    paths = champion.inference_csv, Path(facts["inference_csv"])
    if not paths[0].is_file() or champion.threshold is None:  # a run of 7.0.x whose scores are gone
        return {"label": label, "compared": False}
    found = compare(*paths, (champion.threshold, facts["threshold"]), full_recall=target.recall == 1)
    floor = seed_noise.of_run(run)
    within = None if floor is None else abs(found["difference"]["far_pp"]) <= floor["difference_pp"]
    return {"label": label, "compared": True, **found, "within_noise": within}


def judged_checkpoints(run: Run, label: str) -> dict[str, Path]:
    """Checkpoints that compete: where somebody else's artifact judges, one for the iteration, as its path is one."""
    found = checkpoints(run, label)
    evaluator = run.plan.target.evaluator
    return found if evaluator is None or evaluator.kind == "command" else dict([next(iter(found.items()))])


def candidate_facts(run: Run, target: Contract, csv: Path, label: str) -> dict[str, Any]:
    """:func:`score_facts` with what the contract's commands, or its evaluator, say of the same scores.

    Raises NotYet while an evaluator's artifact is not there.
    """
    if target.evaluator is None and not target.commands:
        return score_facts(csv, target)
    approved = read_json(run.paths.preflight)["inputs"]
    if target.evaluator is not None:
        result = evaluated(target, run.workspace.root, csv, label, csv.with_name(METRIC_RESULT), approved)
        told = {"measured": dict(result.measured), "metric_result": dict(result.record)}
        return score_facts(csv, target, result.threshold) | told
    facts = score_facts(csv, target)
    return facts | {"measured": measure(target, run.workspace.root, csv, facts["threshold"], approved)}


def classical_csv(run: Run) -> Path:
    return run.paths.evaluate(BASELINE) / CLASSICAL / "inference.csv"


def classical_facts(run: Run, target: Contract) -> dict[str, float]:
    """Figures of the plain aligned absolute difference on the same rows."""
    facts = score_facts(classical_csv(run), target)
    return {name: facts[name] for name in ("far_pct", "far_995_pct", "auroc")}


def _summary(run: Run, label: str, facts: Evaluated) -> str:
    before = "" if label == BASELINE else f"{run.champion()[1].far_pct:.2f}% → "
    kept = "" if facts.champion else f" · champion stays {facts.champion_label}"
    kept += " · within the noise of two seeds" if (facts.against_champion or {}).get("within_noise") else ""
    if run.plan.target.evaluator is not None:
        seen = ", ".join(f"{name} {value:.6g}" for name, value in (facts.measured or {}).items())
        return f"{seen} (target {run.plan.kpi_target}) · {facts.verdict} · FAR {facts.far_pct:.2f}%{kept}"
    return f"FAR {before}{facts.far_pct:.2f}% (target {run.plan.kpi_target}) · {facts.verdict}{kept}"
