"""The words of the report: a reporter's `narrative.json` where there is one, sentences made by rules where not.

Both quote figures by name only (`{{far.iter2}}`), so that no number on the page can be anybody's invention.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.base.rows import PASS
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.report.words import listed, plural

SCHEMA = SKILL_ROOT / "specs/narrative.schema.json"
Record = dict[str, Any]
Figures = Mapping[str, Record]
_PIECE = re.compile(r"\{\{\s*(?P<name>[^{}]*?)\s*\}\}|`(?P<code>[^`]+)`")
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
    for match in _PIECE.finditer(text):
        parts += _plain(text[end : match.start()], where)
        end = match.end()
        if match["code"] is not None:
            parts += Markup("<code><bdi>{}</bdi></code>").format(match["code"])
        else:
            figure = _look_up(match["name"], figures, where)
            shape = Markup('<data class="figure" value="{}" title="from {}">{}</data>')
            parts += shape.format(figure["value"], figure["source"], figure["text"])
    return parts + _plain(text[end:], where)


def plain(text: str, figures: Figures) -> str:
    """`text` with its references as words, for Markdown and terminals."""
    return _PIECE.sub(lambda m: f"`{m['code']}`" if m["code"] else str(_look_up(m["name"], figures, "")["text"]), text)


def _plain(text: str, where: str) -> Markup:
    bare = _BARE_NUMBER.search(text)
    if bare is not None:
        raise InputError(
            f"{where}: the number {bare.group().strip()!r} is written out; quote a figure of report.json instead, "
            "as {{far.iter1}}, or put a name into `backticks`"
        )
    return Markup("{}").format(text)


def _look_up(name: str, figures: Figures, where: str) -> Record:
    if name in figures:
        return figures[name]
    near = difflib.get_close_matches(name, figures, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"{where}: {{{{{name}}}}} is no figure of this run (report.json lists them under figures){hint}")


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
        return f"False alarms stand at {{{{far.{best}}}}} {kept}; no iteration improved on the baseline."
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


def recommendations(facts: Record) -> list[str]:
    """What a person could do next, each only where the facts call for it."""
    result, advice = facts["result"], []
    if facts["run"]["problem"]:
        remedy = facts["run"]["problem"]["remedy"]
        advice.append(
            f"The loop stopped by itself. What to do: {code(remedy)}" if remedy else "The loop stopped by itself."
        )
    if result is None:
        return advice
    needed = [
        text
        for count, text in (
            (result["further_pass_needed"], "{{further_pass}} PASS rows without a false call"),
            (result["further_defects_needed"], "{{further_defects}} defects without an escape"),
        )
        if count
    ]
    if result["verdict"] == "NOT PROVABLE" and result["met"] and not facts["proof"]["acceptance"]:
        size = f", at least {' and '.join(needed)}" if needed else ""
        advice.append(
            "The target is reached on the KPI set, which also chose the threshold. To prove it, put boards that "
            f"nothing else uses into a sealed acceptance set{size}."
        )
    elif not result["met"] and facts["run"]["status"] == "complete":
        advice.append(
            "{{gap}}: more iterations help while mining still finds rows; otherwise the pool needs new boards."
        )
    reference = facts["classical"]
    if reference and reference["far_pct"] <= result["far_pct"]:
        advice.append("The classical difference, which needs no training, does as well here ({{far.classical}}).")
    if result["far_995_pct"] is not None and result["far_995_pct"] < 0.6 * result["far_pct"]:
        advice.append(
            "A few defects hold the threshold down: at {{soft_recall}} recall FAR would be {{far_995.best}}. "
            "Look at the lowest-scoring defects below: are they labelled right, and can they be seen at all?"
        )
    empty = without_yield(facts)
    if empty:
        names = listed([code(name) for name in empty])
        advice.append(f"Mining kept no row of {names}: the pool or pre-generated pairs need some.")
    return advice


def without_yield(facts: Record) -> list[str]:
    """Defects that analysis found weak but of which mining never kept a row."""
    mined = [one["mining"] for one in facts["iterations"] if one["mining"]]
    if not mined:
        return []
    weak = {name for one in facts["iterations"] if one["rca"] for name in one["rca"].get("weak_by_label") or {}}
    kept = {name for part in mined for name, y in (part.get("by_label") or {}).items() if y.get("kept")}
    return sorted(weak - kept - {PASS})


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
    lines += [f"- Time: {figures[f'duration.{label}']['text']}", "", *facts["honesty"][:1]]
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


def code(name: str) -> str:
    """A name as it may stand in a text: in backticks, which it may not itself contain."""
    return f"`{name.replace('`', chr(39))}`"
