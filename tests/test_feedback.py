"""deft feedback: verdicts of operators become pool rows, or are listed with what speaks against it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pandas as pd
import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import SKILL_ROOT, Workspace
from deft_aoi.base.rows import PASS, read_pool, read_rows
from deft_aoi.cli.main import main
from deft_aoi.loop.feedback import Taken, take_in
from deft_aoi.loop.score_folder import open_station
from deft_aoi.preflight.line_news import News, advice, line_news, news_lines
from deft_aoi.record.feedback import Batch, Day, Feedback, Verdict, append, by_day, log_path, read_feedback
from deft_aoi.report.render import render
from door_pictures import save, shot
from line_model import imported_model, new_pictures
from report_run import whole_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported_model(tmp_path_factory.mktemp("made"))


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A workspace of its own with a day's pictures scored: two boards, 6 good parts and 2 defects."""
    workspace = tmp_path / "w"
    shutil.copytree(made.parents[2], workspace)
    run = workspace / "results/run_20260101_000000"
    model = json.loads((run / "best_model.json").read_text())
    old = str(made.parents[2])
    (run / "best_model.json").write_text(json.dumps(model).replace(old, str(workspace)))
    new_pictures(tmp_path / "today")
    score(workspace, tmp_path)
    return workspace


def score(workspace: Path, root: Path) -> None:
    model = workspace / "results/run_20260101_000000/best_model.json"
    open_station(model, root / "today", root / "today_scored", review_share=0.02).decide_new()


def told(root: Path, rows: list[tuple[str, ...]], columns: str = "part,verdict,label,operator,date") -> Taken:
    table = root / "verdicts.csv"
    table.write_text("\n".join([columns, *(",".join(row) for row in rows)]) + "\n")
    return take_in(root / "today_scored/decisions.csv", table)


DEFECT, GOOD_PART, OTHER = "SN300/again/SN300_R1", "SN300/SN300_R2", "SN301/SN301_R1"


def test_verdicts_become_pool_rows_with_their_origin(home: Path, tmp_path: Path) -> None:
    before = read_rows(Workspace.at(home).pool_csv)
    rows = [(DEFECT, "real defect", "Bridge", "Ana", "2026-03-31"), (OTHER, "escape", "lifted", "Ben", "2026-04-02")]
    taken = told(tmp_path, [*rows, (GOOD_PART, "ok", "", "", "")])
    assert [one.outcome for one in taken.verdicts] == ["added"] * 3
    assert [one.verdict for one in taken.verdicts] == ["real defect", "escape", "good"]
    after = read_rows(Workspace.at(home).pool_csv)
    pd.testing.assert_frame_equal(after[list(before)].head(len(before)), before)
    new = after.tail(3)
    assert list(new["label"]) == ["bridge", "lifted", PASS]
    assert list(new["operator"]) == ["Ana", "Ben", ""]
    assert list(new["date"])[:2] == ["2026-03-31", "2026-04-02"]
    assert list(new["boardname"]) == ["SN300", "SN301", "SN300"]
    assert (
        new["provenance"].iloc[0].startswith(f"real defect: {DEFECT} of today, decided NO_PASS by run_20260101_000000")
    )
    read_pool(Workspace.at(home).pool_csv, home, ("SolderLight",), ".png")  # every picture and golden is where it says


