"""narrative.json: words by a reporter, numbers only by reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.report.collect import collect
from deft_aoi.report.narrative import by_rule, headline, narrative_of, recommendations, tell
from deft_aoi.report.render import render, render_iteration
from report_run import baseline_only, whole_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return baseline_only(tmp_path, n_pass=30, n_defect=8).finish()


def write(run: Path, **record: object) -> None:
    (run / "narrative.json").write_text(json.dumps({"schema_version": 1, "headline": "x", **record}))


def test_references_become_figures_with_their_source(run: Path) -> None:
    write(
        run,
        headline="FAR is {{far.baseline}}.",
        iterations={"baseline": "Threshold {{ threshold.baseline }} of `R12@1`."},
    )
    text = render(run).read_text()
    figure = collect(run)["figures"]["far.baseline"]
    assert f'title="from {figure["source"]}">{figure["text"]}</data>' in text
    assert "<code><bdi>R12@1</bdi></code>" in text
    assert "Written by the reporter." in text
    render_iteration(run, "baseline")
    assert "Threshold" in (run / "baseline_summary.md").read_text()


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"headline": "FAR is {{far.iter9}}."}, r"headline: \{\{far.iter9\}\} is no figure.*did you mean far"),
        ({"headline": "FAR fell to 2.3%."}, "headline: the number '2.3%' is written out"),
        ({"recommendations": ["fine", "Add 500 rows."]}, "recommendations.1: the number '500'"),
        ({"iterations": {"iter7": "x"}}, "iterations.iter7: not in this run; found baseline"),
        ({"iterations": {"iteration one": "x"}}, "narrative.schema.json"),
        ({"headline": ""}, "headline: .*narrative.schema.json"),
        ({"verdict": "PASS"}, "verdict"),
        ({"schema_version": 2}, "schema_version"),
    ],
)
def test_refused_narratives_write_nothing(run: Path, record: dict[str, object], said: str) -> None:
    write(run, **record)
    with pytest.raises(InputError, match=said):
        render(run)
    assert not (run / "DEFT_Loop_Report.html").exists()
    assert not (run / "report.json").exists()


def test_broken_json_is_refused(run: Path) -> None:
    (run / "narrative.json").write_text("{")
    with pytest.raises(InputError, match="no JSON"):
        render(run)


def test_markup_in_a_narrative_is_text(run: Path) -> None:
    write(run, headline="<script>alert(`x1`)</script>", caveats=["<img src=x onerror=alert()>"])
    text = render(run).read_text()
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(" in text


def test_names_with_digits_are_no_numbers() -> None:
    for text in ("iter2 helped", "part U17@2 and SolderLight2", "C-RADIOv2-B", "no number, at all."):
        assert tell(text, {}) == text
    for text in ("by 7 rows", "to −3pp", "1,000 parts", "0.5%"):
        with pytest.raises(InputError, match="written out"):
            tell(text, {})


def test_rule_made_words_hold_for_every_kind_of_run(tmp_path: Path) -> None:
    whole = collect(whole_run(tmp_path / "a", n_pass=60, n_defect=12).finish())
    first = collect(baseline_only(tmp_path / "b", n_pass=60, n_defect=12).finish())
    for facts in (whole, first):
        told = by_rule(facts)
        for text in (told.headline, *told.iterations.values(), *told.recommendations):
            assert tell(text, facts["figures"])
    assert headline(whole).startswith("False alarms fell from {{far.baseline}} to ")
    assert headline(first).startswith("The baseline calls {{far.baseline}}")


def test_what_cannot_be_proven_asks_for_rows(tmp_path: Path) -> None:
    maker = baseline_only(tmp_path, n_pass=40, n_defect=8, target="FAR < 50%", target_far=50.0)
    maker.rca("iter1", "baseline")
    maker.mine("iter1", 250, 12)
    maker.train("iter1", 262)
    maker.target, maker.target_far = "FAR < 1%", 1.0
    maker.evaluate("iter1", 12.0)
    facts = collect(maker.finish())
    assert facts["result"]["verdict"] == "NOT PROVABLE"
    assert any("acceptance_set.csv" in text for text in recommendations(facts))
    assert "target met on the KPI set, not proven" in render(maker.run).read_text()


def test_narrative_is_completed_by_rule(run: Path) -> None:
    write(run, headline="Short.")
    facts = collect(run)
    told = narrative_of(facts, run / "narrative.json")
    assert told.by_rule is False
    assert told.iterations == by_rule(facts).iterations


def test_a_pool_without_defects_asks_for_boards_and_not_for_iterations(tmp_path: Path) -> None:
    facts = collect(whole_run(tmp_path, max_iterations=1).finish())
    assert any("start a new run with more iterations" in text for text in recommendations(facts))
    for one in facts["iterations"]:
        for name, part in ((one["mining"] or {}).get("by_label") or {}).items():
            part["candidates"] = part["kept"] if name != "PASS" else part["candidates"]
    assert any("every defect in it is mined" in text for text in recommendations(facts))
