"""`deft verify` names exactly what was edited, the last line and a chain recreated included."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from deft_aoi.base.errors import COMPLETE, InputError
from deft_aoi.base.paths import RunPaths
from deft_aoi.loop import driver
from deft_aoi.loop.verify import heads, rebuild, seal_problems, verify
from deft_aoi.record import journal


def lines(run: Path) -> list[bytes]:
    return (run / "loop_log.jsonl").read_bytes().splitlines(keepends=True)


def write(run: Path, found: list[bytes]) -> None:
    (run / "loop_log.jsonl").write_bytes(b"".join(found))


def metric(run: Path) -> None:
    found = lines(run)
    entry = json.loads(found[1])
    entry["facts"]["far_pct"] = 0.0
    write(run, [found[0], journal.encode(entry) + b"\n", *found[2:]])


def metric_with_the_chain_made_anew(run: Path) -> None:
    entries = journal.read(run / "loop_log.jsonl")
    entries[9]["facts"] |= {"far_pct": 0.0, "met": True, "verdict": "PASS"}
    write(run, journal.chain(entries))


def last_line(run: Path) -> None:
    entries = journal.read(run / "loop_log.jsonl")
    entries[-1]["facts"]["best_far_pct"] = 0.0
    write(run, journal.chain(entries))


def training_rows(run: Path) -> None:
    found = lines(run)
    write(run, [found[0].replace(b'"rows": 24', b'"rows": 9999'), *found[1:]])


def deleted_line(run: Path) -> None:
    found = lines(run)
    write(run, [*found[:4], *found[5:]])


def deleted_end(run: Path) -> None:
    write(run, lines(run)[:-2])


def swapped(run: Path) -> None:
    found = lines(run)
    write(run, [*found[:5], found[6], found[5], *found[7:]])


def torn(run: Path) -> None:
    write(run, [*lines(run), b'{"seq": 99'])


def csv(run: Path) -> None:
    path = run / "iter1/dataset/train_combined_iter1.csv"
    path.write_text(path.read_text().replace("PASS", "bridge", 1))


def scores(run: Path) -> None:
    path = run / "iter1/inference/best_val/inference.csv"
    head, *rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([head, *rows[1:]]))


def checkpoint(run: Path) -> None:
    entry = journal.read(run / "loop_log.jsonl")[0]
    path = run / entry["facts"]["checkpoints"]["best_val"]
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def removed_checkpoint(run: Path) -> None:
    (run / journal.read(run / "loop_log.jsonl")[0]["facts"]["checkpoints"]["latest"]).unlink()


def passed(run: Path) -> None:
    change_state(run, lambda state: state.update(passed=True))


def passed_within(run: Path) -> None:
    change_state(run, lambda state: state["iterations"]["iter1"].update(passed=True, far_pct=0.0))


def easier_target(run: Path) -> None:
    change_state(run, lambda state: state.update(kpi_target="FAR < 99%"))


def more_iterations(run: Path) -> None:
    change_state(run, lambda state: state["config"]["plan"].update(max_iterations=9))


def change_state(run: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    state = json.loads((run / "deft_state.json").read_text())
    change(state)
    (run / "deft_state.json").write_text(json.dumps(state))


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (metric, "line 2 (baseline/evaluate): changed after it was written"),
        (metric, "line 2 (baseline/evaluate): far_pct is 0.0, its scores give "),
        (metric_with_the_chain_made_anew, "line 10 (iter1/evaluate): met is True, its scores give False"),
        (metric_with_the_chain_made_anew, "loop_log.jsonl: a line was changed after deft_state.json had read 11 lines"),
        (last_line, "loop_log.jsonl: its last line was changed after deft_state.json had read 11 lines"),
        (training_rows, "line 1 (baseline/train): changed after it was written"),
        (deleted_line, "loop_log.jsonl: removed: seq 5"),
        (deleted_end, "ends after 9 lines, deft_state.json has read 11: lines were removed"),
        (swapped, "loop_log.jsonl: out of order: seq 7, 6 are swapped"),
        (torn, "loop_log.jsonl: the last line is torn"),
        (csv, "iter1/dataset/train_combined_iter1.csv: changed since iter1/data_merge made it"),
        (scores, "iter1/inference/best_val/inference.csv: changed since iter1/evaluate made it"),
        (checkpoint, ".pth: changed since baseline/train made it"),
        (removed_checkpoint, ".pth: missing; baseline/train made it"),
        (passed, "deft_state.json: passed is unexpected"),
        (passed_within, "deft_state.json: iterations.iter1.passed is unexpected"),
        (passed_within, "deft_state.json: iterations.iter1.far_pct is 0.0; the journal says "),
        (easier_target, "kpi_target is 'FAR < 99%', approved was 'FAR <= 0% at recall = 100%'"),
        (more_iterations, "config.plan.max_iterations is 9, approved was 1"),
    ],
)
def test_verify_names_the_edit(spoilable: Path, edit: Callable[[Path], None], named: str) -> None:
    assert verify(RunPaths.at(spoilable)) == []
    edit(spoilable)
    problems = verify(RunPaths.at(spoilable))
    assert any(named in problem for problem in problems), problems
    assert len(problems) <= 12, problems


def test_a_changed_input_is_named(spoilable: Path, workspace: Path) -> None:
    csv = workspace / "kpi/testing_set.csv"
    before = csv.read_bytes()
    csv.write_bytes(before.replace(b"PASS", b"bridge", 1))
    try:
        assert "kpi/testing_set.csv: changed since the Summary was approved" in verify(RunPaths.at(spoilable))
    finally:
        csv.write_bytes(before)


def test_an_altered_picture_of_a_set_that_judges_is_named(spoilable: Path, workspace: Path) -> None:
    picture = next((workspace / "kpi/images").glob("K*/test/*.png"))
    before = picture.read_bytes()
    picture.write_bytes(before[:-1] + b"!")
    try:
        assert "images of kpi/testing_set.csv: changed since the Summary was approved" in verify(RunPaths.at(spoilable))
    finally:
        picture.write_bytes(before)
    assert verify(RunPaths.at(spoilable)) == []


@pytest.mark.parametrize("edit", [easier_target, more_iterations])
def test_a_plan_that_nobody_approved_is_not_worked_on(spoilable: Path, edit: Callable[[Path], None]) -> None:
    edit(spoilable)
    with pytest.raises(InputError, match="approved was"):
        driver.step(spoilable, wait=0, report=False)


def test_a_state_behind_the_journal_is_named_and_brought_up(spoilable: Path) -> None:
    """What a crash between the two writes leaves."""
    change_state(spoilable, lambda state: None)
    from deft_aoi.record import state

    snapshot = state.load(spoilable / "deft_state.json")
    state.save(spoilable / "deft_state.json", state.fold(snapshot, journal.read(spoilable / "loop_log.jsonl")[:-1]))
    assert ["1 lines behind the journal" in problem for problem in verify(RunPaths.at(spoilable))] == [True]
    assert driver.step(spoilable, wait=0, report=False).code == COMPLETE
    assert verify(RunPaths.at(spoilable)) == []


def hidden_calls(run: Path) -> None:
    """A forger who hides false calls in the scores, corrects every figure, and rebuilds chain, hashes and state."""
    from deft_aoi.kpi.target import parse_target
    from deft_aoi.stages.evaluate import judged, score_facts

    entries = journal.read(run / "loop_log.jsonl")
    entry = next(e for e in entries if (e["iter"], e["stage"]) == ("baseline", "evaluate"))
    csv, threshold = run / entry["facts"]["inference_csv"], float(entry["facts"]["threshold"])
    rows = pd.read_csv(csv, dtype=str, keep_default_na=False)
    rows.loc[(rows["label"] == "PASS") & (rows["siamese_score"].astype(float) > threshold), "siamese_score"] = "0.01"
    rows.to_csv(csv, index=False)
    target = parse_target("FAR <= 0% at recall = 100%")
    facts = score_facts(csv, target) | {"inference_csv": entry["facts"]["inference_csv"]}
    verdict = judged(target, facts)
    told = {"met": verdict.met, "verdict": verdict.status, "verdict_sentence": verdict.sentence}
    entry["facts"].update(
        facts | {"inference_csv": entry["facts"]["inference_csv"]},
        **told,
        gate=verdict.record(),
        far_upper_pct=100 * verdict.far_upper,
    )
    for one in entries:
        for item in one["artifacts"]:
            if (run / item["path"]).is_file():
                item.update(journal.artifact(run, run / item["path"]))
    write(run, journal.chain(entries))
    rebuild(RunPaths(run))


def test_only_a_head_noted_elsewhere_shows_a_forger_who_rebuilt_everything(spoilable: Path) -> None:
    run = spoilable
    noted = heads(journal.read(run / "loop_log.jsonl"))
    assert seal_problems(journal.read(run / "loop_log.jsonl"), [noted[0], noted[-1][:16]]) == []
    hidden_calls(run)
    entries = journal.read(run / "loop_log.jsonl")
    assert seal_problems(entries, noted[:1]) == []
    (problem,) = seal_problems(entries, [noted[-1][:16]])
    assert "was noted elsewhere and is none of this chain" in problem