def test_the_same_verdicts_again_add_nothing_also_after_a_kill(home: Path, tmp_path: Path) -> None:
    rows = [(DEFECT, "real defect", "bridge", "Ana", ""), (GOOD_PART, "good", "", "Ana", "")]
    told(tmp_path, rows)
    pool, record = Workspace.at(home).pool_csv, log_path(home)
    whole, lines = pool.read_bytes(), record.read_bytes()
    assert {one.outcome for one in told(tmp_path, rows).verdicts} == {"known already"}
    assert pool.read_bytes() == whole
    record.write_bytes(lines[: len(lines) // 2])  # killed after the pool was written, within a line of the record
    told(tmp_path, rows)
    assert pool.read_bytes() == whole
    assert {one.part for one in read_feedback(home).verdicts} == {DEFECT, GOOD_PART}


def test_copies_of_judging_sets_stay_out(home: Path, tmp_path: Path) -> None:
    workspace = Workspace.at(home)
    name = read_rows(workspace.kpi_csv).query("label != 'PASS'")["object_name"].iloc[0]
    picture = cv2.imread(str(workspace.images / f"pairs/test/{name}_SolderLight.png"))
    cv2.imwrite(str(tmp_path / "today/SN400_R1.png"), np.roll(picture, 1, axis=1))
    score(home, tmp_path)
    before = workspace.pool_csv.read_bytes()
    taken = told(tmp_path, [("SN400_R1", "real defect", "bridge", "", "")])
    assert taken.verdicts[0].outcome == "shows a picture of the kpi set"
    assert workspace.pool_csv.read_bytes() == before


def test_contradictions_are_listed_and_change_nothing(home: Path, tmp_path: Path) -> None:
    workspace = Workspace.at(home)
    row = read_rows(workspace.training_csv).query("label == 'PASS'").iloc[0]
    picture = workspace.images / row["input_path"] / f"{row['object_name']}_SolderLight.png"
    shutil.copy(picture, tmp_path / "today/SN400_R1.png")
    score(home, tmp_path)
    told(tmp_path, [(GOOD_PART, "good", "", "Ana", "2026-03-31")])
    before = workspace.pool_csv.read_bytes()
    rows = [
        (GOOD_PART, "escape", "lifted", "Ben", ""),  # another verdict than before
        (DEFECT, "escape", "bridge", "", ""),  # it was called
        (OTHER, "false call", "", "", ""),  # it was not called
        ("SN400_R1", "escape", "bridge", "", ""),  # a training row says PASS
        ("SN300/SN300_R1", "good", "", "Ana", ""),
        ("SN300/SN300_R1", "escape", "bridge", "Ben", ""),  # two of this table
    ]
    taken = told(tmp_path, rows)
    assert all(one.outcome.startswith("contradiction: ") for one in taken.verdicts)
    assert taken.verdicts[0].outcome == "contradiction: was good (PASS) on 2026-03-31 by Ana"
    assert "decided NO_PASS" in taken.verdicts[1].outcome
    assert "decided PASS" in taken.verdicts[2].outcome
    assert "has the same picture as PASS" in taken.verdicts[3].outcome
    assert "say PASS and bridge" in taken.verdicts[4].outcome
    assert workspace.pool_csv.read_bytes() == before
    assert len(pd.read_csv(home / "feedback/contradictions.csv")) == len(rows)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("SN300/SN300_R9", "good", "", "", ""), r"line 2: part 'SN300/SN300_R9' is not in the decisions"),
        ((DEFECT, "maybe", "", "", ""), r"line 2: verdict 'maybe'; expected real defect, false call, good or escape"),
        ((DEFECT, "defect", "", "", "31.3.26"), r"line 2: date '31.3.26'; expected it as 2026-03-31"),
        ((DEFECT, "", "", "", ""), "no row has a verdict"),
    ],
)
def test_what_cannot_be_understood_is_refused(home: Path, tmp_path: Path, row: tuple[str, ...], words: str) -> None:
    before = Workspace.at(home).pool_csv.read_bytes()
    with pytest.raises(InputError, match=words):
        told(tmp_path, [row])
    assert Workspace.at(home).pool_csv.read_bytes() == before
    assert not log_path(home).exists()


def test_a_picture_that_changed_is_not_taken(home: Path, tmp_path: Path) -> None:
    os.utime(save(tmp_path / "today" / f"{GOOD_PART}.png", shot(1, 77)), (1, 1))
    assert told(tmp_path, [(GOOD_PART, "good", "", "", "")]).verdicts[0].outcome.startswith("its picture changed")


