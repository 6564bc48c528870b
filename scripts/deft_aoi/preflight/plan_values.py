"""The plan of a run from what the user asked for, the spec and the defaults, each value with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base import air_gap, versions
from deft_aoi.base.errors import InputError
from deft_aoi.base.names import check_project
from deft_aoi.base.paths import Workspace
from deft_aoi.data.sets import POOL
from deft_aoi.engine.engine_choice import CHOICES, ENGINES, FEATURES, TAO, choose
from deft_aoi.executors.platform_choice import LOCAL
from deft_aoi.kpi.metric_contract import canonical, parse_contract
from deft_aoi.mining.index import METRICS
from deft_aoi.mining.shortlist import LEAST
from deft_aoi.preflight.check_workspace import has_pregen
from deft_aoi.preflight.generator_plan import generator_values
from deft_aoi.preflight.inputs import Inputs
from deft_aoi.preflight.own_baseline import check_own_baseline, elsewhere_defaults, with_own_baseline
from deft_aoi.preflight.site_file import site_settings
from deft_aoi.record.order import OFF, ON, SEALED
from deft_aoi.record.run import AIR_GAP, OPEN, RCA_SOURCES, Plan
from deft_aoi.spec.tree import Spec, get
from deft_aoi.stages.anomalygen_patches import MODE as PATCHES
from deft_aoi.stages.mining import AUTO_POLICY, POLICIES, check_encoder, default_encoder, default_policy
from deft_aoi.stages.routing import INLINE
from deft_aoi.synthetic.pregenerated import MODE as PREGEN

DEFAULT_TARGET = "FAR < 0.1% at recall=100%"


def asked_workspace(asked: Mapping[str, Any]) -> Workspace:
    """The workspace to plan for. Raises InputError where it, or what has no default, is missing."""
    workspace = Workspace.at(asked.get("workspace") or "~/workspace")
    if asked.get("hours") is None and (not asked.get("max_iterations") or asked["max_iterations"] < 1):
        raise InputError(
            "max_iterations is required and has no default: pass --max-iterations N with N from 1, or --hours H to "
            "have it estimated from the time at hand"
        )
    return workspace


def make_plan(
    asked: Mapping[str, Any], inputs: Inputs, run: Mapping[str, Any] | None = None
) -> tuple[Plan, dict[str, str]]:
    """(plan, source of each value) from what the user asked for, the `run` that goes on here, the spec and the
    defaults, in this order.

    Raises InputError when a value cannot be used.
    """
    workspace = inputs.workspace
    try:
        spec = inputs.spec
    except InputError:  # no spec at all: a finding of check 1, along with whatever can be said without it
        spec = {}
    from_spec = {
        "num_epochs": get(spec, "train.num_epochs"),
        "batch_size": get(spec, "dataset.classify.batch_size"),
        "num_gpus": _gpus_of(spec),
        "seed": get(spec, "train.seed"),
    }
    pool = inputs.tables[POOL].read if POOL in inputs.tables else None  # what is wrong with it: a finding of check 1
    policy, why = default_policy(pool["label"] if isinstance(pool, pd.DataFrame) else ())
    run = dict(run or {})
    if not (asked.get("kpi_target") or asked.get("metric_contract")):
        run = with_metric_contract(run)
    else:
        run.pop("metric_contract", None)
    asked = with_metric_contract(with_own_baseline(asked, workspace))
    if asked.get("policy") == AUTO_POLICY:
        del asked["policy"]
    if isinstance(asked.get("screen"), str):
        asked["screen"] = asked["screen"] == "on"
    defaults = {
        "kpi_target": DEFAULT_TARGET,
        "synthetic": PREGEN if has_pregen(workspace) else "off",
        "pool": ON if POOL in inputs.tables else OFF,
        "policy": policy,
        "acceptance": SEALED if workspace.acceptance_csv.is_file() else "off",
        "encoder": default_encoder(workspace),
    }
    why = elsewhere_defaults(asked, inputs, defaults) or why
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name in Plan.__dataclass_fields__:
        for source, record in (("user", asked), ("the run", run), ("spec", from_spec), ("default", defaults)):
            if record.get(name) is not None:
                values[name], sources[name] = record[name], source
                break
        else:
            sources[name] = "default"
    if sources["pool"] == "default" and values["pool"] == OFF:
        sources["pool"] = f"no {workspace.pool_csv.relative_to(workspace.root)}"
    if sources["policy"] == "default":
        sources["policy"] = f"default ({why})"
    if sources["network"] == "default" and air_gap.declared():
        values["network"], sources["network"] = AIR_GAP, air_gap.VARIABLE
    values.pop("tao", None)  # always asked again
    values["workspace"] = str(workspace.root)
    where = versions.platform(values.get("platform", LOCAL))
    values["platform"] = where.name
    values["settings"] = platform_settings(where, asked)
    if where.name != LOCAL:
        values["engine"], sources["engine"] = _tao(where, asked.get("engine"))
    elif asked.get("engine") in CHOICES:
        values["engine"], why = choose(asked["engine"])
        sources["engine"] += f" ({why})" if asked["engine"] != FEATURES else ""
    values.update(generator_values(workspace, values, sources))
    plan = Plan.from_json(values)
    plan = replace(plan, kpi_target=plan.target.text)
    check_plan(plan)
    return plan, sources


def with_metric_contract(asked: Mapping[str, Any]) -> dict[str, Any]:
    """`asked` with the metric contract (a JSON file, or JSON text of a plan) in one spelling, its words as the target.

    Raises InputError where it is none, or a target is given as well.
    """
    asked = dict(asked)
    told = asked.get("metric_contract")
    if not told:
        return asked
    text, where = str(told), "metric contract"
    if not text.lstrip().startswith("{"):
        if not Path(text).expanduser().is_file():
            raise InputError(f"--metric-contract {text}: no such file; expected JSON with name, operator, target, ...")
        text, where = Path(text).expanduser().read_text(encoding="utf-8-sig"), text
    contract = parse_contract(text, where)
    if asked.get("kpi_target") not in (None, contract.text):
        raise InputError("--kpi-target and --metric-contract: both say what the loop works for; leave one of them out")
    asked["kpi_target"] = contract.text
    asked["metric_contract"] = canonical(contract) if contract.evaluator else None
    return asked


def _gpus_of(spec: Spec) -> int | None:
    """TAO takes the larger of num_gpus and the number of gpu_ids; None where the spec names neither."""
    count, ids = get(spec, "train.num_gpus"), get(spec, "train.gpu_ids")
    if not isinstance(ids, list):
        return count
    return max(len(ids), count if isinstance(count, int) else 1)


def platform_settings(where: versions.Platform, asked: Mapping[str, Any]) -> dict[str, str]:
    """Every setting of the platform: asked for, else of the site, else the default. Raises InputError for one that it
    does not have."""
    given = dict(asked.get("settings") or {})
    for text in asked.get("set") or ():
        key, mark, value = text.partition("=")
        if not mark:
            raise InputError(f"--set {text}: expected KEY=VALUE")
        given[key] = value
    if unknown := sorted(set(given) - set(where.settings)):
        known = ", ".join(where.settings) or "none"
        raise InputError(f"--set {unknown[0]}: platform {where.name} has these settings: {known}")
    given = site_settings(where) | given
    return {key: given.get(key, setting.default) for key, setting in where.settings.items()}


def _tao(where: versions.Platform, asked: str | None) -> tuple[str, str]:
    """(engine, source): any platform but `local` runs TAO itself."""
    if not where.works:
        able = ", ".join(entry.name for entry in versions.platforms() if entry.works)
        raise InputError(f"platform {where.name!r}: this version starts work on {able}")
    if asked not in (None, TAO):
        raise InputError(f"--engine {asked}: platform {where.name} runs TAO itself; leave --engine out")
    return TAO, f"platform {where.name}"


def check_plan(plan: Plan) -> None:
    """Raises InputError for a value that this version cannot use, or for a file of the plan that is not there."""
    for name in ("num_epochs", "batch_size", "num_gpus", "mine_rows", "top_k_per_target", "top_k_per_label"):
        value = getattr(plan, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{name} is {value!r}: expected a whole number from 1")
    for name in ("max_per_board", "min_distance"):
        if getattr(plan, name) < 0:
            raise InputError(f"{name} is {getattr(plan, name)!r}: expected 0 or more")
    if plan.score_rows != 0 and plan.score_rows < LEAST:
        raise InputError(f"score_rows is {plan.score_rows}: expected 0 (all), or at least {LEAST}")
    check_encoder(Workspace.at(plan.workspace), plan.encoder, plan.platform)
    check_project(plan.project)
    if not -1 <= plan.min_similarity <= 1:
        raise InputError(f"min_similarity is {plan.min_similarity!r}: expected a cosine between -1 and 1")
    engines = ENGINES if plan.platform == LOCAL else (TAO,)
    choices = {
        "engine": engines, "policy": POLICIES, "knn_metric": METRICS, "network": (OPEN, AIR_GAP),
        "rca_source": RCA_SOURCES,
    }  # fmt: skip
    for name, known in choices.items():
        if getattr(plan, name) not in known:
            raise InputError(f"{name} {getattr(plan, name)!r}: this version has {', '.join(known)}")
    check_own_baseline(plan)
    _check_generation(plan)
    if plan.acceptance not in ("off", SEALED):
        raise InputError(f"acceptance {plan.acceptance!r}: expected off or {SEALED}")
    evaluator = plan.target.evaluator
    if evaluator and evaluator.kind == "artifact" and (plan.noise_floor or plan.acceptance == SEALED):
        raise InputError(
            "metric contract: an artifact judges one model of an iteration, not a second seed or a sealed set; pass "
            "--acceptance off and leave --noise-floor out, or bring a command"
        )
    if plan.acceptance == SEALED and not Workspace.at(plan.workspace).acceptance_csv.is_file():
        raise InputError(f"acceptance {SEALED}: no {Workspace.at(plan.workspace).acceptance_csv}")
    if plan.synthetic == PREGEN and not has_pregen(Workspace.at(plan.workspace)):
        raise InputError(f"synthetic {PREGEN}: no images in {Workspace.at(plan.workspace).pregen_ng}")


def _check_generation(plan: Plan) -> None:
    if plan.synthetic not in (known := ("off", PREGEN, INLINE, PATCHES)):
        raise InputError(f"synthetic {plan.synthetic!r}: expected one of {', '.join(known)}")
    if not isinstance(plan.num_sdg, int) or plan.num_sdg < 1:
        raise InputError(f"num_sdg is {plan.num_sdg!r}: expected a whole number from 1")
    if not isinstance(plan.anomalygen_max_iter, int) or plan.anomalygen_max_iter < 1:
        raise InputError(f"anomalygen_max_iter is {plan.anomalygen_max_iter!r}: expected a whole number from 1")
    for name in ("min_allocation", "max_synthetic_share"):
        if not 0 <= getattr(plan, name) <= 1:
            raise InputError(f"{name} is {getattr(plan, name)!r}: expected a share between 0 and 1")
