"""What the templates show: charts, tables and pictures built from the facts. Scores are read here, not kept in JSON."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from markupsafe import Markup

from deft_aoi.base.paths import BASELINE, image_root
from deft_aoi.base.rows import PASS
from deft_aoi.engine.difference import FULL_HEAT
from deft_aoi.record import order
from deft_aoi.report import charts, gallery, measure, samples, words
from deft_aoi.report.collect import PROVENANCES
from deft_aoi.report.far_chart import FarPoint, far_by_iteration
from deft_aoi.report.from_line import shown_line
from deft_aoi.report.narrative import Narrative, tell
from deft_aoi.report.source import Record, Source, open_run
from deft_aoi.report.synthetic import shown_synthetic
from deft_aoi.spec.tree import Optics

PICTURE_BUDGET = 3_600_000
WORST_EACH, MINED = 9, 6
STATUS_WORDS = {
    "not_started": "NOT STARTED", "in_progress": "IN PROGRESS", "hard_stop": "HARD STOP", "complete": "COMPLETE",
}  # fmt: skip
STAGE_WORDS = {
    order.TRAIN: "train", order.EVALUATE: "evaluate", order.RCA: "gap analysis", order.ROUTING: "routing",
    order.ANOMALYGEN: "synthetic pairs", order.FINETUNE: "generator fine-tuning", order.DATA_MINING: "mining",
    order.DATA_MERGE: "merge", order.LOOP_STOP: "stop", order.RESOLVE: "decision", order.PRUNE: "pruning",
    order.ACCEPTANCE: "acceptance", order.ROLLBACK: "rollback",
}  # fmt: skip


def page(source: Source, facts: Record, told: Narrative, focus: str | None) -> Record:
    """Everything for the template; `focus` names one iteration, None shows the whole run and its best model."""
    shown = [one for one in facts["iterations"] if focus is None or one["label"] == focus]
    model = focus or facts["best"]
    one = next((it for it in facts["iterations"] if it["label"] == model and it["evaluate"]), None)
    return {
        "facts": facts,
        "proof": shown_proof(facts, focus),
        "synthetic": shown_synthetic(source, facts, focus),
        "line": shown_line(facts, focus),
        "focus": focus,
        "back": "../" if focus else "",  # from the page to the run directory
        "iterations": shown,
        "model": one["label"] if one else None,
        "result": shown_result(one["evaluate"]) if one else None,
        "status": STATUS_WORDS[facts["run"]["status"]],
        "verdict": verdict_pill(facts, one),
        "told": resolved(told, facts, shown),
        "far_chart": far_chart(facts, model),
        "scores": scores(source, facts, one) if one else None,
        "gallery": pictures(source, one, shown, told, facts) if one else None,
        "provenance": provenance(shown),
        "mining": mining_table(shown),
        "weak": weak_table(shown),
        "samples": samples.samples(source, shown),
        "timing": timing(facts, focus),
    }


def shown_result(found: Record) -> Record:
    """KPI figures of the model with the good parts that its threshold lets pass: a place that people can compare."""
    passed = None if found["false_calls"] is None else found["n_pass"] - found["false_calls"]
    return {**found, "n_passed": passed}


def shown_proof(facts: Record, focus: str | None) -> Record:
    """What is proven of the run; of one iteration, only the comparison with the best before it."""
    whole: Record = facts["proof"]
    if focus is None:
        return whole
    mine = [one for one in whole["challengers"] if one["label"] == focus]
    return {**whole, "challengers": mine, "clauses": [], "acceptance": [], "rollbacks": []}


def verdict_pill(facts: Record, one: Record | None) -> Record:
    """Short verdict on one iteration's model with its tone; a target that was not reached is phrased as the distance to
    it. The sealed set decides on a model that it was opened for."""
    found = one["evaluate"] if one else None
    if one is None or found is None:
        return {"words": "no model yet", "tone": "quiet"}
    if found["verdict"] is None or not found["gap"]:
        return {"words": "no target", "tone": "quiet"}
    opened = [opening for opening in facts["proof"]["acceptance"] if opening["model"] == one["label"]]
    if opened and opened[-1]["verdict"] == "PASS":
        return {"words": "proven on the sealed set", "tone": "good"}
    if opened and opened[-1]["verdict"] == "FAIL":
        return {"words": "missed on the acceptance set", "tone": "far"}
    if found["met"]:
        return {"words": "target met on the KPI set, not proven", "tone": "soft"}
    return {"words": found["gap"], "tone": "far" if found["verdict"] == "FAIL" else "quiet"}


def resolved(told: Narrative, facts: Record, shown: list[Record]) -> Record:
    """The narrative as HTML."""
    figures = facts["figures"]
    return {
        "headline": tell(told.headline, figures),
        "summary": tell(told.summary, figures),
        "iterations": [(it["label"], tell(told.iterations.get(it["label"], ""), figures)) for it in shown],
        "recommendations": [tell(text, figures) for text in told.recommendations],
        "caveats": [tell(text, figures) for text in told.caveats],
        "by_rule": told.by_rule,
    }


def far_chart(facts: Record, model: str | None) -> Markup | None:
    """FAR of every model; `model` is the one that the page is about."""
    points = [
        FarPoint(
            it["label"], found["far_pct"], found["far_lower_pct"], found["far_upper_pct"], found["far_995_pct"],
            it["label"] == model,
        )
        for it in facts["iterations"] if (found := it["evaluate"])
    ]  # fmt: skip
    reference = facts["classical"]
    return far_by_iteration(points, reference and reference["far_pct"], facts["kpi"]["limit_pct"]) if points else None


def scores(source: Source, facts: Record, one: Record) -> Record | None:
    """Histogram, curve, confusion and slider of one model; None where its scores are gone."""
    csv = source.locate(one["evaluate"]["inference_csv"])
    if csv is None:
        return None
    scored = measure.load_scores(csv)
    threshold = one["evaluate"]["threshold"]
    axis = measure.score_axis(scored, threshold)
    table = measure.confusion(scored, threshold)
    slider = measure.slider(scored, threshold, source.recall)
    slider["axis"] = {"kind": axis.kind, "low": axis.low, "high": axis.high}
    slider["near"] = measure.near_threshold(csv, scored, threshold)
    return {
        "ridges": charts.score_ridges(measure.ridges(scored, axis, threshold), axis, threshold),
        "curve": curve_chart(source, facts, one),
        "confusion": table,
        "axis": axis.kind,
        "slider": slider,
        "slider_json": script_json(slider),
    }


def script_json(value: Any) -> Markup:
    """JSON that is safe inside a script element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def scores_of(source: Source, one: Record | None) -> measure.Scored | None:
    csv = source.locate(one["evaluate"]["inference_csv"]) if one and one["evaluate"] else None
    return measure.load_scores(csv) if csv else None


