"""Pre-Flight's checks: each looks at what was read and returns findings; a finding that blocks refuses the run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from deft_aoi.base.errors import DeftError
from deft_aoi.base.files import check_locks
from deft_aoi.base.finding import BLOCK, NOTE, OK, Finding
from deft_aoi.base.paths import SKILL_ROOT, RunPaths, Workspace
from deft_aoi.base.rows import PASS, check_labels, check_repeats, is_defect, training_repeats
from deft_aoi.base.safe_paths import spec_path_problems
from deft_aoi.data.leakage import Leaks, find_leaks
from deft_aoi.data.pairs import label_from_name, list_images, match_pairs
from deft_aoi.data.sets import ACCEPTANCE, JUDGES, KPI, POOL, TRAINING, VALIDATION
from deft_aoi.executors.base import Probe
from deft_aoi.preflight.check_backbone import backbone_findings
from deft_aoi.preflight.check_machine import fit_findings
from deft_aoi.preflight.check_rows import image_findings, row_findings
from deft_aoi.preflight.check_spec import spec_findings
from deft_aoi.preflight.generator_plan import generator_findings
from deft_aoi.preflight.inputs import Inputs, Table
from deft_aoi.record import acceptance_ledger, order
from deft_aoi.record.run import Plan, read_json
from deft_aoi.spec.tree import Optics
from deft_aoi.stages.anomalygen_patches import MODE as PATCHES
from deft_aoi.stages.routing import INLINE
from deft_aoi.stages.task_specs import staged_backbone
from deft_aoi.synthetic.pregenerated import MODE as PREGEN

REFERENCES = (
    "preflight", "data-layout", "pipeline-and-state", "visual-changenet", "tao-analyze-gaps-visual-changenet",
    "tao-route-visual-changenet-samples", "paidf-anomalygen", "tao-mine-aoi-images", "prepare-for-inference",
    "kpi-and-gate", "platforms", "REPORT_RENDERING", "commands", "scripts-and-agents", "troubleshooting",
    "import-and-score", "glossary", "page", "coming-from-nvidia", "trained-elsewhere",
)  # fmt: skip


def all_checks(inputs: Inputs, plan: Plan, probes: Sequence[Probe]) -> list[Finding]:
    """The ten checks in order. One that cannot be made because of what another found says the same, once.

    `probes` is what the platform's executor found (checks 3 to 6, and 8 and 9 where it knows the GPUs).
    """
    findings = _guard(1, lambda: readable(inputs, plan))
    findings += _guard(2, references)
    findings += probes
    findings += _guard(7, lambda: path_rule(inputs))
    findings += _guard(8, lambda: assets(inputs, plan))
    findings += _guard(9, lambda: fit_findings(inputs.spec, plan, probes, inputs.workspace.root))
    findings += _guard(9, lambda: sizes(inputs, plan))
    findings += _guard(10, lambda: data(inputs, plan))
    once: dict[str, Finding] = {}
    for finding in findings:
        once.setdefault(finding.text, finding)
    return sorted(once.values(), key=lambda finding: finding.check)


def _guard(number: int, check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except DeftError as error:
        return [Finding(number, BLOCK, str(error))]


def _refused(number: int, check: Callable[[], object]) -> list[Finding]:
    """What a check that only raises has against the run."""
    try:
        check()
    except DeftError as error:
        return [Finding(number, BLOCK, str(error))]
    return []


def readable(inputs: Inputs, plan: Plan) -> list[Finding]:
    """(1) spec and CSVs are there, readable and what TAO takes; an unfinished run is named."""
    found = [Finding(1, OK, f"workspace {inputs.workspace.root}")]
    found += _refused(1, lambda: check_locks(inputs.workspace.results))
    found += _guard(1, lambda: [Finding(1, BLOCK, problem) for problem in inputs.spec_problems])
    found += _guard(1, lambda: spec_findings(inputs.spec, plan))
    found += _guard(1, lambda: _lights(inputs.optics))
    for name in (TRAINING, VALIDATION, KPI, *((POOL,) if POOL in inputs.tables else ())):
        found += _guard(1, lambda name=name: _readable(inputs.tables[name]))  # type: ignore[misc]
    if (run := unfinished_run(inputs.workspace)) is not None:
        again = f"to go on with it instead: deft step --results-dir {run}"
        found.append(Finding(1, NOTE, "an unfinished run is there", next=again))
    return found


def _lights(seen: Optics) -> list[Finding]:
    return [Finding(1, OK, f"lights {', '.join(seen.lights)}, {seen.width} x {seen.height} pixels, {seen.ext}")]


def _readable(table: Table) -> list[Finding]:
    csv, rows = table.csv, table.rows
    found = [Finding(1, OK, f"{len(rows)} rows", where=csv.name), *row_findings(table, 1)]
    if table.name == TRAINING:
        found += _guard(1, lambda: [Finding(1, NOTE, text)] if (text := training_repeats(csv, rows)) else [])
    elif table.name != POOL:
        found += _refused(1, lambda: check_repeats(csv, rows))
    return found


def unfinished_run(workspace: Workspace) -> Path | None:
    """Newest started run whose journal does not end with loop_stop."""
    from deft_aoi.record.journal import read

    for run in reversed(workspace.runs()):
        paths = RunPaths(run)
        if paths.state.is_file() and read_json(paths.state).get("config", {}).get("approval"):
            last = order.last_deciding(read(paths.log))
            if last is None or last["stage"] != order.LOOP_STOP:
                return run
    return None


def references() -> list[Finding]:
    """(2) every reference that SKILL.md points to is installed."""
    missing = [name for name in REFERENCES if not (SKILL_ROOT / f"references/{name}.md").is_file()]
    if missing:
        text = f"references/{missing[0]}.md is missing ({len(missing)} files): reinstall the skill"
        return [Finding(2, BLOCK, text)]
    return [Finding(2, OK, f"{len(REFERENCES)} references present")]


def path_rule(inputs: Inputs) -> list[Finding]:
    """(7) every output is below <workspace>/results; none goes to a container's /results."""
    workspace = inputs.workspace
    problems = list(spec_path_problems(inputs.spec, workspace.root, str(workspace.spec)))
    if problems:
        return [Finding(7, BLOCK, problem) for problem in problems]
    return [Finding(7, OK, f"all output goes to {workspace.results}")]


