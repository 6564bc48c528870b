"""What is proven: the contract by clause, the sealed acceptance set, losses against the best, the noise floor."""

from __future__ import annotations

from deft_aoi.record.order import ACCEPTANCE, EVALUATE, ROLLBACK
from deft_aoi.report.source import Record, Source

_UNITS = {"far": 100.0, "escape": 100.0}


def proof(source: Source, best: Record | None) -> Record:
    """The `proof` part of `report.json`; rates in percent."""
    baseline = source.facts("baseline", EVALUATE).get("noise_floor")
    return {
        "clauses": [clause(one) for one in (best or {}).get("clauses") or []],
        "acceptance": [opening(source, entry) for entry in source.entries if _is(entry, ACCEPTANCE)],
        "challengers": [
            challenger(source, label)
            for label in source.labels
            if (source.facts(label, EVALUATE).get("against_champion") or {}).get("compared")
        ],
        "noise_floor": {**baseline, "inference_csv": source.shown(baseline["inference_csv"])} if baseline else None,
        "rollbacks": [rollback(source, entry) for entry in source.entries if _is(entry, ROLLBACK)],
    }


def _is(entry: Record, stage: str) -> bool:
    return bool(entry["stage"] == stage and entry["status"] == "ok")


def clause(one: Record) -> Record:
    """A clause with value, bound and limit as text; recall is given as recall, not as its complement."""
    if one["name"] == "recall":
        value, limit = 100 * (1 - one["value"]), 100 * (1 - one["limit"])
        bound = f"at least {100 * (1 - one['upper']):.4g}%" if one["upper"] is not None else "–"
        texts = (f"{value:.4g}%", bound, f"{limit:.6g}%")
    elif one["name"].endswith("_ppm"):
        bound = f"at most {1e6 * one['upper']:,.0f}" if one["upper"] is not None else "–"
        texts = (f"{1e6 * one['value']:,.0f}", bound, f"{1e6 * one['limit']:,.10g}")
    elif one["metric"] in _UNITS:
        bound = f"at most {100 * one['upper']:.4g}%" if one["upper"] is not None else "–"
        texts = (f"{100 * one['value']:.4g}%", bound, f"{100 * one['limit']:.6g}%")
    else:
        bound = f"{one['upper']:.4g}" if one["upper"] is not None else "–"
        texts = (f"{one['value']:.4g}", bound, "none" if one["limit"] is None else f"{one['limit']:.6g}")
    further = [
        f"{one[key]:,} {what}"
        for key, what in (("further_pass", "PASS rows"), ("further_defects", "defects"))
        if one[key]
    ]
    standing = "proven" if one["proven"] else "met" if one["met"] else "missed"
    needs = f"{' and '.join(further)} more" if further else ""
    if one["proven"] is None and one["met"] and not further:
        needs = "cannot be proven by any number of rows"
    return {
        "text": one["text"], "role": one["role"], "value": texts[0], "bound": texts[1], "limit": texts[2],
        "standing": standing, "needs": needs,
    }  # fmt: skip


def opening(source: Source, entry: Record) -> Record:
    """One opening of the acceptance set; the second and any later one is always named as such."""
    facts = entry["facts"]
    names = (
        "opening", "model", "threshold", "false_calls", "misses", "n_pass", "n_defect", "far_pct", "far_upper_pct",
        "escape_pct", "escape_upper_pct", "kpi_far_pct", "verdict",
    )  # fmt: skip
    number = facts["opening"]
    seal = "sealed until this first opening" if number == 1 else f"no longer sealed: this is opening {number}"
    return {
        **{name: facts[name] for name in names},
        "seal": seal,
        "sentence": facts["gate"]["sentence"],
        "boards": (facts.get("boards") or {}).get("boards"),
        "source": f"{source.paths.log.name} line {entry['seq']}, {source.shown(facts['inference_csv'])}",
    }


def told_apart(span: Record) -> bool:
    """Whether a 95 % span of a difference (percentage points) leaves zero out."""
    return bool(span["high_pp"] < 0 or span["low_pp"] > 0)


def challenger(source: Source, label: str) -> Record:
    """One iteration against the best model before it."""
    facts = source.facts(label, EVALUATE)
    found = facts["against_champion"]
    span = found["difference"]
    than = found["label"]
    certain = "indistinguishable from"
    if told_apart(span):
        certain = "better than" if span["high_pp"] < 0 else "worse than"
    return {
        "label": label,
        "champion": found["label"],
        "became_best": bool(facts.get("champion")),
        "difference": span,
        "certain": f"{certain} {than}",
        "within_noise": found.get("within_noise"),
        "labels": found["labels"],
        "boards": found["boards"],
        "newly_escaping": found["newly_escaping"],
        "newly_false": found["newly_false"],
        "no_longer_wrong": found["no_longer_wrong"],
        "source": source.line(label, EVALUATE),
    }


def rollback(source: Source, entry: Record) -> Record:
    facts = entry["facts"]
    return {
        "from": facts["from"], "to": facts["to"], "reason": facts.get("reason", ""), "ts": entry["ts"],
        "source": f"{source.paths.log.name} line {entry['seq']}",
    }  # fmt: skip
