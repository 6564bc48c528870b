"""Full disks before a stage, pruned checkpoints, a loop that a person ends, runs of 7.0.x."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import faulty
import inside
from deft_aoi.base.errors import COMPLETE, HARD_STOP, OK, HardStop, InputError
from deft_aoi.base.paths import RunPaths
from deft_aoi.loop import decisions, driver
from deft_aoi.loop.verify import verify
from deft_aoi.preflight import preflight
from deft_aoi.record import disk_space, journal, order, state
from deft_aoi.record.locations import Places
from deft_aoi.record.run import load_run


def deft(*words: object, check: int = 0) -> str:
    done = inside.deft(*words, check=check)
    return done.stdout + done.stderr


def entries(run: Path) -> list[journal.Entry]:
    return list(Places.at(run).entries(journal.read(run / "loop_log.jsonl")))


# --- disk -----------------------------------------------------------------------------------------------------------


def test_the_need_of_a_training_is_its_checkpoints(unbroken: tuple[Path, list[float]]) -> None:
    run = load_run(unbroken[0])
    size = max(path.stat().st_size for path in run.paths.train("iter1").glob("model_epoch_*.pth"))
    assert disk_space.needed(run, "iter2", "train") == (
        2 * size,
        f"2 checkpoints of {disk_space.figure(size)}, as in iter1",
    )
    assert disk_space.figure(disk_space.TAO_CHECKPOINT) == "1.85 GB"
    with pytest.raises(HardStop, match=r"train of iter2 needs about .* \(2 checkpoints of .* 1 MB are free"):
        disk_space.require(run, "iter2", "train", free=lambda folder: 1_000_000)
    disk_space.require(run, "iter2", "train", free=lambda folder: disk_space.RESERVE + 2 * size)


def test_a_tao_checkpoint_is_reckoned_before_the_first_one(workspace: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    run = load_run(faulty.begin(workspace, 300))
    tao = replace(run, plan=replace(run.plan, engine="tao", num_epochs=10))
    assert disk_space.needed(tao, "baseline", "train")[0] == 10 * 1_850_000_000


def test_a_full_disk_is_a_hard_stop_and_trains_nothing(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = faulty.begin(workspace, 301)
    monkeypatch.setattr(disk_space, "RESERVE", 1 << 60)  # no disk has this much
    outcome = driver.step(run, wait=60, report=False)
    assert outcome.code == HARD_STOP
    assert "HARD STOP disk_full at baseline/train" in outcome.line
    assert not list((run / "jobs").glob("*"))
    monkeypatch.undo()
    assert decisions.resolve(run, "emptied the disk").code == OK
    assert driver.step(run, wait=120, report=False).code == OK
    assert verify(RunPaths.at(run)) == []


# --- pruning --------------------------------------------------------------------------------------------------------


def checkpoints(run: Path) -> set[str]:
    return {path.relative_to(run).as_posix() for path in run.glob("*/train/model_epoch_*.pth")}


def test_pruning_keeps_the_best_and_the_latest_and_verify_knows(spoilable: Path) -> None:
    train = spoilable / "baseline/train"
    shutil.copy(next(train.glob("model_epoch_*.pth")), train / "model_epoch_099_step_00099.pth")
    before = checkpoints(spoilable)
    assert "would be dropped" in deft("prune", "--results-dir", str(spoilable), "--dry-run")
    assert checkpoints(spoilable) == before
    deft("prune", "--results-dir", str(spoilable))
    gone = before - checkpoints(spoilable)
    kept = {n for e in entries(spoilable) if e["stage"] == "train" for n in e["facts"]["checkpoints"].values()}
    assert "baseline/train/model_epoch_099_step_00099.pth" in gone
    assert kept == checkpoints(spoilable)
    line = entries(spoilable)[-1]
    assert (line["stage"], {item["path"] for item in line["facts"]["pruned"]}) == ("prune", gone)
    assert verify(RunPaths.at(spoilable)) == []
    assert driver.step(spoilable, wait=0, report=False).code == COMPLETE
    assert "the loop is complete" in deft("status", "--results-dir", str(spoilable))


def test_beaten_iterations_can_be_dropped_too(spoilable: Path) -> None:
    """The best model's checkpoint and the newest training's stay; verify takes the others for gone on purpose."""
    run = load_run(spoilable)
    champion = run.champion()[0]
    gone = {item["path"] for item in decisions.prune_run(spoilable, "beaten")}
    beaten = {"baseline"} - {champion}
    assert {name.split("/")[0] for name in gone} <= beaten | {"baseline", "iter1"}
    assert all(not list((spoilable / label / "train").glob("*.pth")) for label in beaten)
    assert Path(json.loads((spoilable / "best_model.json").read_text())["checkpoint"]).is_file()
    assert verify(RunPaths.at(spoilable)) == []
    assert decisions.prune_run(spoilable, "beaten") == []


def test_a_loop_goes_on_after_pruning_in_its_middle(workspace: Path) -> None:
    run = faulty.begin(workspace, 302)
    for _ in range(2):
        assert driver.step(run, wait=120, report=False).code == OK
    extra = run / "baseline/train/model_epoch_099_step_00099.pth"
    extra.write_bytes(b"x")
    assert extra.relative_to(run).as_posix() in {item["path"] for item in decisions.prune_run(run, "unscored")}
    assert str(driver.pending(load_run(run))) == "baseline/rca"
    assert driver.step(run, wait=120, report=False).code == OK
    assert verify(RunPaths.at(run)) == []


# --- the end by decision --------------------------------------------------------------------------------------------


def fail(run: Path) -> None:
    following = driver.pending(load_run(run))
    assert following is not None
    journal.append(
        run / "loop_log.jsonl", iter_label=following.label, stage=following.stage, status="error", summary="broken",
        duration_sec=0, facts={"code": "task_failed", "stage": following.stage},
    )  # fmt: skip


def test_a_person_may_end_the_loop_and_gets_the_best_model(workspace: Path) -> None:
    run = faulty.begin(workspace, 303)
    for _ in range(2):
        driver.step(run, wait=120, report=False)
    fail(run)
    assert driver.step(run, wait=0, report=False).code == HARD_STOP
    said = deft("resolve", "--results-dir", str(run), "--reason", "no time", "--stop", check=COMPLETE)
    assert "hard_stop: best is baseline" in said
    assert entries(run)[-1]["facts"]["reason"] == "hard_stop"
    assert json.loads((run / "best_model.json").read_text())["iteration"] == "baseline"
    assert verify(RunPaths.at(run)) == []
    assert driver.step(run, wait=0, report=False).code == COMPLETE


def test_a_loop_ended_before_any_evaluation_hands_nothing_over(workspace: Path) -> None:
    run = faulty.begin(workspace, 304)
    fail(run)
    deft("resolve", "--results-dir", str(run), "--reason", "wrong data", "--stop", check=COMPLETE)
    assert entries(run)[-1]["facts"]["best_label"] is None
    assert not (run / "best_model.json").exists()
    assert verify(RunPaths.at(run)) == []


# --- 7.0.x ----------------------------------------------------------------------------------------------------------

OLD = ("seq", "ts", "iter", "stage", "status", "summary", "duration_sec", "context_tokens")
OLD_STATE = ("version", "started_at", "kpi_target", "results_dir", "max_iterations", "current_iteration", "iterations")


def make_old(run: Path, stages: tuple[str, ...]) -> list[dict[str, Any]]:
    """Turn a complete run into one of 7.0.x that ends after `stages`: no hashes, no facts, no plan, its own order."""
    known = {f"{e['iter']}/{e['stage']}": e for e in entries(run)}
    kept = [{**{name: known[s][name] for name in OLD}, "seq": n} for n, s in enumerate(stages, 1)]
    (run / "loop_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    snapshot = json.loads((run / "deft_state.json").read_text())
    old = {name: snapshot[name] for name in OLD_STATE}
    old["config"] = {k: v for k, v in snapshot["config"].items() if k not in ("plan", "approval")}
    done = dict(step.split("/") for step in stages)
    old["iterations"] = {
        label: {**part, "stage_completed": done[label]} for label, part in old["iterations"].items() if label in done
    }
    (run / "deft_state.json").write_text(json.dumps(old))
    for name in ("preflight.json", "best_model.json", "jobs"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return kept


OLD_ORDER = (
    "baseline/train", "baseline/evaluate", "baseline/rca", "iter1/routing", "iter1/data_mining", "iter1/data_merge",
    "iter1/train", "iter1/evaluate", "iter1/rca",
)  # fmt: skip


def test_a_run_of_7_0_verifies_unchained_and_shows_where_it_is(spoilable: Path) -> None:
    make_old(spoilable, OLD_ORDER)
    assert "consistent, unchained: 9 journal lines" in deft("verify", "--results-dir", str(spoilable))
    assert "9 iter1/rca ok" in deft("status", "--results-dir", str(spoilable))
    assert "no approved plan" in deft("step", "--results-dir", str(spoilable), check=2)


@pytest.mark.parametrize("length", [3, 8, 9])
def test_a_run_of_7_0_goes_on_after_a_new_approval(spoilable: Path, workspace: Path, length: int) -> None:
    """Left after the baseline's rca, after an iteration's evaluate, after the rca that ends an iteration there."""
    old = make_old(spoilable, OLD_ORDER[:length])
    asked = {
        "workspace": str(workspace), "max_iterations": 2, "mine_rows": 12, "num_epochs": 2, "kpi_target": faulty.TARGET,
    }  # fmt: skip
    paths = preflight.write(preflight.preflight(asked), spoilable)
    preflight.start(paths)
    shown = deft("status", "--results-dir", str(spoilable))
    label = "iter1" if length == 3 else "iter2"
    assert f"next stage: {label}/rca" in shown
    for stage in ("rca", "routing", "anomalygen", "data_mining", "data_merge", "train", "evaluate"):
        outcome = driver.step(spoilable, wait=120, report=False)
        assert outcome.code == OK, outcome.line
        assert entries(spoilable)[-1]["stage"] == stage
    new = entries(spoilable)
    assert [{name: line[name] for name in OLD} for line in new[: len(old)]] == old
    assert verify(RunPaths.at(spoilable)) == []
    while driver.step(spoilable, wait=120, report=False).code == OK:
        pass
    assert entries(spoilable)[-1]["stage"] == "loop_stop"
    assert (spoilable / "best_model.json").is_file()


def test_the_order_of_7_0_is_open_to_its_own_lines_only() -> None:
    old = {"iter": "iter1", "stage": "rca", "status": "ok"}
    assert order.Step("iter2", "routing") in order.legal_steps(old)
    assert order.legal_steps({**old, "prev": "x"})[0] == order.Step("iter1", "routing")
    with pytest.raises(InputError, match="legal next: iter1/routing"):
        order.check_order({**old, "prev": "x"}, {"iter": "iter2", "stage": "routing"})


def test_rebuild_does_not_start_a_run_that_nobody_started(workspace: Path) -> None:
    asked = {"workspace": str(workspace), "max_iterations": 1}
    paths = preflight.write(preflight.preflight(asked), workspace / "results/run_20260102_000000")
    assert "never started" in deft("rebuild-state", "--results-dir", str(paths.root), check=2)
    assert not paths.state.exists()
    assert state.VERSION == 2
