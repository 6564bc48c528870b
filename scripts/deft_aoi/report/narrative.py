"""The words of the report: a reporter's `narrative.json` where there is one, sentences made by rules where not.

Both quote figures by name only (`{{far.iter2}}`), so that no number on the page can be anybody's invention.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.report.advice import recommendations
from deft_aoi.report.quoting import PIECE, Figures, Record, code, look_up, plain
from deft_aoi.report.words import listed, plural

SCHEMA = SKILL_ROOT / "specs/narrative.schema.json"
_BARE_NUMBER = re.compile(r"(?<![\w.@/+-])[+\u2212-]?\d[\d.,]*\s*(?:%|pp)?(?![\w])")


@dataclass(frozen=True)
class Narrative:
    """Text with references, not yet resolved."""

    headline: str
    summary: str = ""
    iterations: Mapping[str, str] = field(default_factory=dict)
    recommendations: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    by_rule: bool = True


def narrative_of(facts: Record, path: Path) -> Narrative:
    """The reporter's words, completed by rule-made ones where they say nothing.

    Raises InputError where the file breaks its schema, names an iteration that the run does not have, quotes an
    unknown figure or writes a number out.
    """
    made = by_rule(facts)
    if not path.is_file():
        return made
    record = load(path)
    known = {one["label"] for one in facts["iterations"]}
    for label in record.get("iterations", {}):
        if label not in known:
            raise InputError(f"{path}: iterations.{label}: not in this run; found {', '.join(sorted(known)) or 'none'}")
    told = Narrative(
        headline=record["headline"],
        summary=record.get("summary", ""),
        iterations={**made.iterations, **record.get("iterations", {})},
        recommendations=tuple(record.get("recommendations", made.recommendations)),
        caveats=tuple(record.get("caveats", ())),
        pictures=record.get("pictures", {}),
        by_rule=False,
    )
    check(told, facts["figures"], path)
    return told


def load(path: Path) -> Record:
    """Read and check `narrative.json` against its schema; raises InputError with the place of the fault."""
    from jsonschema import Draft202012Validator

    try:
        record = parse_json(path.read_bytes())
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no JSON ({error}); see specs/narrative.schema.json") from error
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    fault = next(iter(Draft202012Validator(schema).iter_errors(record)), None)
    if fault is not None:
        place = ".".join(str(part) for part in fault.absolute_path) or "top level"
        raise InputError(f"{path}: {place}: {fault.message[:200]}; see specs/narrative.schema.json")
    return dict(record)


def check(told: Narrative, figures: Figures, path: Path) -> None:
    """Resolve every text once, so that a fault is reported with its place before anything is written."""
    places = {"headline": told.headline, "summary": told.summary}
    places |= {f"iterations.{k}": v for k, v in told.iterations.items()}
    places |= {f"pictures.{k}": v for k, v in told.pictures.items()}
    for name in ("recommendations", "caveats"):
        places |= {f"{name}.{index}": text for index, text in enumerate(getattr(told, name))}
    for place, text in places.items():
        tell(text, figures, f"{path}: {place}")


def tell(text: str, figures: Figures, where: str = "narrative") -> Markup:
    """`text` as HTML: references become their figures (source as tooltip), `backticks` code, all else is escaped.

    Raises InputError at an unknown reference or a number that is written out instead of quoted.
    """
    parts, end = Markup(""), 0
    for match in PIECE.finditer(text):
        parts += _plain(text[end : match.start()], where)
        end = match.end()
        if match["code"] is not None:
            parts += Markup("<code><bdi>{}</bdi></code>").format(match["code"])
        else:
            figure = look_up(match["name"], figures, where)
            shape = Markup('<data class="figure" value="{}" title="from {}">{}</data>')
            parts += shape.format(figure["value"], figure["source"], figure["text"])
    return parts + _plain(text[end:], where)


def _plain(text: str, where: str) -> Markup:
    bare = _BARE_NUMBER.search(text)
    if bare is not None:
        raise InputError(
            f"{where}: the number {bare.group().strip()!r} is written out; quote a figure of report.json instead, "
            "as {{far.iter1}}, or put a name into `backticks`"
        )
    return Markup("{}").format(text)


def by_rule(facts: Record) -> Narrative:
    """Sentences that follow from the facts alone."""
    return Narrative(
        headline=headline(facts),
        iterations={one["label"]: iteration_text(facts, one) for one in facts["iterations"]},
        recommendations=tuple(recommendations(facts)),
    )


def headline(facts: Record) -> str:
    result = facts["result"]
    if result is None:
        return "No model has been evaluated yet."
    kept = "while every defect is caught" if facts["kpi"]["recall_pct"] == 100 else "at {{recall}} recall"
    first, best = result["first_label"], result["label"]
    if best != first and result["change_pp"] < 0:
        return f"False alarms fell from {{{{far.{first}}}}} to {{{{far.{best}}}}} {kept}."
    if sum(1 for one in facts["iterations"] if one["evaluate"]) > 1:
        return f"False alarms are at {{{{far.{best}}}}} {kept}; no iteration improved on the baseline."
    return f"The baseline calls {{{{far.{best}}}}} of good parts defective {kept}."


def iteration_text(facts: Record, one: Record) -> str:
    """What one iteration did, in two to four sentences."""
    label, parts = one["label"], []
    if one["mining"]:
        synthetic = f", {{{{synthetic_kept.{label}}}}} of them synthetic" if one["mining"].get("synthetic_kept") else ""
        parts.append(f"Mining kept {{{{kept.{label}}}}} of {{{{candidates.{label}}}}} candidate rows{synthetic}.")
    if one["train"] and one["train"].get("rows"):
        parts.append(f"The model was trained on {{{{rows.{label}}}}} rows.")
    if (found := one["evaluate"]) is not None:
        parts.append(_evaluated(facts, label, found))
    if one["rca"] and one["rca"].get("rca_target_defects"):
        hardest = listed([code(name) for name in one["rca"]["rca_target_defects"][:3]])
        analysed = code(one["rca"].get("analysed") or "the best model")
        parts.append(f"Gap analysis of {analysed} names {hardest} as the hardest.")
    return " ".join(parts) or "Under way."


def _evaluated(facts: Record, label: str, found: Record) -> str:
    calls = ""
    if found["false_calls"] is not None:
        calls = f": {{{{false_calls.{label}}}}} false calls on {{{{n_pass.{label}}}}} good parts"
    if f"change.{label}" not in facts["figures"]:
        return f"FAR is {{{{far.{label}}}}}{calls}."
    place = "It is the best so far." if found["champion"] else "It did not beat the best before it, which stays."
    return f"FAR is {{{{far.{label}}}}} ({{{{change.{label}}}}}){calls}. {place}"


def summary_markdown(facts: Record, one: Record, told: Narrative, limit: int = 300) -> str:
    """`iter<N>_summary.md`: at most `limit` words (counted as runs of non-blanks)."""
    figures, label = facts["figures"], one["label"]
    lines = [f"# {label} of {facts['run']['id']}", ""]
    lines += [facts["run"]["model"], ""] if facts["run"]["model"] else []
    lines += [plain(told.iterations.get(label, ""), figures), ""]
    if (found := one["evaluate"]) is not None:
        lines += [f"- Verdict: {found['sentence']}"] if found["sentence"] else []
        lines += [
            f"- {words}: {figures[name]['text']}" for words, kind in _LINES if (name := f"{kind}.{label}") in figures
        ]
        lines += [f"- Inference: `{found['inference_csv']}`"]
    if one["merge"]:
        parts = ", ".join(f"{plural(n, 'row')} {name}" for name, n in one["merge"]["provenance"].items() if n)
        lines += [f"- Training rows: {parts}"]
    if one["mining"] and one["mining"].get("by_label"):
        kept = ", ".join(f"{name} {y.get('kept', 0)}" for name, y in sorted(one["mining"]["by_label"].items()))
        lines += [f"- Mined: {kept}"]
    lines += [f"- Time: {figures[f'duration.{label}']['text']}", "", *(one["text"] for one in facts["caveats"][:1])]
    text = "\n".join(lines)
    if len(text.split()) <= limit:
        return text + "\n"
    words_and_blanks = re.split(r"(\s+)", text)
    return "".join(words_and_blanks[: 2 * limit - 3]).rstrip() + " …\n"


_LINES = (
    ("FAR at 99.5% recall", "far_995"),
    ("AUROC", "auroc"),
    ("Threshold", "threshold"),
)