def test_decisions_with_a_column_verdict_will_do(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv = tmp_path / "today_scored/decisions.csv"
    table = pd.read_csv(csv, dtype=str, keep_default_na=False)
    table["verdict"] = ["real defect" if row == "NO_PASS" else "" for row in table["decision"]]
    table.to_csv(tmp_path / "mine.csv", index=False)
    capsys.readouterr()
    words = ["--decisions", str(csv), "--verdicts", str(tmp_path / "mine.csv"), "--operator", "Ana"]
    assert main(["feedback", *words]) == 0
    said = capsys.readouterr().out
    assert "added to the mining pool: 2 rows (defect 2)" in said
    assert "2 defects have no type" in said
    assert "preflight --workspace" in said.splitlines()[-1]


def batch(at: str = "2026-04-02T00:00:00Z", **fields: object) -> Batch:
    days = {"2026-04-01": Day(100, 6, 2), "2026-04-02": Day(50, 1, 0)}
    return replace(Batch(at, "a", "today", "run_1", days, (), ""), **fields)


def verdict(day: str, said: str, decision: str = "NO_PASS", label: str = PASS, outcome: str = "added") -> Verdict:
    at = "2026-04-02T00:00:00Z"
    return Verdict(at, "a", "p", "R1", "", day, decision, 0.5, said, label, "", day, "c", outcome, "")


def test_days_count_parts_once_and_leave_contradictions_out() -> None:
    said = [
        *[verdict("2026-04-01", "false call")] * 3,
        verdict("2026-04-01", "real defect", label="bridge"),
        verdict("2026-04-01", "false call", outcome="contradiction: was real defect"),
        verdict("2026-04-02", "escape", "PASS", "lifted"),
    ]
    first, second = by_day(Feedback((batch("2026-04-01T00:00:00Z"), batch()), tuple(said)))
    assert (first.parts, first.called, first.false_calls, first.defects, first.unjudged) == (100, 6, 3, 1, 4)
    assert first.false_call_pct == pytest.approx(100 * 3 / 99)
    assert (second.escapes, second.unjudged, second.false_call_pct) == (1, 1, 0)


def test_advice_names_what_asks_for_a_new_loop() -> None:
    calls = tuple([verdict("2026-04-01", "false call")] * 9)
    assert advice(Feedback((batch(),), calls[:1]), 0.05).startswith("Nothing from the line asks for a new loop: 1 rows")
    assert "9 false calls on 150 parts (6.00%)" in advice(Feedback((batch(),), calls), 0.01)
    escaped = (verdict("2026-04-01", "escape", "PASS", "lifted"),)
    words = advice(Feedback((batch(drift="scores drift up", components=("U7",)),), escaped), 0.05)
    assert words.startswith(
        "**A new loop is worth it**: defects escaped (lifted 1); today: scores drift up; part types"
    )
    assert "(U7); 1 rows from it can be mined" in words


def test_preflight_tells_what_is_new_since_the_last_run(home: Path, tmp_path: Path) -> None:
    assert line_news(Workspace.at(home)) is None
    told(tmp_path, [(DEFECT, "real defect", "bridge", "Ana", ""), (OTHER, "escape", "lifted", "Ben", "")])
    news = line_news(Workspace.at(home))
    assert news is not None
    lines = news_lines(news, {PASS: 12, "bridge": 4}, None)
    assert "| bridge | 0 | 1 | 0 | 0 | 1 |" in lines
    assert "| lifted | 0 | 0 | 1 | 0 | 1 |" in lines
    assert "defects escaped (lifted 1)" in lines[-1]
    since = News("run_2", {PASS: 10, "bridge": 4}, news.found.since("2999-01-01T00:00:00Z"))
    lines = news_lines(since, {PASS: 12, "bridge": 4}, None)
    assert "| nothing new | 0 | 0 | 0 | 0 | 0 |" in lines
    assert "- The mining pool since run_2: PASS +2." in lines
    assert main(["preflight", "--workspace", str(home), "--max-iterations", "1", "--kpi-target", "FAR < 5%"]) == 0
    summary = next(home.glob("results/*/preflight_summary.md")).read_text()
    assert "| bridge | 0 | 1 | 0 | 0 | 1 |" in summary
    assert "**A new loop is worth it**" in summary


def test_the_report_shows_false_calls_over_time(tmp_path: Path) -> None:
    made = whole_run(tmp_path)
    made.finish()
    path = render(made.run)
    assert json.loads((made.run / "report.json").read_text())["line"] is None
    assert "On the line" not in path.read_text()
    said = [verdict("2026-04-01", "false call")] * 3
    append(made.workspace, [batch(), *said, verdict("2026-04-02", "escape", "PASS", "lifted")])
    render(made.run)
    facts = json.loads((made.run / "report.json").read_text())
    jsonschema.validate(facts, json.loads((SKILL_ROOT / "specs/report.schema.json").read_text()))
    assert [day["false_call_pct"] for day in facts["line"]["days"]] == [3, 0]
    page = path.read_text()
    assert "False calls by day: 2026-04-01 3.00%; 2026-04-02 0%." in page
    assert "<td>50</td><td>1</td><td>0</td><td>0%</td><td>0</td><td>1</td><td>1</td>" in page


def test_a_damaged_record_is_refused_with_its_line(home: Path) -> None:
    log_path(home).parent.mkdir(exist_ok=True)
    log_path(home).write_text('{"kind": "verdict"}\n')
    with pytest.raises(InputError, match=r"feedback.jsonl, line 1: damaged"):
        read_feedback(home)
