"""`deft demo`, smaller: the simulated line through the launcher to the report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from inside import deft
from real_loops import Loop


def test_the_demo_ends_with_a_better_model_a_verdict_and_a_report(pregen_loop: Loop) -> None:
    shown = pregen_loop.shown
    said = [line for line in shown.splitlines() if not line.endswith(" left")]  # without the progress of slow machines
    assert len(said) <= 12
    lines = re.findall(r"^\[iter (\d)/2 · (\w+)\] .*", shown, re.M)
    assert [stage for _, stage in lines] == ["evaluate"] * (len(lines) - 1) + ["loop_stop"]
    fars = [float(x) for x in re.findall(r"· evaluate\] FAR (?:[\d.]+% → )?([\d.]+)%", shown)]
    assert min(fars[1:]) < fars[0], "mined rows made the model better"
    assert re.search(r"^verdict: +(PASS|FAIL|NOT PROVABLE) on the KPI set: .*\(FAR < 1%", shown, re.M)
    assert re.search(r"^more: .* --final$", shown, re.M), "nothing of the end is cut"
    report = re.search(r"^report: +(.+)$", shown, re.M)
    assert report
    assert "report not rendered" not in shown
    page = Path(report[1]).read_text()
    assert page.count("<img") >= 6
    model = json.loads(Path(report[1]).with_name("best_model.json").read_text())
    assert f"{model['far_pct']:.2f}%" in page
    run = Path(report[1]).parent
    log = [json.loads(line) for line in (run / "loop_log.jsonl").read_text().splitlines()]
    first = {e["stage"]: e for e in log if e["iter"] == "iter1"}
    assert "labels to mining (pre-generated pairs are part of its pool), 0 dropped" in first["routing"]["summary"]
    flagged, said = first["anomalygen"]["facts"]["realism"]["flagged"], first["anomalygen"]["summary"]
    assert "used anyway" in said if flagged else "none looks unlike real parts" in said
    taken = first["data_mining"]["facts"]["synthetic_kept"] - first["data_merge"]["facts"]["synthetic_over_share"]
    assert not taken or f"{taken} of the new rows are synthetic: " in first["data_merge"]["summary"]
    assert "the same contact sheet as in baseline/rca" in first["rca"]["summary"]


def test_a_folder_that_is_no_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "deft-demo").mkdir()
    (tmp_path / "deft-demo/mine.txt").write_text("mine")
    done = deft("demo", cwd=tmp_path, check=2)
    assert "is no simulated line" in done.stderr
    assert [p.name for p in (tmp_path / "deft-demo").iterdir()] == ["mine.txt"]


@pytest.mark.nightly
def test_the_demo_as_readme_shows_it_reaches_its_target(tmp_path: Path) -> None:
    done = deft("demo", cwd=tmp_path)
    assert "verdict:     NOT PROVABLE on the KPI set: target met (FAR < 3.5% at recall = 100%)" in done.stdout
    fars = [float(x) for x in re.findall(r"· evaluate\] FAR (?:[\d.]+% → )?([\d.]+)%", done.stdout)]
    assert [round(fars[0]), round(fars[-1], 1)] == [35, 2.8]
    assert re.search(r"^to prove it: +a sealed acceptance set with at least \d+ good parts", done.stdout, re.M)
    assert re.search(r"^report: +/.*html$", done.stdout, re.M), "nothing of the end is cut"