def assets(inputs: Inputs, plan: Plan) -> list[Finding]:
    """(8) what is staged: backbone, mining pool, pre-generated pairs."""
    workspace = inputs.workspace
    found = _guard(8, lambda: backbone_findings(inputs.spec, plan, workspace))
    seen, pool = inputs.optics, inputs.pool
    if POOL in inputs.tables:
        found += _guard(8, lambda: image_findings(workspace.pool_csv, pool, workspace.root, seen, workspace.root, 8))
        found.append(Finding(8, OK, f"{len(pool)} rows, {pool['label'].nunique()} labels", where="mining pool"))
    else:
        found.append(_without_pool(workspace, plan))
    if weights := staged_backbone(plan.engine, workspace.backbone_dir):
        found += _refused(8, lambda: workspace.inside(weights, "backbone; copy it with stage_backbone.py"))
    if plan.synthetic == PREGEN:
        found.append(pregen_pairs(workspace, seen))
    if plan.synthetic == PATCHES:
        found.append(patch_sources(inputs))
    if plan.synthetic == INLINE:
        found += generator_findings(workspace, plan, seen)
    return found


def _without_pool(workspace: Workspace, plan: Plan) -> Finding:
    """What a run without mining pool lives from."""
    text = f"no {workspace.pool_csv}"
    if plan.synthetic == order.OFF or plan.pool == order.ON:
        remedy = "put it there, or let rows be made: --synthetic patches (TAO: inference_only)"
        return Finding(8, BLOCK, text, where="mining pool", expected="new rows of some kind", next=remedy)
    return Finding(8, NOTE, f"{text}: every new row of an iteration is synthetic ({plan.synthetic})")


def patch_sources(inputs: Inputs) -> Finding:
    """How many PASS rows patched pairs can be made from: those of boards that judge nothing."""
    judges = [inputs.tables[name].rows for name in JUDGES if name in inputs.tables]
    held = {board for rows in judges if "boardname" in rows.columns for board in rows["boardname"]} - {""}
    rows = inputs.tables[TRAINING].rows
    boards = rows["boardname"] if "boardname" in rows.columns else pd.Series("", rows.index)
    usable = int(((rows["label"] == PASS) & ~boards.isin(held)).sum())
    text = f"pairs are made from {usable} PASS training rows of boards that judge nothing"
    if usable:
        return Finding(8, OK, text, where=PATCHES)
    return Finding(8, BLOCK, text, where=PATCHES, next="add some, or pass --synthetic off")


def has_pregen(workspace: Workspace) -> bool:
    """Whether anything is in the folder of pre-generated NG images."""
    return workspace.pregen_ng.is_dir() and any(workspace.pregen_ng.iterdir())


