"""What differs between two runs: data, plan, figures, and the decision on each row that both have scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from deft_aoi.base.rows import PASS
from deft_aoi.report.source import Record
from deft_aoi.web.figures_api import Figures, ScoredRows
from deft_aoi.web.loopback import Call, Endpoint, NotFound
from deft_aoi.web.runs_api import facts
from deft_aoi.web.site import Known, Site

_LISTED = 200
_FIGURES = ("far_pct", "far_lower_pct", "far_upper_pct", "far_995_pct", "auroc", "threshold", "false_calls", "escapes",
            "n_pass", "n_defect", "verdict")  # fmt: skip


class Compare:
    """Handler of the comparison."""

    def __init__(self, site: Site) -> None:
        self.site, self.figures = site, Figures(site)

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/api/compare", self.compare, "what differs between two runs",
                     query={"a": {"type": "string"}, "b": {"type": "string"}}, answer={"type": "object"}),
        ]  # fmt: skip

    def compare(self, call: Call) -> Record:
        one, other = (self.site.run(call.query.get(name, "")) for name in ("a", "b"))
        first, second = facts(self.site, one), facts(self.site, other)
        return {
            "names": [first["run"]["id"], second["run"]["id"]],
            "best": [first["best"], second["best"]],
            "figures": _pairs({k: (first["result"] or {}).get(k) for k in _FIGURES},
                              {k: (second["result"] or {}).get(k) for k in _FIGURES}, only_changed=False),
            "plan": _pairs(*(_plan(found) for found in (first, second))),
            "data": _pairs(*(_data(found) for found in (first, second))),
            "inputs": _pairs(*(_inputs(found) for found in (first, second))),
            "rows": self._rows((one, first["best"]), (other, second["best"])),
        }  # fmt: skip

    def _rows(self, *models: tuple[Known, str | None]) -> Record:
        """Rows that both best models have scored: how many decisions differ, and which."""
        found: list[ScoredRows] = []
        for known, label in models:
            try:
                found.append(self.figures.rows(known, str(label)))
            except NotFound:
                return {"both": 0, "why": f"{known.paths.root.name} has no scores on disk", "changed": [], "counts": {}}
            except Exception:  # a run without any model yet
                return {"both": 0, "why": f"{known.paths.root.name} has no model yet", "changed": [], "counts": {}}
        first, second = (_decided(one) for one in found)
        both = first.merge(second, on=["input_path", "object_name"], suffixes=("_a", "_b"))
        changed = both[(both["called_a"] != both["called_b"]) | (both["label_a"] != both["label_b"])]
        worse = changed[changed["right_a"] & ~changed["right_b"]]
        better = changed[~changed["right_a"] & changed["right_b"]]
        order = changed.assign(move=(changed["margin_b"] - changed["margin_a"]).abs())
        order = order.sort_values("move", ascending=False, kind="stable").head(_LISTED)
        names = ("row_a", "row_b", "object_name", "boardname_a", "label_a", "label_b", "score_a", "score_b", "called_a",
                 "called_b")  # fmt: skip
        return {
            "both": len(both), "only_a": len(first) - len(both), "only_b": len(second) - len(both),
            "counts": {"changed": len(changed), "better": len(better), "worse": len(worse)},
            "changed": order[list(names)].to_dict("records"),
        }  # fmt: skip


def _decided(found: ScoredRows) -> pd.DataFrame:
    score = found.scored.score
    called, margin = score > found.threshold, score - found.threshold
    return found.table[["input_path", "object_name", "boardname", "label"]].assign(
        row=np.arange(len(score)), score=score, called=np.where(called, "NO_PASS", PASS), margin=margin,
        right=called == (found.scored.label != PASS),
    )  # fmt: skip


def _plan(found: Record) -> Record:
    return {name: one["value"] for name, one in found["environment"]["plan"].items()}


def _data(found: Record) -> Record:
    """Rows, PASS rows, boards and each defect's count, by set."""
    flat: Record = {}
    for name, part in found["environment"]["dataset"].items():
        flat |= {f"{name}: {key}": part[key] for key in ("rows", "pass", "boards")}
        flat |= {f"{name}: {label}": count for label, count in part["defects"].items()}
    return flat


def _inputs(found: Record) -> Record:
    return {one["path"]: one["sha256"][:12] for one in found["environment"]["artifacts"] if one["line"] == 0}


def _pairs(first: Record, second: Record, *, only_changed: bool = True) -> list[dict[str, Any]]:
    names = list(dict.fromkeys((*first, *second)))
    listed = [{"name": name, "a": first.get(name), "b": second.get(name)} for name in names]
    return [one for one in listed if not only_changed or one["a"] != one["b"]]
