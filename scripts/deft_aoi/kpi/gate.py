"""The gate: what the KPI target says, what a result proves about it, and which of two models is better."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from deft_aoi.errors import InputError
from deft_aoi.kpi.bounds import CONFIDENCE, samples_needed, upper_bound

EXAMPLE = '"FAR < 0.1% at recall = 100%"'
Status = Literal["PASS", "FAIL", "NOT PROVABLE"]

_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)\s*(%|percent\b)?"
_METRIC = r"(?:far|false[\s-](?:alarms?|accepts?|calls?)(?:[\s-]rate)?)"
_BELOW = r"(?:is\s+)?(<=|=<|≤|<|at\s+most|no\s+more\s+than|below|under|less\s+than)"
_AT_RECALL = rf"recall\s*(?:>=|=>|≥|==?|of|is|at\s+least)?\s*{_NUMBER}|{_NUMBER}\s*recall"
_RECALL = rf"(?:\s*,?\s*(?:at|@|with)\s*(?:a\s+)?(?:{_AT_RECALL}))?"
_TARGET = re.compile(rf"\s*{_METRIC}\s*{_BELOW}\s*{_NUMBER}{_RECALL}\s*\.?\s*", re.IGNORECASE)
_INCLUSIVE = re.compile(r"<=|=<|≤|at\s+most|no\s+more\s+than", re.IGNORECASE)


@dataclass(frozen=True)
class KpiTarget:
    """A bound on the false alarm rate at a recall; both fractions. `text` is the target in one fixed spelling."""

    limit: float
    inclusive: bool
    recall: float
    text: str
    recall_stated: bool = True

    def met_by(self, far: float) -> bool:
        """Whether a false alarm rate (fraction) satisfies the bound."""
        return far <= self.limit if self.inclusive else far < self.limit


@dataclass(frozen=True)
class Verdict:
    """What `false_calls` of `n_pass` and `misses` of `n_defect` say about a target; rates are fractions.

    `met` is the point estimate (it stops the loop); `status` is PASS only where the upper bound meets the target too.
    `further_pass_needed` counts the PASS rows without a false call that would prove it: 0 when proven, None where no
    number does or the point estimate already misses.
    """

    status: Status
    met: bool
    far: float
    far_upper: float
    recall: float
    escape_upper: float
    further_pass_needed: int | None
    sentence: str


@dataclass(frozen=True)
class Standing:
    """What the champion rule looks at; `far` at the target's recall and `far_995` at 99.5 %, both fractions."""

    far: float
    far_995: float
    auroc: float


def parse_target(text: str) -> KpiTarget:
    """Read a target such as "FAR < 0.1% at recall=100%"; "false accept rate" and "false alarm rate" mean FAR here.

    Units are never guessed: both numbers need a percent sign. Without a recall part, 100 % is meant and
    `recall_stated` is false. Raises InputError for anything else, naming what to type.
    """
    match = _TARGET.fullmatch(text)
    if match is None:
        raise InputError(f"kpi target {text!r}: not understood; type for example {EXAMPLE}")
    below, limit_text, limit_unit, *recalls = match.groups()
    recall_text, recall_unit = (recalls[0] or recalls[2], recalls[1] or recalls[3])
    limit = _percent(limit_text, limit_unit, text)
    recall = _percent(recall_text, recall_unit, text) if recall_text else 1.0
    inclusive = _INCLUSIVE.fullmatch(below) is not None
    if limit >= 1 or (limit == 0 and not inclusive):
        raise InputError(f"kpi target {text!r}: FAR must be able to meet it and to miss it; type for example {EXAMPLE}")
    if not 0 < recall <= 1:
        raise InputError(f"kpi target {text!r}: recall must be above 0% and at most 100%; type for example {EXAMPLE}")
    canonical = (
        f"FAR {'<=' if inclusive else '<'} {_shown(limit)} at recall {'=' if recall == 1 else '>='} {_shown(recall)}"
    )
    return KpiTarget(limit, inclusive, recall, canonical, recall_stated=recall_text is not None)


def judge(target: KpiTarget, false_calls: int, n_pass: int, misses: int, n_defect: int) -> Verdict:
    """Verdict on counts taken at the target's recall.

    Raises InputError where a class is absent. Bounds are one-sided 95 % Clopper-Pearson. The recall part is the
    point estimate: a threshold set below the lowest defect score has recall 100 % by construction, so
    `escape_upper` says what the count of defects can show about the next one.
    """
    if n_pass < 1 or n_defect < 1:
        raise InputError(f"{n_pass} PASS rows and {n_defect} defects: a verdict needs at least one of each")
    far, far_upper = false_calls / n_pass, upper_bound(false_calls, n_pass)
    recall, escape_upper = 1 - misses / n_defect, upper_bound(misses, n_defect)
    met = target.met_by(far) and recall >= target.recall - 1e-12
    status: Status = "FAIL"
    needed: int | None = None
    if met:
        status = "PASS" if target.met_by(far_upper) else "NOT PROVABLE"
        needed = 0 if status == "PASS" else _further_pass(target, false_calls, n_pass)
    sentence = _sentence(target, status, far, far_upper, false_calls, n_pass, needed)
    return Verdict(status, met, far, far_upper, recall, escape_upper, needed, sentence)


def better(challenger: Standing, champion: Standing) -> bool:
    """Whether the challenger takes the title: lower FAR, at a tie lower FAR at 99.5 %, at a tie higher AUROC."""
    return (challenger.far, challenger.far_995, -challenger.auroc) < (champion.far, champion.far_995, -champion.auroc)


def distance_text(target: KpiTarget, far: float) -> str:
    """How far a false alarm rate (fraction) is from the target: "met" or "2.3pp from target"."""
    return "met" if target.met_by(far) else f"{max(100 * (far - target.limit), 0.0):.3g}pp from target"


def _percent(number: str, unit: str | None, text: str) -> float:
    if not unit:
        raise InputError(
            f"kpi target {text!r}: {number} has no unit and percent differs from fraction; "
            f"write it with a percent sign, as in {EXAMPLE}"
        )
    return float(f"{number}e-2")  # one correctly rounded conversion: 0.1 % is 0.001 exactly as a literal would be


def _shown(fraction: float) -> str:
    return f"{100 * fraction:.10g}%"


def _further_pass(target: KpiTarget, false_calls: int, n_pass: int) -> int | None:
    if target.limit == 0:
        return None
    needed = samples_needed(target.limit, false_calls)
    if not target.met_by(upper_bound(false_calls, needed)):
        needed += 1
    return needed - n_pass


def _sentence(
    target: KpiTarget, status: Status, far: float, far_upper: float, calls: int, n_pass: int, needed: int | None
) -> str:
    bound = f"at most {100 * far_upper:.4g}% with {CONFIDENCE:.0%} confidence"
    seen = f"{calls} false calls on {n_pass:,} PASS rows: FAR {100 * far:.4g}%, {bound}"
    if status == "FAIL":
        gap = "recall below the target" if target.met_by(far) else distance_text(target, far)
        return f"{seen}; {gap} ({target.text})"
    if status == "PASS":
        return f"{seen}; {target.text} is proven"
    rows = f"{needed:,} further PASS rows without a false call would prove it" if needed else "no number of rows can"
    return f"{seen}; {target.text} is reached but not proven: {rows}"
