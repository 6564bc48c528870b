"""Every fact of a run in one record, `report.json`: each with the artifact that it came from.

The KPI figures are taken again from the inference CSVs, never copied from the journal; where the two differ, a check
says so. `figures` lists them by the name under which a narrative may quote them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import iter_number
from deft_aoi.base.rows import PASS, parse_csv
from deft_aoi.kpi.gate import Verdict, judge
from deft_aoi.kpi.margin import margin
from deft_aoi.record import order
from deft_aoi.record.order import champion_label
from deft_aoi.record.state import model_sentence
from deft_aoi.report import measure
from deft_aoi.report.advice import next_steps
from deft_aoi.report.caveats import caveats
from deft_aoi.report.checks import run_checks
from deft_aoi.report.from_line import line_facts
from deft_aoi.report.proof import proof
from deft_aoi.report.quotable import named_figures
from deft_aoi.report.source import Record, Source, open_run
from deft_aoi.report.synthetic import synthetic_facts

SCHEMA_VERSION = 1
PARTS = {
    order.TRAIN: "train",
    order.RCA: "rca",
    order.ROUTING: "routing",
    order.ANOMALYGEN: "anomalygen",
    order.DATA_MINING: "mining",
}
PROVENANCES = ("base_train", "previous_iter_train", "mining_pool")


def collect(run_dir: Path) -> Record:
    """Facts of a run at any moment of it, ready for `report.json`.

    Raises InputError where the folder is no run or its journal is damaged.
    """
    return facts_of(open_run(run_dir))


def facts_of(source: Source) -> Record:
    """:func:`collect` for a run that has been read."""
    iterations = [iteration(source, label) for label in source.labels]
    best = best_label(source, iterations)
    proved = proof(source, next((it["evaluate"] for it in iterations if it["label"] == best), None))
    facts: Record = {
        "schema_version": SCHEMA_VERSION,
        "run": run_facts(source, iterations),
        "kpi": kpi_facts(source),
        "best": best,
        "result": result(source, iterations, best),
        "iterations": iterations,
        "classical": classical(source),
        "proof": proved,
        "synthetic": synthetic_facts(source, iterations),
        "line": line_facts(source),
        "caveats": caveats(source, iterations, proved, best),
        "timeline": timeline(source),
        "environment": environment(source),
        "narrative": source.paths.narrative.is_file(),
    }
    facts["checks"] = run_checks(source, iterations)
    for one in iterations:
        (one["evaluate"] or {}).pop("recorded", None)
    (facts["result"] or {}).pop("recorded", None)
    facts["figures"] = named_figures(facts)
    facts["next_steps"] = next_steps(facts)
    return facts


def run_facts(source: Source, iterations: list[Record]) -> Record:
    status = source.status()
    last = source.entries[-1] if source.entries else None
    config = source.config
    stop = next((e.get("facts") or {} for e in source.entries if e["stage"] == order.LOOP_STOP), {})
    return {
        "id": source.paths.root.name,
        "model": model_sentence(source.state.get("config") or {}),
        "status": status,
        "stop_reason": stop.get("reason"),
        "started_at": source.state.get("started_at"),
        "updated_at": last["ts"] if last else source.state.get("started_at"),
        "seconds": sum(entry["duration_sec"] for entry in source.entries),
        "iterations_done": sum(1 for it in iterations if it["number"] > 0 and it["evaluate"]),
        "max_iterations": source.state.get("max_iterations"),
        "next": source.step_after() if status == "in_progress" else None,
        "problem": problem(source) if status == "hard_stop" else None,
        **{name: config.get(name) for name in ("engine", "platform", "seed", "policy")},
    }


def problem(source: Source) -> Record:
    """What stopped the run, with its evidence and what a person can do."""
    line = source.stop_line() or source.entries[-1]
    facts = line.get("facts") or {}
    return {
        "label": line["iter"],
        "stage": line["stage"],
        "summary": line["summary"],
        "code": facts.get("code"),
        "evidence": source.shown(facts.get("evidence")),
        "remedy": facts.get("remedy"),
        "source": f"{source.paths.log.name} line {line['seq']}",
    }


def kpi_facts(source: Source) -> Record:
    target = source.target
    far = target.far if target else None
    return {
        "text": target.text if target else str(source.state.get("kpi_target") or "not stated"),
        "limit_pct": 100 * (far.limit or 0.0) if far else None,
        "inclusive": far.inclusive if far else None,
        "recall_pct": 100 * source.recall,
        "source": source.paths.state.name,
    }


def iteration(source: Source, label: str) -> Record:
    """One iteration (or the baseline): what each finished stage of it found."""
    part = (source.state.get("iterations") or {}).get(label, {})
    record: Record = {
        "label": label,
        "number": iter_number(label),
        "stages": [e["stage"] for e in source.entries if e["iter"] == label and e["status"] == "ok"],
        "seconds": sum(e["duration_sec"] for e in source.entries if e["iter"] == label),
        "evaluate": evaluation(source, label, part),
        "merge": merge(source, label),
    }
    for stage, name in PARTS.items():
        facts = source.facts(label, stage)
        record[name] = {**shown_facts(source, facts), "source": source.line(label, stage)} if facts else None
    if record["rca"]:
        record["rca"]["contact_sheet"] = contact_sheet(source, record["rca"].get("rca_dir"))
    return record


def shown_facts(source: Source, facts: Record) -> Record:
    """Facts with every path made relative to the run or the workspace."""
    return {key: shown(source, value) for key, value in facts.items()}


def shown(source: Source, value: Any) -> Any:
    if isinstance(value, str) and "/" in value and " " not in value:
        return source.shown(value)
    if isinstance(value, dict):
        return {key: shown(source, part) for key, part in value.items()}
    return value


def contact_sheet(source: Source, folder: str | None) -> str | None:
    path = source.locate(f"{folder}/rca_images/contact_sheet.png") if folder else None
    return source.shown(path) or None


def evaluation(source: Source, label: str, part: Record) -> Record | None:
    """KPI figures of one model, from its scores; from the journal alone only where the CSV is gone."""
    facts = source.facts(label, order.EVALUATE) or {
        k: part[k] for k in ("far_pct", "threshold", "inference_csv") if part.get(k)
    }
    if facts.get("far_pct") is None:
        return None
    named = facts.get("inference_csv") or part.get("inference_csv")
    csv = source.locate(named)
    known = ("far_pct", "far_upper_pct", "far_995_pct", "auroc", "threshold", "false_calls", "n_pass", "n_defect")
    record: Record = {"far_lower_pct": None, "escapes": None, **{name: facts.get(name) for name in known}}
    room = None
    if csv is not None:
        scored = measure.load_scores(csv)
        record.update(measure.figures(scored, source.recall, facts.get("threshold")))
        room = margin(scored.score, scored.label != PASS, record["threshold"])
    verdict = verdict_of(source, record, facts)
    if verdict is not None:
        record["far_upper_pct"] = 100 * verdict.far_upper
    return {
        **record,
        "margin": {**asdict(room), "narrow": room.narrow, "sentence": room.sentence()} if room else None,
        "inference_csv": source.shown(named),
        "recomputed": csv is not None,
        "recorded": {name: facts.get(name) for name in known},
        "verdict": verdict.status if verdict else facts.get("verdict"),
        "met": verdict.met if verdict else facts.get("met"),
        "sentence": verdict.sentence if verdict else None,
        "further_pass_needed": verdict.further_pass_needed if verdict else None,
        "further_defects_needed": verdict.further_defects_needed if verdict else None,
        "gap": verdict.gap if verdict else None,
        "clauses": verdict.record()["clauses"] if verdict else [],
        "escape_upper_pct": 100 * verdict.escape_upper if verdict else None,
        "champion": facts.get("champion"),
        "best_ckpt_kind": facts.get("best_ckpt_kind") or part.get("best_ckpt_kind"),
        "best_ckpt_path": source.shown(facts.get("best_ckpt_path") or part.get("best_ckpt_path")),
        "candidates": {kind: one.get("far_pct") for kind, one in (facts.get("candidates") or {}).items()},
        "source": source.shown(named) if csv else source.line(label, order.EVALUATE),
    }


def verdict_of(source: Source, record: Record, facts: Record) -> Verdict | None:
    counts = [record.get(name) for name in ("false_calls", "n_pass", "escapes", "n_defect")]
    if source.target is None or any(number is None for number in counts):
        return None
    measured = facts.get("measured")
    if any(bound.name not in (measured or {}) for bound in source.target.bounds if bound.metric == "command"):
        return None
    calls, n_pass, escapes, n_defect = (int(number) for number in counts if number is not None)
    by_board = facts.get("by_board")
    if by_board and any(
        (by_board[name]["events"], by_board[name]["rows"]) != told
        for name, told in (("far", (calls, n_pass)), ("escape", (escapes, n_defect)))
    ):
        by_board = None  # scores that are not those of the journal: a check of the report says so
    return judge(source.target, calls, n_pass, escapes, n_defect, measured, by_board=by_board)


def merge(source: Source, label: str) -> Record | None:
    """Rows of the combined training set by provenance, counted in the provenance CSV."""
    facts = source.facts(label, order.DATA_MERGE)
    if not facts:
        return None
    csv = source.locate(facts.get("provenance_csv"))
    counts: dict[str, int] = dict(facts.get("provenance") or {})
    synthetic, by_label = facts.get("synthetic_rows") or 0, {}
    if csv is not None:
        rows = parse_csv(csv)
        counts = {str(k): int(v) for k, v in rows["provenance"].value_counts().items()}
        by_label = {str(k): int(v) for k, v in rows["label"].value_counts().sort_index().items()}
        synthetic = int((rows["origin"] == "synthetic").sum()) if "origin" in rows else synthetic
    return {
        "rows": facts.get("rows") or sum(counts.values()),
        "provenance": {name: int(counts.get(name, 0)) for name in PROVENANCES},
        "synthetic_rows": synthetic,
        "by_label": by_label,
        "source": source.shown(csv) if csv else source.line(label, order.DATA_MERGE),
    }


def best_label(source: Source, iterations: list[Record]) -> str | None:
    """Label of the model that the loop kept: the champion (or the one rolled back to), else the lowest FAR."""
    if (named := champion_label(source.entries)) in {it["label"] for it in iterations if it["evaluate"]}:
        return named
    scored = [it for it in iterations if it["evaluate"]]
    lowest = min(scored, key=lambda it: it["evaluate"]["far_pct"], default=None)
    return lowest["label"] if lowest else None


def result(source: Source, iterations: list[Record], best: str | None) -> Record | None:
    """The verdict on the best model so far; the gap is phrased, a target is never called unmet."""
    if best is None:
        return None
    found = {it["label"]: it["evaluate"] for it in iterations if it["evaluate"]}
    best_eval, first = found[best], next(iter(found.values()))
    gap = best_eval["gap"] or "no target stated"
    limit = kpi_facts(source)["limit_pct"]
    return {
        "label": best,
        **best_eval,
        "contact_sheet": final_sheet(source, best),
        "boards": ((source.facts(best, order.EVALUATE).get("by_board") or {}).get("far") or {}).get("boards"),
        "gap_text": "target met" if gap == "met" else gap,
        "gap_pp": max(best_eval["far_pct"] - limit, 0.0) if limit is not None else None,
        "first_label": next(iter(found)),
        "first_far_pct": first["far_pct"],
        "change_pp": best_eval["far_pct"] - first["far_pct"],
    }


def final_sheet(source: Source, best: str) -> str | None:
    """The contact sheet of the model that was delivered; None before the end."""
    last = next((e for e in reversed(source.entries) if e["stage"] == order.LOOP_STOP and e["status"] == "ok"), None)
    facts = (last or {}).get("facts") or {}
    return contact_sheet(source, facts.get("rca_dir")) if facts.get("analysed") == best else None


def classical(source: Source) -> Record | None:
    """The plain aligned absolute difference on the same rows: the reference that needs no training."""
    csv = source.paths.evaluate("baseline") / "classical/inference.csv"
    if csv.is_file():
        found = measure.figures(measure.load_scores(csv), source.recall)
        return {**{k: found[k] for k in ("far_pct", "far_995_pct", "auroc")}, "source": source.paths.relative(csv)}
    for label in source.labels:
        if facts := source.facts(label, order.EVALUATE).get("classical"):
            return {**facts, "source": source.line(label, order.EVALUATE)}
    return None


def timeline(source: Source) -> list[Record]:
    keys = ("seq", "ts", "iter", "stage", "status", "summary", "duration_sec", "context_tokens")
    return [{**{k: e.get(k) for k in keys}, "tokens": e.get("tokens")} for e in source.entries]


def environment(source: Source) -> Record:
    """Plan, data set sizes, versions and the hashes of what the journal vouches for."""
    inputs = source.preflight.get("inputs") or {}
    hashed: list[Record] = [
        {"path": f"<workspace>/{name}", "sha256": digest, "line": 0} for name, digest in inputs.items()
    ]
    for entry in source.entries:
        hashed += [{**item, "line": entry["seq"]} for item in entry.get("artifacts") or [] if "sha256" in item]
    plan, named = source.preflight.get("plan") or {}, source.preflight.get("sources") or {}
    return {
        "approval": source.preflight.get("approval_code") or source.preflight.get("digest"),
        "plan": {name: {"value": shown(source, value), "source": named.get(name, "")} for name, value in plan.items()},
        "dataset": {name: dataset(part) for name, part in (source.preflight.get("dataset") or {}).items()},
        "versions": {
            **(source.preflight.get("versions") or {}),
            **({"GPU": gpu} if (gpu := source.config.get("gpu_model")) else {}),
        },
        "findings": findings(source),
        "artifacts": hashed,
        "config": {k: v for k, v in shown_facts(source, source.config).items() if not isinstance(v, dict)},
        "stages": dict(Counter(e["stage"] for e in source.entries)),
    }


def dataset(part: Any) -> Record:
    """Size of one set as Pre-Flight counted it; old plans hold the number of rows only."""
    if not isinstance(part, dict):
        return {"rows": part, "pass": None, "defects": {}, "boards": None}
    return {name: part.get(name) for name in ("rows", "pass", "boards")} | {"defects": part.get("defects") or {}}


def findings(source: Source) -> list[str]:
    """Pre-Flight findings as lines of text; the workspace, wherever it was then, goes by its name."""
    lines, before = [], str(source.places.before or source.workspace)
    for item in source.preflight.get("findings") or []:
        if isinstance(item, dict):
            text = item.get("message") or item.get("text") or item.get("detail") or ""
            lines.append(": ".join(str(part) for part in (item.get("level") or item.get("status"), text) if part))
        else:
            lines.append(str(item))
    return [line.replace(before, "<workspace>") for line in lines if line]


def require_label(facts: Record, label: str) -> Record:
    """The record of one iteration; raises InputError naming those that exist."""
    for one in facts["iterations"]:
        if one["label"] == label:
            return one
    names = ", ".join(it["label"] for it in facts["iterations"]) or "none yet"
    raise InputError(f"iteration {label!r}: not in run {facts['run']['id']}; found {names}")
