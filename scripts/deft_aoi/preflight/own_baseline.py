"""What Pre-Flight makes of a checkpoint that the user brings: where it is scored, which policy its scores allow."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError, Refusals
from deft_aoi.base.finding import BLOCK, NOTE, OK, Finding
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import IDENTITY
from deft_aoi.data.sets import POOL
from deft_aoi.engine.engine_choice import TAO
from deft_aoi.executors.platform_choice import ELSEWHERE
from deft_aoi.mining.select import BY_SCORE
from deft_aoi.preflight.inputs import Inputs
from deft_aoi.record.order import SEALED
from deft_aoi.record.run import Plan
from deft_aoi.stages.mining_tasks import TAO_ENCODER
from deft_aoi.stages.routing import INLINE
from deft_aoi.stages.score_sets import all_sets, matched, needed_sets, rows_by_set
from deft_aoi.synthetic.pregenerated import MODE as PREGEN

CHECKPOINTS = (".pth", ".ckpt")
NAME_IT = "add --baseline-ckpt FILE, its path on the machine that trains, to have it written into the export"


def with_own_baseline(asked: Mapping[str, Any], workspace: Workspace) -> dict[str, Any]:
    """`asked` with score files named from the workspace; scores without a platform mean platform `elsewhere`.

    Raises InputError for a file outside the workspace, or scores together with a platform that scores by itself.
    """
    asked = dict(asked)
    if asked.get("baseline_scores"):
        asked["baseline_scores"] = tuple(
            _inside(workspace, name, "--baseline-scores") for name in asked["baseline_scores"]
        )
        if asked.get("platform") is None and asked.get("engine") is None:
            asked["platform"] = ELSEWHERE
        if asked.get("platform") != ELSEWHERE:
            raise InputError(
                f"--baseline-scores: {asked.get('platform') or 'the embedded engine'} scores by itself; leave "
                f"--platform and --engine out, or bring the checkpoint to TAO: --baseline-ckpt"
            )
    elif asked.get("platform") == ELSEWHERE:
        raise InputError(
            f"platform {ELSEWHERE}: needs --baseline-scores CSV, the inference.csv of your ChangeNet over the KPI set "
            "(and pool or validation, where they are to be looked at); score them where your checkpoint is"
        )
    if asked.get("baseline_ckpt") and asked.get("platform") != ELSEWHERE:
        asked["baseline_ckpt"] = _inside(workspace, asked["baseline_ckpt"], "--baseline-ckpt")
        if Path(asked["baseline_ckpt"]).suffix not in CHECKPOINTS:
            raise InputError(
                f"--baseline-ckpt {asked['baseline_ckpt']}: expected a TAO checkpoint, {' or '.join(CHECKPOINTS)}"
            )
    return asked


def _inside(workspace: Workspace, name: str | Path, flag: str) -> str:
    """A file of the workspace, named from it; a relative name is looked for there, then in the working folder."""
    found = workspace.inside(workspace.brought(name), flag)
    if not found.is_file():
        raise InputError(f"{flag} {name}: no such file; expected it in {workspace.root}")
    return found.relative_to(workspace.root).as_posix()


def elsewhere_defaults(asked: Mapping[str, Any], inputs: Inputs, defaults: MutableMapping[str, Any]) -> str:
    """Change the defaults to what platform `elsewhere` can do; returns why the policy is another, else nothing."""
    if asked.get("platform") != ELSEWHERE:
        return ""
    defaults["acceptance"] = "off"
    policy = defaults["policy"]
    if policy not in BY_SCORE or policy == "uncertain":  # nothing else works without labels: the check names the rows
        return ""
    reasons = []
    if (asked.get("synthetic") or defaults["synthetic"]) == PREGEN:
        reasons.append(f"{policy} also needs scores of the pre-generated pairs, which nobody has: --synthetic off")
    if missing := without_score(asked, inputs):
        reasons.append(f"{policy} needs a score for every pool row, {missing}: bring them")
    if reasons:
        defaults["policy"] = "knn+label"
    return "; ".join(reasons) + (f" to get {policy}" if reasons else "")


def without_score(asked: Mapping[str, Any], inputs: Inputs) -> str:
    """How many pool rows the scores leave out, in words; nothing where each has one.

    What cannot be read, or fits no row, is the check's business: the run is refused then.
    """
    workspace = inputs.workspace
    try:
        seen = inputs.optics
        sets = all_sets(workspace, seen)
        pool = next(one for one in sets if one.name == POOL)
        files = [workspace.root / name for name in asked["baseline_scores"]]
        scored = rows_by_set(matched(files, sets, [], seen, workspace.root), sets).get(POOL, 0)
    except InputError:
        return "which was not examined"
    rows = len(pool.rows.drop_duplicates(list(IDENTITY)))
    return f"{rows - scored} of {rows} have none" if scored < rows else ""


def check_own_baseline(plan: Plan) -> None:
    """Refuse what a model from outside cannot do."""
    if plan.baseline_ckpt and plan.engine != TAO:
        raise InputError(
            f"--baseline-ckpt: engine {plan.engine} cannot load a TAO checkpoint; choose a platform with TAO, or bring "
            f"its scores: --baseline-scores CSV (platform {ELSEWHERE})"
        )
    if plan.baseline_ckpt and plan.noise_floor:
        raise InputError("--noise-floor: the baseline is your own checkpoint and is not trained; leave one of them out")
    if plan.platform != ELSEWHERE:
        return
    needs_here = {
        "--noise-floor": plan.noise_floor,
        f"--acceptance {SEALED}": plan.acceptance == SEALED,
        f"--encoder {TAO_ENCODER}": plan.encoder == TAO_ENCODER,
        f"--synthetic {INLINE}": plan.synthetic == INLINE,
        f"--policy {plan.policy} with --synthetic {PREGEN}": plan.policy in BY_SCORE and plan.synthetic == PREGEN,
    }
    for flag, asked in needs_here.items():
        if asked:
            raise InputError(
                f"{flag}: needs TAO or a model on this machine, platform {ELSEWHERE} has none; leave it out"
            )


def own_files(plan: Plan) -> list[str]:
    """What the user brought, named from the workspace: the approval covers its bytes."""
    here = [plan.baseline_ckpt] if plan.baseline_ckpt and plan.platform != ELSEWHERE else []
    return [*plan.baseline_scores, *here]


def own_baseline_findings(inputs: Inputs, plan: Plan) -> list[Finding]:
    """(10) the scores that were brought fit KPI, validation and pool, row by row."""
    if plan.platform != ELSEWHERE:
        return [Finding(8, OK, f"baseline: your checkpoint {plan.baseline_ckpt}")] if plan.baseline_ckpt else []
    workspace = inputs.workspace
    files = [workspace.root / name for name in plan.baseline_scores]
    try:
        seen = inputs.optics
        needed = [one.name for one in needed_sets(plan, workspace, seen)]
        sets = all_sets(workspace, seen)
        table = matched(files, sets, needed, seen, workspace.root)
    except Refusals as refusals:
        return [Finding(10, BLOCK, f"baseline scores: {problem}") for problem in refusals.problems]
    except InputError as error:
        return [Finding(10, BLOCK, f"baseline scores: {error}")]
    counts = ", ".join(f"{count} {name}" for name, count in rows_by_set(table, sets).items())
    text = f"baseline scores: {len(table)} parts ({counts} rows); the first FAR is that of your model"
    found = [Finding(10, NOTE, text)]
    if not plan.baseline_ckpt:
        what = "not given: the export's train command will ask for your checkpoint"
        found.append(Finding(10, NOTE, what, where="--baseline-ckpt", next=NAME_IT))
    if workspace.acceptance_csv.is_file():
        text = f"{workspace.acceptance_csv.name} stays sealed: platform {ELSEWHERE} cannot score it here"
        found.append(Finding(10, NOTE, text))
    return found
