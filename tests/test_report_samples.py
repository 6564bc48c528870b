"""report.samples: which set asked is said in words; a page shows what can be read of causes, coverage and labels."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from deft_aoi.base.paths import RunPaths
from deft_aoi.data.label_review import COLUMNS, write_review
from deft_aoi.record.journal import Log
from deft_aoi.record.locations import Places
from deft_aoi.report import samples
from deft_aoi.report.source import Source


def source(root: Path, **preflight: object) -> Source:
    return Source(RunPaths(root), Log(), {}, dict(preflight), Places(root, root))


def test_the_report_says_which_set_asked_and_what_that_means() -> None:
    assert "the KPI set also steered the training data" in samples.source_words("knn", "kpi")
    assert "weak validation rows; no KPI row took part" in samples.source_words("knn+label", "validation")
    assert "chosen by their own scores" in samples.source_words("weakness", "validation")
    assert "drawn at random" in samples.source_words("random", "kpi")


def test_rows_that_somebody_looked_at_come_first_and_damage_hides_nothing_else(tmp_path: Path) -> None:
    rows = [dict.fromkeys(COLUMNS, "") | {"object_name": f"C{n}", "doubt": str(n / 10)} for n in range(3)]
    rows[0]["verdict"] = "mislabeled"
    write_review(tmp_path / "label_review.csv", pd.DataFrame(rows))
    found = samples.samples(source(tmp_path), [])
    assert found is not None
    assert [row["object_name"] for row in found["review"]["rows"]] == ["C0", "C2", "C1"]
    assert (found["review"]["all"], found["review"]["judged"]) == (3, 1)
    (tmp_path / "label_review.csv").write_bytes(b'\xff\xfe\0"')
    assert samples.samples(source(tmp_path), []) is None


def test_coverage_shows_what_was_forecast_beside_what_was_kept(tmp_path: Path) -> None:
    entry = {"label": "bridge", "forecast": 5, "goes_to": ["mining"]}
    shown = [
        {"label": "iter1", "rca": None,
         "routing": {"coverage": [entry, entry | {"label": "PASS"}], "requests": [{"sentence": "Collect 5 parts."}]},
         "mining": {"by_label": {"bridge": {"kept": 4}}}},
    ]  # fmt: skip
    found = samples.coverage(shown)
    assert found is not None
    assert [(one["label"], one["kept"]) for one in found["entries"]] == [("PASS", None), ("bridge", 4)]
    assert found["requests"] == ["Collect 5 parts."]