def curve_chart(source: Source, facts: Record, one: Record) -> Record:
    """FAR against recall: this model, the baseline, the last model, and the classical reference."""
    by_label = {it["label"]: it for it in facts["iterations"] if it["evaluate"]}
    wanted = [(one["label"], "this")]
    wanted += [(BASELINE, "first")] if BASELINE in by_label and one["label"] != BASELINE else []
    last = list(by_label)[-1]
    wanted += [(last, "last")] if last not in dict(wanted) else []
    curves = []
    for label, kind in wanted:
        if (scored := scores_of(source, by_label[label])) is not None:
            curves.append(charts.Curve(label, kind, measure.far_against_recall(scored.swept)))
    csv = source.paths.evaluate(BASELINE) / "classical/inference.csv"
    if csv.is_file():
        swept = measure.load_scores(csv).swept
        curves.append(charts.Curve("classical", "classical", measure.far_against_recall(swept)))
    chart = charts.far_against_recall(curves, facts["kpi"]["limit_pct"])
    return {"chart": chart, "keys": [(curve.name, curve.kind) for curve in curves]}


def pictures(source: Source, one: Record, shown: list[Record], told: Narrative, facts: Record) -> Record:
    """The worst pairs of a model and the latest mined rows, with their pictures."""
    pairs = pairs_to_show(source, one, shown)
    if pairs is None:
        return {"groups": [], "missing": "the inference CSV or the experiment spec is not on disk"}
    views = gallery.embed(pairs, PICTURE_BUDGET, source.workspace)
    scored, threshold = scores_of(source, one), one["evaluate"]["threshold"]
    cards = [card(pair, views[pair.key], told, facts) | {"steps": steps(pair, scored, threshold)} for pair in pairs]
    titles = (
        ("pass", "False calls first", "Good parts that score highest: what the line would stop for."),
        ("defect", "Hardest defects", "Defects that score lowest: they hold the threshold down."),
        (
            "mined",
            "What mining brought",
            "New training rows with their golden image, and where there is one the weak row that asked for each.",
        ),
    )
    groups = [(kind, title, lead, [c for c in cards if c["kind"] == kind]) for kind, title, lead in titles]
    return {"groups": [group for group in groups if group[3]], "missing": "", "heat": FULL_HEAT}


def pairs_to_show(source: Source, one: Record, shown: list[Record]) -> list[gallery.Pair] | None:
    """The worst pairs of a model, then the latest mined rows; None where its scores or the spec are gone."""
    csv, optics = source.locate(one["evaluate"]["inference_csv"]), source.optics
    if csv is None or optics is None:
        return None
    usual = image_root(source.workspace)
    images = Path(str(source.config.get("images_dir") or usual))
    images = images if images.is_dir() and images.is_relative_to(source.workspace) else usual
    worst = gallery.worst_pairs(csv, one["evaluate"]["threshold"], images, optics, WORST_EACH)
    return [*worst, *mined_rows(source, shown, optics)]


