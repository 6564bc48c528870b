"""Figures by name: what a narrative may quote as `{{far.iter2}}`, each as text with the artifact it came from."""

from __future__ import annotations

from typing import Any

from deft_aoi.kpi.bounds import CONFIDENCE
from deft_aoi.report import words

Record = dict[str, Any]


def named_figures(facts: Record) -> dict[str, Record]:
    """`{name: {value, text, source}}` for all figures of `report.json`."""
    found: dict[str, Record] = {}

    def put(name: str, value: Any, text: str, source: str) -> None:
        if value is not None:
            found[name] = {"value": value, "text": text, "source": source}

    run, kpi, result = facts["run"], facts["kpi"], facts["result"]
    state = kpi["source"]
    put("target", kpi["limit_pct"], words.exact_pct(kpi["limit_pct"]), state)
    put("recall", kpi["recall_pct"], words.exact_pct(kpi["recall_pct"]), state)
    put("confidence", 100 * CONFIDENCE, words.exact_pct(100 * CONFIDENCE), "kpi/bounds.py")
    put("soft_recall", 99.5, "99.5%", "kpi/sweep.py")
    put("max_iterations", run["max_iterations"], words.count(run["max_iterations"]), state)
    put("iterations", run["iterations_done"], words.count(run["iterations_done"]), "loop_log.jsonl")
    put("duration", run["seconds"], words.duration(run["seconds"]), "loop_log.jsonl")
    if (reference := facts["classical"]) is not None:
        put("far.classical", reference["far_pct"], words.pct(reference["far_pct"]), reference["source"])
        put("far_995.classical", reference["far_995_pct"], words.pct(reference["far_995_pct"]), reference["source"])
        put("auroc.classical", reference["auroc"], words.fraction(reference["auroc"]), reference["source"])
    for one in facts["iterations"]:
        _iteration(one, put)
    for name in [name for name in found if result and name.endswith(f".{result['label']}")]:
        found[name.rsplit(".", 1)[0] + ".best"] = found[name]
    if result:
        put("gap", result["gap_pp"], result["gap_text"], result["source"])
        put("change", result["change_pp"], f"{words.signed(round(result['change_pp'], 2))}pp", result["source"])
        further = result["further_pass_needed"]
        put("further_pass", further, words.count(further), result["source"])
        further = result["further_defects_needed"]
        put("further_defects", further, words.count(further), result["source"])
    previous = None
    for one in facts["iterations"]:
        if one["evaluate"] and previous:
            change = one["evaluate"]["far_pct"] - previous["far_pct"]
            put(f"change.{one['label']}", change, f"{words.signed(round(change, 2))}pp", one["evaluate"]["source"])
        previous = one["evaluate"] or previous
    return dict(sorted(found.items()))


def _iteration(one: Record, put: Any) -> None:
    label = one["label"]
    put(f"duration.{label}", one["seconds"], words.duration(one["seconds"]), "loop_log.jsonl")
    if (found := one["evaluate"]) is not None:
        for name in ("far", "far_lower", "far_upper", "far_995"):
            put(f"{name}.{label}", found[f"{name}_pct"], words.pct(found[f"{name}_pct"]), found["source"])
        put(f"auroc.{label}", found["auroc"], words.fraction(found["auroc"]), found["source"])
        put(f"threshold.{label}", found["threshold"], words.short(found["threshold"]), found["source"])
        for name in ("false_calls", "escapes", "n_pass", "n_defect"):
            put(f"{name}.{label}", found[name], words.count(found[name]), found["source"])
    if (train := one["train"]) is not None:
        put(f"rows.{label}", train.get("rows"), words.count(train.get("rows")), train["source"])
        put(f"val_loss.{label}", train.get("val_loss"), words.short(train.get("val_loss")), train["source"])
    if (rca := one["rca"]) is not None:
        put(f"weak.{label}", rca.get("weak_rows"), words.count(rca.get("weak_rows")), rca["source"])
        for name, number in (rca.get("weak_by_label") or {}).items():
            put(f"weak.{label}.{name}", number, words.count(number), rca["source"])
    if (mining := one["mining"]) is not None:
        for name in ("kept", "candidates", "rejected", "synthetic_kept"):
            put(f"{name}.{label}", mining.get(name), words.count(mining.get(name)), mining["source"])
        for name, yielded in (mining.get("by_label") or {}).items():
            put(f"kept.{label}.{name}", yielded.get("kept"), words.count(yielded.get("kept")), mining["source"])
    if (merged := one["merge"]) is not None:
        put(f"synthetic.{label}", merged["synthetic_rows"], words.count(merged["synthetic_rows"]), merged["source"])
