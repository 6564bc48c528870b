"""What limits the figures of a run: at most four caveats in plain words, each with the details behind it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from deft_aoi.report.proof import told_apart
from deft_aoi.report.samples import barred_words, source_words
from deft_aoi.report.source import Record, Source
from deft_aoi.report.words import listed


@dataclass(frozen=True)
class Caveat:
    """`text`: one sentence for everybody. `why`: what it follows from, for who asks."""

    text: str
    why: str


def caveats(source: Source, iterations: list[Record], proved: Record, best: str | None) -> list[dict[str, str]]:
    """The caveats of the best model, the most important first; none before the first evaluation."""
    if not any(it["evaluate"] for it in iterations):
        return []
    found = next((it["evaluate"] for it in iterations if it["evaluate"] and it["label"] == best), None)
    against = next((one for one in proved["challengers"] if one["label"] == best), None)
    some = [_chosen(source, iterations, proved["acceptance"], best)]
    if found and found["n_defect"] and source.recall == 1:
        some.append(_by_construction(found["n_defect"]))
    if found and found["margin"] and found["margin"]["narrow"]:
        text = "The threshold leaves little room: a change of light, camera or part can make a defect escape."
        some.append(Caveat(text, found["margin"]["sentence"]))
    if against and not told_apart(against["difference"]):
        some.append(_by_chance(str(best), against["champion"]))
    return [asdict(one) for one in some]


def _chosen(source: Source, iterations: list[Record], openings: list[dict[str, Any]], best: str | None) -> Caveat:
    """Which set chose what; a sealed set, where it was opened for the best model, says how much that matters."""
    chosen = ["the threshold", "the checkpoint"]
    if len([it for it in iterations if it["evaluate"]]) > 1:
        chosen.append("the best iteration")
    why = [f"The KPI set chose {listed(chosen)}, and its FAR is reported on the same rows."]
    if mined := [it["mining"] for it in iterations if it["mining"]]:
        policy = str(source.config.get("policy") or "knn")
        why += [source_words(policy, str(source.config.get("rca_source") or "kpi")), *barred_words(mined)]
    mine = [one for one in openings if one["model"] == best]
    if mine:
        last = mine[-1]
        text = f"Trust the acceptance set, not the KPI set: FAR {last['far_pct']:.4g}% there"
        text += f", {last['misses']:,} of {last['n_defect']:,} defects escape."
        why.append(f"The acceptance set ({last['seal']}) took no part in any choice; the threshold was frozen.")
        return Caveat(text, " ".join(why))
    if openings:
        why.append("The acceptance set was not opened for the best model.")
    else:
        why.append("A sealed acceptance set would show how much worse it is there.")
    text = "Expect escapes and more false alarms on new boards: the same rows chose the threshold."
    return Caveat(text, " ".join(why))


def _by_construction(defects: int) -> Caveat:
    text = f"Expect an escape at times: the next new defect is missed with a probability of about 1 in {defects + 1:,}."
    why = (
        "The threshold was set below every defect of these rows, so 100% recall holds here by construction. No number "
        f"of defects proves it; {defects:,} were seen."
    )
    return Caveat(text, why)


def _by_chance(best: str, before: str) -> Caveat:
    return Caveat(
        f"The gain of {best} over {before} may be chance.",
        f"On these rows the 95% interval of the difference between {best} and {before}, the best model before it, "
        "includes zero. That says nothing about the target.",
    )