def pregen_pairs(workspace: Workspace, seen: Optics) -> Finding:
    """How many pre-generated pairs are usable, and what is skipped."""
    tests = list_images(workspace.pregen_ng, "pre-generated NG", workspace.root)
    goldens = list_images(workspace.pregen_ok, "pre-generated OK", workspace.root)
    pairs, skipped = match_pairs(tests, goldens, seen.lights, label_from_name)
    text = f"pre-generated pairs: {len(pairs)} usable, {len(skipped)} files skipped"
    if not pairs:
        return Finding(8, BLOCK, f"{text}: {skipped[0].file}: {skipped[0].reason}")
    return Finding(8, NOTE if skipped else OK, text + (f" ({skipped[0].file}: {skipped[0].reason})" if skipped else ""))


def sizes(inputs: Inputs, plan: Plan) -> list[Finding]:
    """(9) row counts that TAO accepts: no set smaller than what its GPUs take at once, defects and PASS in each."""
    found = []
    for name in (TRAINING, VALIDATION, KPI):
        found += _guard(9, lambda name=name: [_size(inputs.tables[name], plan)])  # type: ignore[misc]
    if plan.batch_size < 2:
        found.append(Finding(9, BLOCK, "TAO refuses less than 2", where=f"batch_size {plan.batch_size}"))
    return found


def _size(table: Table, plan: Plan) -> Finding:
    rows, where = table.rows, table.csv.name
    defects = int(is_defect(rows["label"]).sum())
    text = f"{len(rows)} rows, {defects} defects"
    gpus = 1 if table.name == KPI else plan.num_gpus  # inference takes one, so that rows keep their order
    if len(rows) < plan.batch_size * gpus:
        at_once = f"batch_size {plan.batch_size}" + (f" on {gpus} GPUs" if gpus > 1 else "")
        remedy = f"smaller than {at_once}, which TAO refuses: pass --batch-size {max(len(rows) // gpus, 2)}"
        return Finding(9, BLOCK, text, where=where, next=remedy)
    if defects in (0, len(rows)):
        both = "PASS rows and defects: recall and FAR need both, and TAO fails without a defect"
        return Finding(9, BLOCK, text, where=where, expected=both)
    return Finding(9, OK, text, where=where)


def data(inputs: Inputs, plan: Plan) -> list[Finding]:
    """(10) every image of every light is there, and no row is in two sets."""
    workspace, seen = inputs.workspace, inputs.optics
    sealed = (ACCEPTANCE,) if plan.acceptance == order.SEALED else ()
    tables = {name: inputs.tables[name] for name in (TRAINING, VALIDATION, KPI, *sealed)}
    found = [finding for table in tables.values() for finding in _refused(10, lambda table=table: table.rows)]  # type: ignore[misc]
    there = {name: table for name, table in tables.items() if isinstance(table.read, pd.DataFrame)}
    for table in there.values():
        found += _guard(10, lambda table=table: _images(table, workspace, seen))  # type: ignore[misc]
    if not found:
        found.append(Finding(10, OK, f"all images of {', '.join(seen.lights)} are there"))
    if ACCEPTANCE in there:
        found += _guard(10, lambda: acceptance(workspace, there[ACCEPTANCE]))
    for one, other in itertools.combinations(there.values(), 2):
        found.append(_overlap(find_leaks(one.rows, other.rows), one.csv, other.csv))
    for table in (table for name, table in there.items() if name != TRAINING and POOL in inputs.tables):
        leaks = find_leaks(inputs.pool, table.rows, images_first=workspace.root, images_second=workspace.images)
        found.append(_overlap(leaks, workspace.pool_csv, table.csv))
    return found


def acceptance(workspace: Workspace, table: Table) -> list[Finding]:
    """(10) the sealed set has both classes, no row twice; how often it was opened before."""
    rows, where = table.rows, table.csv.name
    check_labels(rows, table.csv)
    check_repeats(table.csv, rows)
    defects = int(is_defect(rows["label"]).sum())
    text = f"{len(rows)} rows, {defects} defects, sealed"
    if defects in (0, len(rows)):
        both = "PASS rows and defects: it proves nothing of a class it lacks"
        return [Finding(10, BLOCK, text, where=where, expected=both)]
    before = acceptance_ledger.seen_before(workspace, acceptance_ledger.Sealed(table.sha256, rows))
    if before:
        text += f"; already opened {before} times, so the report will call the next opening number {before + 1}"
    return [Finding(10, NOTE if before else OK, text, where=where)]


def _images(table: Table, workspace: Workspace, seen: Optics) -> list[Finding]:
    return image_findings(table.csv, table.rows, workspace.images, seen, workspace.root, 10)


def _overlap(leaks: Leaks, first: Path, second: Path) -> Finding:
    if leaks:
        return Finding(10, BLOCK, leaks.at(first, second).sentence(str(first), str(second)), where="leakage")
    return Finding(10, OK, f"{first.name} and {second.name} share no row")