def picture_keys(run_dir: Path, facts: Record) -> list[tuple[str, str]]:
    """(key, label and name) of each pair on the run's page, by which a narrative may speak of it."""
    one = next((it for it in facts["iterations"] if it["label"] == facts["best"] and it["evaluate"]), None)
    pairs = pairs_to_show(open_run(run_dir), one, facts["iterations"]) if one else None
    return [(pair.key, " ".join(filter(None, (pair.label, pair.name, pair.where)))) for pair in pairs or ()]


def mined_rows(source: Source, shown: list[Record], optics: Optics) -> list[gallery.Pair]:
    """Pairs of the last iteration that mined."""
    for it in reversed(shown):
        parquet = source.locate(source.facts(it["label"], order.DATA_MINING).get("mining_mined_parquet"))
        if parquet is not None:
            return gallery.mined_pairs(parquet, source.workspace, optics, MINED)
    return []


def steps(pair: gallery.Pair, scored: measure.Scored | None, threshold: float) -> str:
    """How far a pair is from the threshold, in words; empty for one that has no score here."""
    if pair.score is None or scored is None:
        return ""
    return words.steps(measure.steps(scored, threshold, pair.score))


def card(pair: gallery.Pair, views: list[gallery.View], told: Narrative, facts: Record) -> Record:
    decision = ""
    if pair.margin is not None:
        above = pair.margin > 0
        decision = ("false call" if above else "passes") if pair.kind == "pass" else ("caught" if above else "escapes")
    said = told.pictures.get(pair.key)
    return {
        "key": pair.key, "kind": pair.kind, "label": pair.label, "name": pair.name, "where": pair.where,
        "board": pair.board, "origin": pair.origin, "views": views,
        "score": pair.score, "margin": pair.margin, "note": pair.note,
        "asked_by": any(sight.asked_by for sight in pair.sights), "decision": decision,
        "said": tell(said, facts["figures"]) if said else "",
    }  # fmt: skip


def provenance(shown: list[Record]) -> Record | None:
    """Training rows by provenance, as chart and table."""
    rows = []
    for it in shown:
        if it["merge"]:
            rows.append((it["label"], [(name, it["merge"]["provenance"][name]) for name in PROVENANCES], it["merge"]))
        elif it["label"] == BASELINE and it["train"] and it["train"].get("rows"):
            parts = [("base_train", int(it["train"]["rows"])), ("previous_iter_train", 0), ("mining_pool", 0)]
            rows.append((it["label"], parts, {"synthetic_rows": 0, "source": it["train"]["source"]}))
    if not rows:
        return None
    return {"chart": charts.provenance_bars([row[:2] for row in rows]), "rows": rows}


def mining_table(shown: list[Record]) -> Record | None:
    """Kept rows and candidates for each label and iteration."""
    mined = [(it["label"], it["mining"]) for it in shown if it["mining"]]
    if not mined:
        return None
    totals: Counter[str] = Counter()
    for _, part in mined:
        totals.update({name: int(y.get("kept") or 0) for name, y in (part.get("by_label") or {}).items()})
    names = sorted(totals, key=lambda name: (name != PASS, -totals[name], name))
    rows = [(name, [(part.get("by_label") or {}).get(name) for _, part in mined], totals[name]) for name in names]
    return {"labels": [label for label, _ in mined], "parts": mined, "rows": rows}


def weak_table(shown: list[Record]) -> Record | None:
    """Weak rows by label and the defects that gap analysis names, for each iteration."""
    seen = [(it["label"], it["rca"]) for it in shown if it["rca"]]
    if not seen:
        return None
    names = sorted({n for _, r in seen for n in r.get("weak_by_label") or {}}, key=lambda name: (name != PASS, name))
    rows = [(name, [(r.get("weak_by_label") or {}).get(name, 0) for _, r in seen]) for name in names]
    return {"labels": [label for label, _ in seen], "parts": seen, "rows": rows}


def timing(facts: Record, focus: str | None) -> Record | None:
    """Duration and token use by stage."""
    entries = [e for e in facts["timeline"] if focus in (None, e["iter"])]
    if not entries:
        return None
    spent: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for entry in entries:
        spent[entry["stage"]] += entry["duration_sec"]
        use = entry["tokens"] or {}
        tokens[entry["stage"]] += int(use.get("input") or 0) + int(use.get("output") or 0)
    stages = [(name, STAGE_WORDS.get(name, name), seconds, tokens[name]) for name, seconds in spent.items()]
    return {
        "chart": charts.duration_bars(entries), "entries": entries, "stages": stages, "total": sum(spent.values()),
        "tokens": sum(tokens.values()) or None, "total_words": words.duration(sum(spent.values())),
    }  # fmt: skip
