"""Pre-Flight's checks: each reads only and returns findings; a finding that blocks refuses the run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from deft_aoi.base.errors import DeftError
from deft_aoi.base.finding import Finding
from deft_aoi.base.paths import SKILL_ROOT, RunPaths, Workspace
from deft_aoi.base.rows import check_labels, check_repeats, is_defect, read_pool, read_rows
from deft_aoi.base.safe_paths import spec_path_problems
from deft_aoi.data.leakage import Leaks, find_leaks
from deft_aoi.data.pairs import label_from_name, list_images, match_pairs
from deft_aoi.executors.base import Probe
from deft_aoi.preflight.check_backbone import backbone_findings
from deft_aoi.preflight.check_machine import fit_findings
from deft_aoi.preflight.check_rows import image_findings, row_findings
from deft_aoi.preflight.check_spec import spec_findings
from deft_aoi.preflight.generator_plan import generator_findings
from deft_aoi.record import acceptance_ledger, order
from deft_aoi.record.run import Plan, read_json
from deft_aoi.spec.tree import Optics, Spec, optics, read_spec
from deft_aoi.stages.routing import INLINE
from deft_aoi.stages.task_specs import staged_backbone
from deft_aoi.synthetic.pregenerated import MODE as PREGEN

REFERENCES = (
    "preflight", "data-layout", "pipeline-and-state", "visual-changenet", "tao-analyze-gaps-visual-changenet",
    "tao-route-visual-changenet-samples", "paidf-anomalygen", "tao-mine-aoi-images", "prepare-for-inference",
    "kpi-and-gate", "platforms", "REPORT_RENDERING", "scripts-and-agents", "troubleshooting",
)  # fmt: skip


def all_checks(workspace: Workspace, plan: Plan, probes: Sequence[Probe]) -> list[Finding]:
    """The ten checks in order. One that cannot be made because of what another found says the same, once.

    `probes` is what the platform's executor found (checks 3 to 6, and 8 and 9 where it knows the GPUs).
    """
    findings = _guard(1, lambda: inputs(workspace, plan))
    findings += _guard(2, references)
    findings += [Finding(probe.check, probe.level, probe.text) for probe in probes]
    findings += _guard(7, lambda: path_rule(workspace))
    findings += _guard(8, lambda: assets(workspace, plan))
    findings += _guard(9, lambda: fit_findings(spec_of(workspace), plan, probes, workspace.root))
    findings += _guard(9, lambda: sizes(workspace, plan))
    findings += _guard(10, lambda: data(workspace, plan))
    once: dict[str, Finding] = {}
    for finding in findings:
        once.setdefault(finding.text, finding)
    return sorted(once.values(), key=lambda finding: finding.check)


def _guard(number: int, check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except DeftError as error:
        return [Finding(number, "block", str(error))]


def _refused(number: int, check: Callable[[], object]) -> list[Finding]:
    """What a check that only raises has against the run."""
    try:
        check()
    except DeftError as error:
        return [Finding(number, "block", str(error))]
    return []


def inputs(workspace: Workspace, plan: Plan) -> list[Finding]:
    """(1) spec and CSVs are there, readable and what TAO takes; an unfinished run is named."""
    found = [Finding(1, "ok", f"workspace {workspace.root}")]
    found += _guard(1, lambda: [Finding(1, "block", problem) for problem in read_spec(workspace.spec)[1]])
    found += _guard(1, lambda: spec_findings(spec_of(workspace), plan))
    found += _guard(1, lambda: _lights(workspace))
    for path in (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv, workspace.pool_csv):
        found += _guard(1, lambda path=path: _readable(path))  # type: ignore[misc]
    if (run := unfinished_run(workspace)) is not None:
        text = f"an unfinished run is there; to go on with it instead: deft step --results-dir {run}"
        found.append(Finding(1, "note", text))
    return found


def spec_of(workspace: Workspace) -> Spec:
    """The spec without keys and values that a finding of check 1 refuses, so that every other check can be made."""
    return read_spec(workspace.spec)[0]


def _lights(workspace: Workspace) -> list[Finding]:
    seen = optics(spec_of(workspace), workspace.spec)
    return [Finding(1, "ok", f"lights {', '.join(seen.lights)}, {seen.width} x {seen.height} pixels, {seen.ext}")]


def _readable(path: Path) -> list[Finding]:
    required = ("golden_path", "label") if path.name == "mining_pool.csv" else None
    rows = read_rows(path) if required is None else read_rows(path, required=required)
    found = [Finding(1, "ok", f"{path.name}: {len(rows)} rows"), *row_findings(path, rows, 1, required is not None)]
    found += _refused(1, lambda: check_labels(rows, path, unlabelled=required is not None))
    if required is None:
        found += _refused(1, lambda: check_repeats(path, rows))
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
        return [Finding(2, "block", text)]
    return [Finding(2, "ok", f"{len(REFERENCES)} references present")]


def path_rule(workspace: Workspace) -> list[Finding]:
    """(7) every output lies below <workspace>/results; none goes to a container's /results."""
    problems = list(spec_path_problems(spec_of(workspace), workspace.root, str(workspace.spec)))
    if problems:
        return [Finding(7, "block", problem) for problem in problems]
    return [Finding(7, "ok", f"all output goes to {workspace.results}")]


