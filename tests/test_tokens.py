"""deft_aoi.agent.tokens and align_token_usage.py: each message once, subagents apart, the right line."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import inside
from deft_aoi.agent.tokens import Aligned, align
from deft_aoi.agent.transcripts import codex_sessions, parse_time, project_folder, transcripts_in, with_subagents
from deft_aoi.record import journal


def record(ident: str, time: str, output: int = 10, **extra: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 3, "output_tokens": output, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
    }  # fmt: skip
    message = {"id": ident, "model": "model-a", "usage": usage}
    return {"type": "assistant", "requestId": f"r{ident}", "timestamp": time, "message": message, **extra}


def write(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def entries(*times: str, duration: int = 60) -> list[dict[str, Any]]:
    return [{"seq": n, "ts": time, "duration_sec": duration} for n, time in enumerate(times, start=1)]


def test_streamed_blocks_of_one_message_count_once_with_the_last_usage(tmp_path: Path) -> None:
    path = write(
        tmp_path / "s.jsonl",
        record("a", "2026-01-01T00:00:10.100Z", 1),
        record("a", "2026-01-01T00:00:11.200Z", 5),
        record("a", "2026-01-01T00:00:12.300Z", 42),
    )
    (use,) = align([path], entries("2026-01-01T00:01:00Z")).uses
    assert use.to_json() == {
        "n_messages": 1, "input": 3, "output": 42, "cache_read": 1000, "cache_create": 50, "cache_create_5m": 20,
        "cache_create_1h": 30, "context_size_end": 1053, "models": ["model-a"],
    }  # fmt: skip


def test_a_resumed_session_that_repeats_a_message_does_not_count_it_twice(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", record("a", "2026-01-01T00:00:10Z"))
    second = write(tmp_path / "b.jsonl", record("a", "2026-01-01T00:00:10Z"), record("b", "2026-01-01T00:00:20Z"))
    assert align([first, second, first], entries("2026-01-01T00:01:00Z")).messages == 2


def test_sidechains_and_subagents_stand_apart(tmp_path: Path) -> None:
    session = write(
        tmp_path / "s.jsonl",
        record("a", "2026-01-01T00:00:10Z"),
        record("b", "2026-01-01T00:00:11Z", 7, isSidechain=True),
    )
    write(tmp_path / "s/subagents/agent-1.jsonl", record("c", "2026-01-01T00:00:12Z", 9))
    (use,) = align(with_subagents(session), entries("2026-01-01T00:01:00Z")).uses
    assert (use.n_messages, use.usage.output) == (1, 10)
    assert (use.side_messages, use.side_usage.output) == (2, 16)
    assert use.to_json()["sidechain"]["n_messages"] == 2
    assert {path.name for path in transcripts_in(tmp_path)} == {"agent-1.jsonl", "s.jsonl"}


def test_a_message_belongs_to_the_interval_that_holds_it(tmp_path: Path) -> None:
    path = write(
        tmp_path / "s.jsonl",
        record("early", "2025-12-31T00:00:00Z"),
        record("first", "2026-01-01T00:00:30Z"),
        record("edge", "2026-01-01T00:01:00Z"),
        record("second", "2026-01-01T00:01:00.001Z"),
        record("late", "2026-01-01T00:05:00Z"),
    )
    found = align([path], entries("2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"))
    assert [(use.seq, use.n_messages) for use in found.uses] == [(1, 2), (2, 1)]
    assert (found.before.n_messages, found.after.n_messages, found.messages) == (1, 1, 5)


def test_lines_without_a_message_get_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", record("a", "2026-01-01T00:02:30Z"))
    log = entries("2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z", "2026-01-01T00:03:00Z")
    assert [use.seq for use in align([path], log).uses] == [3]
    assert align([], log).uses == ()
    assert align([path], []) == Aligned()


def test_other_records_and_broken_lines_are_left_out(tmp_path: Path) -> None:
    path = write(
        tmp_path / "s.jsonl",
        '{"type": "assistant", "mess',
        {"type": "user", "timestamp": "2026-01-01T00:00:10Z", "message": {"id": "u", "usage": {"input_tokens": 9}}},
        {"type": "assistant", "timestamp": "2026-01-01T00:00:10Z", "message": {"id": "n"}},
        [1, 2],
        record("a", "not a time"),
        record("b", "2026-01-01T00:00:10Z"),
    )
    silent = write(tmp_path / "other.jsonl", {"type": "summary"})
    found = align([path, silent], entries("2026-01-01T00:01:00Z"))
    reading = found.reading
    assert (found.messages, reading.unreadable, reading.timeless, reading.silent) == (1, 1, 1, [silent])


def test_project_folder_replaces_every_other_character(tmp_path: Path) -> None:
    folder = project_folder(Path("/home/a_b/my.project v2"), tmp_path)
    assert folder == tmp_path / "projects/-home-a-b-my-project-v2"


def test_a_folder_without_transcripts_has_none(tmp_path: Path) -> None:
    assert transcripts_in(tmp_path) == []


def journal_at(root: Path) -> Path:
    log = root / "loop_log.jsonl"
    for stage in ("train", "evaluate"):
        journal.append(log, iter_label="baseline", stage=stage, status="ok", summary=stage, duration_sec=5)
    return log


def run(*arguments: str | Path, **environment: str) -> inside.Done:
    return inside.script("align_token_usage", *arguments, env=environment)


def test_script_writes_tokens_and_the_journal_still_reads(tmp_path: Path) -> None:
    log = journal_at(tmp_path)
    before = log.read_bytes()
    time = journal.read(log)[0]["ts"]
    folder = project_folder(tmp_path / "work.dir", tmp_path / "agent")
    write(folder / "s.jsonl", record("a", time))
    (tmp_path / "work.dir").mkdir()
    flags = ("--log-path", log, "--cwd", tmp_path / "work.dir")
    done = run(*flags, "--dry-run", CLAUDE_CONFIG_DIR=str(tmp_path / "agent"))
    assert done.returncode == 0, done.stderr
    assert log.read_bytes() == before
    done = run(*flags, CLAUDE_CONFIG_DIR=str(tmp_path / "agent"))
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [["train", "1"], ["total", "1"]]
    lines = journal.read(log)
    assert lines[0]["tokens"]["n_messages"] == 1
    assert lines[0]["context_tokens"] == 1053
    assert "tokens" not in lines[1]


def codex_record(time: str, total: int, last: int) -> dict[str, Any]:
    info = {
        "total_token_usage": {"input_tokens": total, "output_tokens": total // 10, "total_tokens": total * 11 // 10},
        "last_token_usage": {"input_tokens": last, "cached_input_tokens": last // 2, "output_tokens": last // 10},
    }
    return {"timestamp": time, "type": "event_msg", "payload": {"type": "token_count", "info": info}}


def codex_session(root: Path, cwd: Path, name: str, *records: Any, source: Any = "cli") -> Path:
    meta = {"id": name, "cwd": str(cwd), "source": source, "originator": "codex_cli_rs"}
    head = {"timestamp": "2026-01-01T00:00:00Z", "type": "session_meta", "payload": meta}
    turn = {"timestamp": "2026-01-01T00:00:01Z", "type": "turn_context", "payload": {"model": "model-c"}}
    return write(root / f"sessions/2026/01/01/rollout-{name}.jsonl", head, turn, *records)


def test_codex_sessions_of_the_folder_count_each_answer_once(tmp_path: Path) -> None:
    times = ("2026-01-01T00:00:10.000Z", "2026-01-01T00:00:11.000Z", "2026-01-01T00:00:20.000Z")
    only_limits = {"timestamp": times[0], "type": "event_msg", "payload": {"type": "token_count", "info": None}}
    answers = (only_limits, codex_record(times[0], 100, 100), codex_record(times[1], 100, 100))
    here = codex_session(tmp_path, tmp_path / "here", "a", *answers, codex_record(times[2], 300, 200))
    spawned = {"subagent": {"thread_spawn": {"parent_thread_id": "a"}}}
    helper = codex_session(tmp_path, tmp_path / "here", "b", codex_record(times[0], 50, 50), source=spawned)
    codex_session(tmp_path, tmp_path / "elsewhere", "c", codex_record(times[0], 70, 70))
    found = codex_sessions(tmp_path / "here", parse_time("2026-01-01T00:00:00Z"), tmp_path)
    assert found == [here, helper]
    (use,) = align(found, entries("2026-01-01T00:01:00Z")).uses
    assert (use.n_messages, use.usage.input, use.usage.cache_read, use.usage.output) == (2, 150, 150, 30)
    assert (use.side_messages, use.side_usage.context, use.models) == (1, 50, ("model-c",))
    assert codex_sessions(tmp_path / "here", parse_time("2199-01-01T00:00:00Z"), tmp_path) == []


def test_any_other_harness_is_read_by_time_and_usage(tmp_path: Path) -> None:
    time = "2026-01-01T00:00:10Z"
    one = {"timestamp": time, "model": "m", "usage": {"input_tokens": 5, "output_tokens": 2}, "sidechain": True}
    prompt = {"prompt_tokens": 90, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 60}}
    two = {"ts": time, "id": "x", "usage": prompt}
    found = align([write(tmp_path / "s.jsonl", one, two, two)], entries("2026-01-01T00:01:00Z"))
    (use,) = found.uses
    assert (use.n_messages, use.usage.input, use.usage.cache_read, use.usage.output) == (1, 30, 60, 7)
    assert (use.side_messages, use.side_usage.context, use.side_usage.output) == (1, 5, 2)


def test_script_says_what_belongs_to_no_stage(tmp_path: Path) -> None:
    log = journal_at(tmp_path)
    time = journal.read(log)[0]["ts"]
    path = write(tmp_path / "s.jsonl", record("a", time), record("early", "2001-01-01T00:00:00Z"), "{no json")
    write(tmp_path / "s/subagents/agent-1.jsonl", record("late", "2199-01-01T00:00:00Z", 7))
    done = run("--log-path", log, "--transcript", path, "--dry-run")
    assert done.stdout.splitlines()[-1] == (
        "not attributed: 1 messages after the last (1,060 tokens), 1 lines that are no JSON"
    )
    shutil.rmtree(tmp_path / "s")
    both = run("--log-path", log, "--transcript", path, "--project-dir", tmp_path / "none", "--dry-run")
    assert "not attributed: 1 lines that are no JSON" in both.stdout  # what came early counts to the first stage
    whole = run("--log-path", log, "--project-dir", tmp_path, "--dry-run")
    assert "1 messages before the first stage (1,063 tokens)" in whole.stdout  # a folder has other runs too


def test_memory_does_not_grow_with_the_transcript(tmp_path: Path) -> None:
    """Four times the messages, the same peak: measured for a million lines by benchmarks/tokens.py."""
    start = parse_time("2026-01-01T00:00:00Z").timestamp()
    peaks = []
    for count in (10_000, 40_000):
        path = tmp_path / f"{count}.jsonl"
        with open(path, "w") as stream:
            for number in range(count):
                stamp = datetime.fromtimestamp(start + number / count * 60, timezone.utc).isoformat()
                stream.write(json.dumps(record(f"message-{number}", stamp)) + "\n")
        tracemalloc.start()
        assert align([path], entries("2026-01-01T00:01:00Z")).messages == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_script_exits_3_when_nothing_was_attributed(tmp_path: Path) -> None:
    log = journal_at(tmp_path)
    before = log.read_bytes()
    done = run("--log-path", log, "--transcript", write(tmp_path / "s.jsonl", record("a", "2001-01-01T00:00:00Z")))
    assert (done.returncode, done.stdout) == (3, "")
    assert "none of 1 messages" in done.stderr
    assert log.read_bytes() == before


def test_script_refuses_a_missing_journal_or_transcript(tmp_path: Path) -> None:
    assert run("--log-path", tmp_path / "no.jsonl").returncode == 2
    done = run("--log-path", journal_at(tmp_path), "--transcript", tmp_path / "no.jsonl")
    assert done.returncode == 2
    assert "no such transcript" in done.stderr
