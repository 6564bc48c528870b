"""Pre-Flight's checks: each reads only and returns findings; a finding that blocks refuses the run."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from deft_aoi import openings, pipeline
from deft_aoi.confine import check_spec_paths
from deft_aoi.contracts import check_images, check_labels, check_repeats, is_defect, read_pool, read_rows
from deft_aoi.data.leakage import Leaks, find_leaks
from deft_aoi.data.pairs import label_from_name, list_images, match_pairs
from deft_aoi.data.pregen import MODE as PREGEN
from deft_aoi.errors import DeftError
from deft_aoi.executors.base import Probe
from deft_aoi.experiment import Optics, get, load_spec, optics
from deft_aoi.paths import SKILL_ROOT, RunPaths, Workspace
from deft_aoi.run import Plan, read_json
from deft_aoi.stages.generator_plan import generator_findings
from deft_aoi.stages.routing import INLINE
from deft_aoi.stages.specs import staged_backbone

REFERENCES = (
    "preflight", "data-layout", "pipeline-and-state", "visual-changenet", "tao-analyze-gaps-visual-changenet",
    "tao-route-visual-changenet-samples", "paidf-anomalygen", "tao-mine-aoi-images", "prepare-for-inference",
    "kpi-and-gate", "platforms", "REPORT_RENDERING", "scripts-and-agents", "troubleshooting",
)  # fmt: skip
_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """`level`: ok | note | block. `check` is the number of the contract's ordered check."""

    check: int
    level: str
    text: str


def all_checks(workspace: Workspace, plan: Plan, probes: Sequence[Probe]) -> list[Finding]:
    """The ten checks in order; a check that cannot be made because an earlier one blocks is left out.

    `probes` is what the platform's executor found (checks 3 to 6, and 8 and 9 where it knows the GPUs).
    """
    findings = _guard(1, lambda: inputs(workspace))
    findings += _guard(2, references)
    findings += [Finding(probe.check, probe.level, probe.text) for probe in probes]
    findings += _guard(7, lambda: path_rule(workspace))
    if any(finding.level == "block" for finding in findings):
        return findings
    seen = optics(load_spec(workspace.spec), workspace.spec)
    findings += _guard(8, lambda: assets(workspace, plan, seen))
    findings += _guard(9, lambda: sizes(workspace, plan))
    findings += _guard(10, lambda: data(workspace, plan, seen))
    return findings