def assets(workspace: Workspace, plan: Plan) -> list[Finding]:
    """(8) what is staged: backbone, mining pool, pre-generated pairs."""
    found = _guard(8, lambda: backbone_findings(spec_of(workspace), plan, workspace))
    seen = optics(spec_of(workspace), workspace.spec)
    pool = read_pool(workspace.pool_csv, workspace.root, seen.lights, seen.ext)
    found += _guard(8, lambda: image_findings(workspace.pool_csv, pool, workspace.root, seen, workspace.root, 8))
    if weights := staged_backbone(plan.engine, workspace.backbone_dir):
        found += _refused(8, lambda: workspace.inside(weights, "backbone; copy it with stage_backbone.py"))
    found.append(Finding(8, "ok", f"mining pool: {len(pool)} rows, {pool['label'].nunique()} labels"))
    if plan.synthetic == PREGEN:
        found.append(pregen_pairs(workspace, seen))
    if plan.synthetic == INLINE:
        found += [Finding(8, level, text) for level, text in generator_findings(workspace, plan, seen)]
    return found


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
    """(9) row counts that TAO accepts: no set smaller than what its GPUs take at once, defects and PASS in each."""
    found = []
    for path in (workspace.training_csv, workspace.validation_csv, workspace.kpi_csv):
        found += _guard(9, lambda path=path: [_size(path, plan, workspace)])  # type: ignore[misc]
    if plan.batch_size < 2:
        found.append(Finding(9, "block", f"batch_size {plan.batch_size}: TAO refuses less than 2"))
    return found


def _size(path: Path, plan: Plan, workspace: Workspace) -> Finding:
    rows = read_rows(path)
    defects = int(is_defect(rows["label"]).sum())
    text = f"{path.name}: {len(rows)} rows, {defects} defects"
    gpus = 1 if path == workspace.kpi_csv else plan.num_gpus  # inference takes one, so that rows keep their order
    if len(rows) < plan.batch_size * gpus:
        at_once = f"batch_size {plan.batch_size}" + (f" on {gpus} GPUs" if gpus > 1 else "")
        text += f"; smaller than {at_once}, which TAO refuses: pass --batch-size {max(len(rows) // gpus, 2)}"
        return Finding(9, "block", text)
    if defects in (0, len(rows)):
        text += "; expected PASS rows and defects: recall and FAR need both, and TAO fails without a defect"
        return Finding(9, "block", text)
    return Finding(9, "ok", text)


def data(workspace: Workspace, plan: Plan) -> list[Finding]:
    """(10) every image of every light is there, and no row stands in two sets."""
    seen = optics(spec_of(workspace), workspace.spec)
    csvs = {"training": workspace.training_csv, "validation": workspace.validation_csv, "kpi": workspace.kpi_csv}
    sealed = plan.acceptance == order.SEALED
    csvs |= {"acceptance": workspace.acceptance_csv} if sealed else {}
    found: list[Finding] = []
    tables: dict[str, pd.DataFrame] = {}
    for name, path in csvs.items():
        found += _refused(10, lambda name=name, path=path: tables.update({name: read_rows(path)}))  # type: ignore[misc]
    for name, rows in tables.items():
        found += _guard(10, lambda name=name, rows=rows: _images(csvs[name], rows, workspace, seen))  # type: ignore[misc]
    if not found:
        found.append(Finding(10, "ok", f"all images of {', '.join(seen.lights)} are there"))
    if "acceptance" in tables:
        found += _guard(10, lambda: acceptance(workspace, tables["acceptance"]))
    for one, other in itertools.combinations(tables, 2):
        found.append(_overlap(find_leaks(tables[one], tables[other]), csvs[one], csvs[other]))
    pool = read_pool(workspace.pool_csv, workspace.root, seen.lights, seen.ext)
    for name in (name for name in tables if name != "training"):
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
    before = acceptance_ledger.seen_before(workspace, csv)
    if before:
        text += f"; already opened {before} times, so the report will call the next opening number {before + 1}"
    return [Finding(10, "note" if before else "ok", text)]


def _images(csv: Path, rows: pd.DataFrame, workspace: Workspace, seen: Optics) -> list[Finding]:
    return image_findings(csv, rows, workspace.images, seen, workspace.root, 10)


def _overlap(leaks: Leaks, first: Path, second: Path) -> Finding:
    if leaks:
        return Finding(10, "block", f"leakage: {leaks.sentence(str(first), str(second))}")
    return Finding(10, "ok", f"{first.name} and {second.name} share no row")
