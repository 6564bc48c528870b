"""Pre-Flight: check everything, show one Summary, and give the approval code that the plan must be started with."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.errors import InputError, Refusals
from deft_aoi.base.files import atomic_write_json, atomic_write_text, sha256_file, utc_now
from deft_aoi.base.finding import BLOCK, NOTE, Finding
from deft_aoi.base.paths import BASELINE, RunPaths, Workspace
from deft_aoi.base.rows import is_defect
from deft_aoi.base.safe_paths import printable
from deft_aoi.base.versions import VERSION, image, images
from deft_aoi.data.sets import ACCEPTANCE, KPI, POOL, TRAINING, VALIDATION
from deft_aoi.engine.engine_choice import NET, TAO, gpu_name
from deft_aoi.executors.base import GPUS, TAO_PYT, Executor, Place, Probe
from deft_aoi.executors.platform_choice import LOCAL, make_executor
from deft_aoi.kpi.evaluator import contract_files, evaluator_file, named
from deft_aoi.kpi.metric_contract import contract_record
from deft_aoi.preflight import approvals, check_data
from deft_aoi.preflight.check_backbone import tao_checkpoint
from deft_aoi.preflight.check_cost import cost_findings
from deft_aoi.preflight.check_workspace import all_checks
from deft_aoi.preflight.generator_plan import generator_config, generator_values
from deft_aoi.preflight.inputs import csv_paths, read_inputs
from deft_aoi.preflight.line_news import News, labels_of, line_news, news_lines
from deft_aoi.preflight.own_baseline import own_baseline_findings, own_files
from deft_aoi.preflight.plan_values import asked_workspace, check_plan, make_plan
from deft_aoi.preflight.result import VERSION_OF_RECORD, Preflight, code_covers, code_of
from deft_aoi.preflight.summary import summary
from deft_aoi.preflight.summary_data import POOL_DATA
from deft_aoi.preflight.time_budget import in_hours
from deft_aoi.preflight.where_to_train import where_to_train
from deft_aoi.record import bank_runs, journal, state
from deft_aoi.record.locations import Places
from deft_aoi.record.order import ON, SEALED
from deft_aoi.record.run import AIR_GAP, IMAGES_OF, Plan, approval_digest, approval_problem, read_json
from deft_aoi.stages.trained_model import trained_model
from deft_aoi.synthetic.pregenerated import MODE as PREGEN
from deft_aoi.synthetic.pregenerated import source_record

_DATASET = {POOL: POOL_DATA}


def preflight(asked: Mapping[str, Any]) -> Preflight:
    """Run all checks; raises Refusals with every finding that blocks. Reads only, and opens every input once."""
    before = run_before(asked.get("results_dir"))
    if before and asked.get("hours") is None and not asked.get("max_iterations"):
        asked = {**asked, "max_iterations": before["max_iterations"]}
    workspace = asked_workspace(asked)
    inputs = read_inputs(workspace)
    if question := where_to_train(asked, inputs):
        raise Refusals(question)
    check_data.announce(inputs)
    asked, estimated = in_hours(asked, inputs)
    plan, sources = make_plan(asked, inputs, bank_runs.plan_values(before) if before else {})
    if estimated:
        sources["max_iterations"] = estimated
    plan, executor, probes = probed(plan, inputs.images)
    if plan.platform != LOCAL:
        sources["tao"] = f"platform {plan.platform}"
    findings = all_checks(inputs, plan, probes) + own_baseline_findings(inputs, plan) + cost_findings(plan, inputs)
    if before:
        findings += run_findings(before, RunPaths.at(asked["results_dir"]), plan)
    if any(finding.level == BLOCK for finding in findings):  # no Summary comes, but what the images say is known too
        findings += check_data.findings_beside(inputs, sealed=plan.acceptance == SEALED, engine=plan.engine)
    refuse_blocking(findings)
    seen = check_data.examine(inputs)
    findings += check_data.findings(seen, plan.engine)
    refuse_blocking(findings)
    dataset = {_DATASET.get(name, name): _counts(inputs.tables[name].rows) for name in read_sets(plan)}
    covered = digests(workspace, plan, inputs.sha256)
    covered |= check_data.image_digests(seen, workspace, sealed=plan.acceptance == SEALED)
    return Preflight(
        plan, sources, tuple(findings), dataset, covered, inputs.images, executor.describe(), seen,
        trained_model(plan, inputs.spec, workspace.backbone_dir),
    )  # fmt: skip


def run_before(results_dir: Path | None) -> state.State | None:
    """The state of a run that nobody has started here and that shall go on: of NVIDIA's bank, or with a baseline that
    an upstream pipeline brought; None without one."""
    paths = RunPaths(Path(results_dir).expanduser()) if results_dir else None
    if paths is None or not paths.state.is_file():
        return None
    found = state.load(paths.state)
    return None if found["config"].get("approval") else found


def run_findings(before: state.State, paths: RunPaths, plan: Plan) -> list[Finding]:
    """(1) whether a run of the bank can go on here, and from where."""
    workspace = Workspace.at(plan.workspace)
    found = [Finding(1, BLOCK, f"{paths.state}: {text}") for text in bank_runs.problems(before, paths, workspace)]
    named = before["iterations"].get(BASELINE, {}).get("best_ckpt_path")
    seeded = bank_runs.located(str(named), paths, workspace) if named else None
    if plan.engine != TAO and (problem := tao_checkpoint(seeded)):
        remedy = "choose where TAO runs: --platform local-docker, virtualenv, slurm or kubernetes"
        found.append(Finding(1, BLOCK, f"{paths.state}: {problem}, engine {plan.engine} cannot load it", next=remedy))
    lines = bank_runs.events(before, paths) or journal.read(paths.log)
    where = f"after {lines[-1]['iter']}/{lines[-1]['stage']}" if lines else "with its trained baseline"
    kept = f"; its state of version {before.get('version')} is kept" if bank_runs.events(before, paths) else ""
    return found or [Finding(1, NOTE, f"the run goes on {where}{kept}")]


def probed(plan: Plan, pins: Mapping[str, str]) -> tuple[Plan, Executor, list[Probe]]:
    """(the plan with the version of TAO that its platform has, the platform's executor, what it found out)."""
    workspace = Workspace.at(plan.workspace)
    place = Place(
        plan.platform, plan.settings, workspace.root, pins, plan.engine,
        air_gapped=plan.network == AIR_GAP,
    )  # fmt: skip
    executor = make_executor(place)
    probes = executor.probe()
    if plan.platform != LOCAL:
        plan = replace(plan, tao=tao_version(probes, plan, pins[TAO_PYT]))
    return plan, executor, probes


def refuse_blocking(findings: Sequence[Finding]) -> None:
    """Raise Refusals with every finding that blocks."""
    if blocking := [f"check {finding.check}: {finding.text}" for finding in findings if finding.level == BLOCK]:
        raise Refusals(blocking)


def read_sets(plan: Plan) -> tuple[str, ...]:
    """Names of the sets whose CSVs a run of this plan reads."""
    asked = {POOL: plan.pool == ON, ACCEPTANCE: plan.acceptance == SEALED}
    return (TRAINING, VALIDATION, KPI, *(name for name, there in asked.items() if there))


def digests(workspace: Workspace, plan: Plan, sha256: Callable[[Path], str]) -> dict[str, str]:
    """What the approval code covers of the disk: the hash of every input by its path in the workspace. `sha256` gives
    that of the spec and of a CSV."""
    csvs = csv_paths(workspace)
    files = (workspace.spec, *(csvs[name] for name in read_sets(plan)))
    found = {path.relative_to(workspace.root).as_posix(): sha256(path) for path in files}
    for name in own_files(plan):
        found[name] = sha256_file(workspace.root / name)
    for command in plan.target.commands:
        found[command.file] = sha256_file(evaluator_file(workspace.root, command.file))
    for file in contract_files(plan.target):
        found[named(file, workspace.root)] = sha256_file(file)
    if plan.synthetic == PREGEN:
        found[workspace.anomalygen_dir.relative_to(workspace.root).as_posix()] = source_record(workspace)["digest"]
    return found


def tao_version(probes: Sequence[Probe], plan: Plan, image: str) -> str:
    """What the platform reported of its TAO, else, where a container runs, the version in the image's tag."""
    if told := next((probe.tao for probe in probes if probe.tao), ""):
        return told
    tag = None if plan.settings.get("venv") else re.search(r":(\d+(?:\.\d+)+)", image)
    return tag[1] if tag else ""


def gpu_model(findings: Sequence[Finding], plan: Plan) -> str:
    """The GPUs that the platform showed, those of this machine for engine net; else why none is named."""
    shown = next((found.text for found in findings if found.text.startswith(GPUS)), "")
    if shown:
        return shown.removeprefix(GPUS)
    if plan.platform != LOCAL:
        return f"not seen from here (platform {plan.platform})"
    return (gpu_name() if plan.engine == NET else None) or f"none: engine {plan.engine} runs on the CPU"


def _counts(rows: pd.DataFrame) -> dict[str, Any]:
    named = rows["label"].str.strip().str.lower().replace("", "unlabelled")
    defects = named[is_defect(rows["label"])].value_counts().sort_index()
    boards = rows["boardname"].nunique() if "boardname" in rows.columns else 0
    return {
        "rows": len(rows),
        "pass": len(rows) - int(defects.sum()),
        "defects": {str(name): int(count) for name, count in defects.items()},
        "boards": boards,
    }


def write(result: Preflight, results_dir: Path | None = None) -> RunPaths:
    """Write preflight.json and preflight_summary.md into a run directory that has not been started; returns it."""
    workspace = Workspace.at(result.plan.workspace)
    if results_dir is not None:
        results_dir = workspace.inside(results_dir.expanduser().absolute(), "--results-dir")
    paths = RunPaths(results_dir or _waiting_run(workspace) or _new_run(workspace))
    if _is_started(paths):
        raise InputError(
            f"{paths.root}: this run is started; its plan cannot change. Leave --results-dir out for a new run"
        )
    paths.root.mkdir(parents=True, exist_ok=True)
    samples = check_data.settle(result.seen, result.plan, result.dataset, paths)
    before = read_json(paths.preflight)["approval_code"] if paths.preflight.is_file() else result.code
    news = line_news(workspace)
    said = told_news(news, result) if news else []
    text = summary(result, paths, [*said, *samples.lines], replaces=before)
    atomic_write_text(paths.preflight_summary, printable(text))
    atomic_write_json(
        paths.preflight,
        {
            "version": VERSION_OF_RECORD,
            "created": utc_now(),
            "model": result.model.record(),
            "gpu_model": gpu_model(result.findings, result.plan),
            "plan": result.plan.to_json(),
            "sources": dict(result.sources),
            "dataset": dict(result.dataset),
            "inputs": dict(result.inputs),
            "images": dict(result.images),
            "findings": [finding.record() for finding in result.findings],
            "samples": samples.record,
            "versions": {"skill": VERSION, "python": platform.python_version(), "system": platform.platform()},
            "digest": result.digest,
            "approval_code": result.code,
        },
    )
    approvals.remember(result.digest, approvals.CHECKED)
    return paths


def told_news(news: News, result: Preflight) -> list[str]:
    """What came from the line, for the Summary."""
    far = result.plan.target.far
    return [*news_lines(news, labels_of(result.dataset.get("mining_pool", {})), far.limit if far else None), ""]


def _waiting_run(workspace: Workspace) -> Path | None:
    """Newest run directory with a Summary that nobody has approved yet."""
    for run in reversed(workspace.runs()):
        if RunPaths(run).preflight.is_file() and not RunPaths(run).state.is_file():
            return run
    return None


def _new_run(workspace: Workspace) -> Path:
    name = time.strftime("run_%Y%m%d_%H%M%S", time.gmtime())
    number, path = 1, workspace.results / name
    while path.exists():
        number, path = number + 1, workspace.results / f"{name}_{number}"
    return path


def _is_started(paths: RunPaths) -> bool:
    return paths.state.is_file() and bool(read_json(paths.state).get("config", {}).get("approval"))


def find_by_code(workspace: Workspace, code: str) -> RunPaths:
    """Run directory whose Summary shows this approval code."""
    waiting = []
    for run in reversed(workspace.runs()):
        paths = RunPaths(run)
        if paths.preflight.is_file():
            shown = read_json(paths.preflight)["approval_code"]
            if shown == code.strip().upper():
                return paths
            waiting += [] if _is_started(paths) else [run.name]
    where = f"waiting: {', '.join(waiting)}" if waiting else "no Summary waits for approval"
    raise InputError(
        f"approval code {code!r} belongs to no Summary in {workspace.results} ({where}); "
        "show the Summary again: deft preflight --workspace ... --max-iterations N"
    )


def start(paths: RunPaths) -> state.State:
    """Begin the approved run; a plan or input that changed since its Summary was shown is refused."""
    record = read_json(paths.preflight)
    if _is_started(paths):
        begun = state.load(paths.state)
        if not approvals.known(record["digest"]) and approval_problem(paths, begun) is None:
            approvals.remember(record["digest"])  # started elsewhere, approved here now
            return begun
        raise InputError(f"{paths.root}: already started; go on with: deft step --results-dir {paths.root}")
    plan = _approved_plan(paths, record)
    workspace = Workspace.at(plan.workspace)
    begun = initial_state(plan, paths, approval=record["digest"], summary=record)
    if paths.state.is_file():  # pre-seeded baseline of an upstream pipeline: its checkpoint is kept
        before = state.load(paths.state)
        bank_runs.adopt(paths, before)
        begun["iterations"] |= before["iterations"]
        begun["started_at"] = before["started_at"]
    begun = state.fold(begun, journal.read(paths.log))  # a run of 7.0.x goes on where it was
    atomic_write_text(paths.spec, workspace.spec.read_text(encoding="utf-8-sig"))
    state.save(paths.state, begun)
    approvals.remember(record["digest"])
    return begun


def _approved_plan(paths: RunPaths, record: Mapping[str, Any]) -> Plan:
    """The plan of a Summary, for the workspace where it is now.

    Raises InputError where anything that its code covers is not what it was.
    """
    digest = str(record["digest"])
    asked = {**record["plan"], "workspace": str(Places.of(paths, record).workspace)}
    if approvals.known(digest, approvals.CHECKED):
        plan = _current(Plan.from_json(asked))
        covered = digests(Workspace.at(plan.workspace), plan, _hash_if_there)
        # Pictures are not opened again: `deft verify` reads every byte of them, and training what it needs.
        covered |= {name: digest for name, digest in record["inputs"].items() if name.startswith(IMAGES_OF)}
        now = code_covers(plan, covered, images())
    else:  # made elsewhere, or the note of it is gone: what this machine has not checked is checked
        result = preflight(asked)
        plan, now = result.plan, result.record()
    if approval_digest(now) != digest or code_of(digest) != record["approval_code"]:
        shown = {**record["inputs"], **record.get("images", {})}
        changed = [name for name, value in {**now["inputs"], **now["images"]}.items() if shown.get(name) != value]
        raise InputError(
            f"{', '.join(changed) or 'the plan'} changed since the Summary was shown; show the new Summary: "
            f"deft preflight --workspace {plan.workspace} --max-iterations {plan.max_iterations}"
        )
    return plan


def _hash_if_there(path: Path) -> str:
    return sha256_file(path) if path.is_file() else ""


def _current(plan: Plan) -> Plan:
    """The plan with what its platform and the generator's slots say now. Raises InputError as Pre-Flight does."""
    fixed = {"anomalygen_labels": "the approved plan"}
    plan = replace(plan, **generator_values(Workspace.at(plan.workspace), plan.to_json(), fixed))
    check_plan(plan)
    plan, _, probes = probed(plan, images())
    refuse_blocking(probes)
    return plan


def initial_state(
    plan: Plan, paths: RunPaths, *, approval: str | None, summary: Mapping[str, Any] | None = None
) -> state.State:
    """State of a run before its first stage, with the contract's `config`; `summary`: what Pre-Flight kept of it."""
    summary = summary or {}
    workspace = Workspace.at(plan.workspace)
    config = {
        "specs_file": str(workspace.spec),
        "training_csv": str(workspace.training_csv),
        "validation_csv": str(workspace.validation_csv),
        "kpi_test_csv": str(workspace.kpi_csv),
        "images_dir": str(workspace.images),
        "backbone_weight_dir": str(workspace.backbone_dir),
        "train_container": "" if plan.platform == LOCAL else image(TAO_PYT),
        "num_gpus": plan.num_gpus,
        "batch_size": plan.batch_size,
        "num_epochs": plan.num_epochs,
        "anomalygen": generator_config(plan),
        "mining_filter": {
            "sub_skill": "tao-mine-aoi-images",
            "top_k_per_target": plan.top_k_per_target,
            "metric": plan.knn_metric,
            "min_similarity": plan.min_similarity,
        },
        "approval": approval,
    }
    if model := summary.get("model"):
        config["model"] = {name: model.get(name) for name in ("sentence", "changenet")}
    if told := summary.get("gpu_model"):
        config["gpu_model"] = told
    places = Places(paths.root, workspace.root)
    begun = state.initial(
        started_at=utc_now(),
        kpi_target=plan.kpi_target,
        results_dir=str(paths.root),
        max_iterations=plan.max_iterations,
        config={**places.portable(config), "plan": plan.to_json()},
    )
    told = contract_record(plan.target)
    return begun | ({"metric_contract": told} if told else {})