def _guard(number: int, check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except DeftError as error:
        return [Finding(number, "block", str(error))]


def inputs(workspace: Workspace) -> list[Finding]:
    """(1) spec and CSVs are there and readable; an unfinished run is named."""
    spec = load_spec(workspace.spec)
    optics(spec, workspace.spec)
    found = [Finding(1, "ok", f"workspace {workspace.root}")]
    for path in (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv, workspace.pool_csv):
        found += _guard(1, lambda path=path: _readable(path))  # type: ignore[misc]
    if (run := unfinished_run(workspace)) is not None:
        text = f"an unfinished run is there; to go on with it instead: deft step --results-dir {run}"
        found.append(Finding(1, "note", text))
    return found


def _readable(path: Path) -> list[Finding]:
    required = ("input_path", "golden_path", "label") if path.name == "mining_pool.csv" else None
    rows = read_rows(path) if required is None else read_rows(path, required=required)
    check_labels(rows, path, unlabelled=required is not None)
    if required is None:
        check_repeats(path, rows)
    return [Finding(1, "ok", f"{path.name}: {len(rows)} rows")]


def unfinished_run(workspace: Workspace) -> Path | None:
    """Newest started run whose journal does not end with loop_stop."""
    from deft_aoi.journal import read

    for run in reversed(workspace.runs()):
        paths = RunPaths(run)
        if paths.state.is_file() and read_json(paths.state).get("config", {}).get("approval"):
            last = pipeline.last_deciding(read(paths.log))
            if last is None or last["stage"] != pipeline.LOOP_STOP:
                return run
    return None


def references() -> list[Finding]:
    """(2) every reference that SKILL.md points to is installed."""
    missing = [name for name in REFERENCES if not (SKILL_ROOT / f"references/{name}.md").is_file()]
    if missing:
        text = f"references/{missing[0]}.md is missing ({len(missing)} files): reinstall the skill"
        return [Finding(2, "block", text)]
    return [Finding(2, "ok", f"{len(REFERENCES)} references present")]


def path_rule(workspace: Workspace) -> list[Finding]:
    """(7) every output lies below <workspace>/results; none goes to a container's /results."""
    spec = load_spec(workspace.spec)
    for key in ("results_dir", "train.results_dir", "inference.results_dir", "evaluate.results_dir"):
        value = get(spec, key)
        if value and "$" not in str(value):
            workspace.inside(str(value), f"{workspace.spec}: {key}")
    check_spec_paths(spec, workspace.root, str(workspace.spec))
    return [Finding(7, "ok", f"all output goes to {workspace.results}")]


def assets(workspace: Workspace, plan: Plan, seen: Optics) -> list[Finding]:
    """(8) what is staged: backbone, mining pool, pre-generated pairs; free disk."""
    found = []
    found.append(Finding(8, "ok", f"backbone: {backbone_words(workspace, plan)}"))
    pool = read_pool(workspace.pool_csv, workspace.root, seen.lights, seen.ext)
    check_images(pool, workspace.pool_csv, workspace.root, seen.lights, seen.ext, root=workspace.root)
    if weights := staged_backbone(plan.engine, workspace.backbone_dir):
        workspace.inside(weights, "backbone; copy it with stage_backbone.py")
    found.append(Finding(8, "ok", f"mining pool: {len(pool)} rows, {pool['label'].nunique()} labels"))
    if plan.synthetic == PREGEN:
        found.append(pregen_pairs(workspace, seen))
    if plan.synthetic == INLINE:
        found += [Finding(8, level, text) for level, text in generator_findings(workspace, plan, seen)]
    free = shutil.disk_usage(workspace.root).free
    level = "ok" if free > _FREE_BYTES else "block"
    found.append(Finding(8, level, f"disk: {free / (1 << 30):.1f} GiB free (1 GiB needed)"))
    return found


def backbone_words(workspace: Workspace, plan: Plan) -> str:
    """Which backbone the training starts from."""
    spec = load_spec(workspace.spec)
    weights = staged_backbone(plan.engine, workspace.backbone_dir)
    if weights is None or not get(spec, "model.backbone.pretrained_backbone_path"):
        return f"none is used; engine {plan.engine} needs none"
    frozen = get(spec, "model.backbone.freeze_backbone", False)
    return f"staged {weights.name}, {'frozen' if frozen else 'fine-tuned'} by engine {plan.engine}"


def has_pregen(workspace: Workspace) -> bool:
    """Whether anything lies in the folder of pre-generated NG images."""
    return workspace.pregen_ng.is_dir() and any(workspace.pregen_ng.iterdir())


def pregen_pairs(workspace: Workspace, seen: Optics) -> Finding:
    """How many pre-generated pairs are usable, and what is skipped."""
    tests = list_images(workspace.pregen_ng, "pre-generated NG", workspace.root)
    goldens = list_images(workspace.pregen_ok, "pre-generated OK", workspace.root)
    pairs, skipped = match_pairs(tests, goldens, seen.lights, label_from_name)
    text = f"pre-generated pairs: {len(pairs)} usable, {len(skipped)} files skipped"
    if not pairs:
        return Finding(8, "block", f"{text}: {skipped[0].file}: {skipped[0].reason}")
    return Finding(
        8, "note" if skipped else "ok", text + (f" ({skipped[0].file}: {skipped[0].reason})" if skipped else "")
    )


def sizes(workspace: Workspace, plan: Plan) -> list[Finding]:
    """(9) row counts that the training accepts: no set smaller than a batch, defects and PASS in each."""
    found = []
    for path in (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv):
        rows = read_rows(path)
        defects = int(is_defect(rows["label"]).sum())
        text = f"{path.name}: {len(rows)} rows, {defects} defects"
        if len(rows) < plan.batch_size:
            text += f"; smaller than batch_size {plan.batch_size}, which TAO refuses: pass --batch-size {len(rows)}"
            found.append(Finding(9, "block", text))
        elif defects in (0, len(rows)):
            text += "; expected PASS rows and defects: recall and FAR need both, and TAO fails without a defect"
            found.append(Finding(9, "block", text))
        else:
            found.append(Finding(9, "ok", text))
    if plan.batch_size < 2:
        found.append(Finding(9, "block", f"batch_size {plan.batch_size}: TAO refuses less than 2"))
    return found


def data(workspace: Workspace, plan: Plan, seen: Optics) -> list[Finding]:
    """(10) every image of every light is there, and no row stands in two sets."""
    csvs = {"training": workspace.training_csv, "validation": workspace.validation_csv, "kpi": workspace.kpi_csv}
    sealed = plan.acceptance == pipeline.SEALED
    csvs |= {"acceptance": workspace.acceptance_csv} if sealed else {}
    tables = {name: read_rows(path) for name, path in csvs.items()}
    found = acceptance(workspace, tables["acceptance"]) if sealed else []
    for name, rows in tables.items():
        check_images(rows, csvs[name], workspace.images, seen.lights, seen.ext, root=workspace.root)
    found.append(Finding(10, "ok", f"all images of {', '.join(seen.lights)} are there"))
    for one, other in itertools.combinations(tables, 2):
        leaks = find_leaks(tables[one], tables[other])
        found.append(_overlap(leaks, csvs[one], csvs[other]))
    pool = read_pool(workspace.pool_csv, workspace.root, seen.lights, seen.ext)
    for name in list(tables)[1:]:
        leaks = find_leaks(pool, tables[name], images_first=workspace.root, images_second=workspace.images)
        found.append(_overlap(leaks, workspace.pool_csv, csvs[name]))
    return found


def acceptance(workspace: Workspace, rows: pd.DataFrame) -> list[Finding]:
    """(10) the sealed set has both classes, no row twice; how often it was opened before."""
    csv = workspace.acceptance_csv
    check_labels(rows, csv)
    check_repeats(csv, rows)
    defects = int(is_defect(rows["label"]).sum())
    text = f"{csv.name}: {len(rows)} rows, {defects} defects, sealed"
    if defects in (0, len(rows)):
        return [Finding(10, "block", f"{text}; expected PASS rows and defects: it proves nothing of a class it lacks")]
    before = openings.seen_before(workspace, csv)
    if before:
        text += f"; already opened {before} times, so the report will call the next opening number {before + 1}"
    return [Finding(10, "note" if before else "ok", text)]


def _overlap(leaks: Leaks, first: Path, second: Path) -> Finding:
    if leaks:
        return Finding(10, "block", f"leakage: {leaks.sentence(str(first), str(second))}")
    return Finding(10, "ok", f"{first.name} and {second.name} share no row")
