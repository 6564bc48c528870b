"""The journal: order, chain, torn tails, many writers."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.record import journal

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
BASELINE = (("baseline", "train"), ("baseline", "evaluate"), ("baseline", "rca"))
ITERATION = ("rca", "routing", "anomalygen", "data_mining", "data_merge", "train", "evaluate")


def add(path: Path, label: str, stage: str, **more: object) -> journal.Entry:
    fields = {"status": "ok", "summary": "done", "duration_sec": 1} | more
    return journal.append(path, iter_label=label, stage=stage, **fields)  # type: ignore[arg-type]


def filled(path: Path) -> Path:
    for label, stage in (*BASELINE, *(("iter1", stage) for stage in ITERATION)):
        add(path, label, stage)
    return path


def test_lines_are_numbered_and_chained(tmp_path: Path) -> None:
    log = filled(tmp_path / "loop_log.jsonl")
    lines = log.read_bytes().splitlines()
    entries = journal.read(log)
    assert [entry["seq"] for entry in entries] == list(range(1, 11))
    assert entries[0]["prev"] == ""
    assert all(entries[i]["prev"] == journal.line_hash(lines[i - 1]) for i in range(1, 10))
    assert journal.next_seq(log) == 11


def test_illegal_order_is_refused_and_the_legal_step_named(tmp_path: Path) -> None:
    log = tmp_path / "loop_log.jsonl"
    with pytest.raises(InputError, match="baseline/train, baseline/evaluate"):
        add(log, "iter1", "rca")
    with pytest.raises(InputError, match="cannot follow an empty journal"):
        add(log, "baseline", "loop_stop")
    add(log, "baseline", "train")
    with pytest.raises(InputError, match="legal next: baseline/evaluate"):
        add(log, "baseline", "rca")
    assert len(journal.read(log)) == 1


def test_iterations_beyond_the_approved_number_are_refused(tmp_path: Path) -> None:
    log = filled(tmp_path / "loop_log.jsonl")
    with pytest.raises(InputError, match="approved for 1 iterations"):
        add(log, "iter2", "rca", max_iterations=1)


def test_nothing_follows_loop_stop(tmp_path: Path) -> None:
    log = filled(tmp_path / "loop_log.jsonl")
    add(log, "iter1", "loop_stop")
    with pytest.raises(InputError, match="the loop is complete"):
        add(log, "iter2", "rca")


def test_an_error_is_followed_by_a_decision_only(tmp_path: Path) -> None:
    log = tmp_path / "loop_log.jsonl"
    add(log, "baseline", "train", status="error", facts={"stage": "train"})
    with pytest.raises(InputError, match="baseline/resolve, baseline/loop_stop"):
        add(log, "baseline", "train")
    add(log, "baseline", "resolve", facts={"stage": "train"})
    add(log, "baseline", "train")


def test_a_torn_tail_is_cut_off_and_kept_aside(tmp_path: Path) -> None:
    log = tmp_path / "loop_log.jsonl"
    add(log, "baseline", "train")
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"seq": 2, "ts": "20')
    assert len(journal.read(log)) == 1
    entry = add(log, "baseline", "evaluate")
    assert entry["seq"] == 2
    assert log.read_bytes().startswith(whole)
    assert log.with_suffix(".torn").read_bytes() == b'{"seq": 2, "ts": "20\n'


def test_a_torn_only_line_leaves_an_empty_journal(tmp_path: Path) -> None:
    log = tmp_path / "loop_log.jsonl"
    log.write_bytes(b'{"seq": 1' + b" " * 200_000)
    assert add(log, "baseline", "train")["seq"] == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seq", True),
        ("seq", "1"),
        ("duration_sec", 1.5),
        ("ts", "2026-01-31 09:00"),
        ("iter", "iter01"),
        ("stage", "x"),
    ],
)
def test_wrong_types_are_named_with_their_line(tmp_path: Path, field: str, value: object) -> None:
    log = tmp_path / "loop_log.jsonl"
    add(log, "baseline", "train")
    entry = json.loads(log.read_text()) | {field: value}
    log.write_text(json.dumps(entry) + "\n")
    with pytest.raises(InputError):
        journal.read(log)


def test_a_7_0_line_without_hashes_loads(tmp_path: Path) -> None:
    log = tmp_path / "loop_log.jsonl"
    old = {
        "seq": 1, "ts": "2026-06-08T10:00:00Z", "iter": "baseline", "stage": "train", "status": "ok",
        "summary": "old", "duration_sec": 60, "context_tokens": 0,
    }  # fmt: skip
    log.write_text(json.dumps(old) + "\n")
    assert add(log, "baseline", "evaluate")["seq"] == 2


def test_tokens_are_written_and_the_chain_stays_whole(tmp_path: Path) -> None:
    log = filled(tmp_path / "loop_log.jsonl")
    journal.set_tokens(log, {2: {"input": 5, "context_size_end": 77}})
    lines = log.read_bytes().splitlines()
    entries = journal.read(log)
    assert entries[1]["tokens"]["input"] == 5
    assert entries[1]["context_tokens"] == 77
    assert all(entries[i]["prev"] == journal.line_hash(lines[i - 1]) for i in range(1, len(lines)))


def _append_errors(path: Path, count: int) -> int:
    """Append `count` alternating error/resolve pairs: the only legal endless sequence."""
    done = 0
    while done < count:
        for stage, status in (("train", "error"), ("resolve", "ok")):
            try:
                add(path, "baseline", stage, status=status, facts={"stage": "train"})
            except InputError:
                continue
            done += 1
    return done


def test_many_writers_lose_no_line_and_repeat_no_seq(tmp_path: Path) -> None:
    log = tmp_path / "loop_log.jsonl"
    with ProcessPoolExecutor(8) as pool:
        written = sum(pool.map(_append_errors, [log] * 8, [20] * 8))
    entries = journal.read(log)
    assert len(entries) == written
    assert [entry["seq"] for entry in entries] == list(range(1, written + 1))


@pytest.mark.parametrize("long", [False, True])
def test_the_tail_is_read_back_to_a_line(tmp_path: Path, long: bool) -> None:
    log = filled(tmp_path / "loop_log.jsonl")
    if long:
        add(log, "iter1", "loop_stop", summary="x" * 200_000)
    entries = journal.read(log)
    for back in (1, 4, len(entries)):
        assert journal.tail(log, back) == entries[back - 1 :]
    log.write_bytes(log.read_bytes() + b'{"seq": 12, "torn')
    assert journal.tail(log, 9) == entries[8:]
    assert journal.tail(log, 0) == entries
    assert journal.tail(tmp_path / "absent.jsonl", 3) == []


def test_a_decision_takes_the_failed_stage_from_the_line_before(tmp_path: Path) -> None:
    log = tmp_path / "loop_log.jsonl"
    add(log, "baseline", "train", status="error")
    add(log, "baseline", "resolve")
    assert add(log, "baseline", "train")["seq"] == 3


def test_log_stage_and_next_seq_as_a_user_calls_them(tmp_path: Path) -> None:
    log = tmp_path / "run" / "loop_log.jsonl"
    log.parent.mkdir()
    command = [
        sys.executable, str(SCRIPTS / "log_stage.py"), "--log-path", str(log), "--iter-label", "baseline", "--stage",
        "train", "--status", "ok", "--summary", "hand made", "--duration-sec", "3",
    ]  # fmt: skip
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (first.returncode, json.loads(first.stdout)["seq"]) == (0, 1)
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert again.stderr == "log_stage: baseline/train cannot follow baseline/train; legal next: baseline/evaluate\n"
    following = subprocess.run(
        [sys.executable, str(SCRIPTS / "next_seq.py"), "--log-path", str(log)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert following.stdout == "2\n"
