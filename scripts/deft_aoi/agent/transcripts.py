"""Transcripts of agent harnesses: which files they are, and the messages in them, one harness one small adapter.

A harness is described by what its lines look like; a new one is a function in `ADAPTERS` that turns one parsed line
into a :class:`Message`, or None for a line that is none.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.safe_yaml import parse_json

Record = Mapping[str, Any]
MAX_LINE = 64 << 20  # bytes; a longer line is counted as unreadable and never held
MAX_COUNT = 1 << 40  # tokens of one message; more is damage, and a sum must fit into 64 bits
_NOT_NAME = re.compile(r"[^A-Za-z0-9]")


@dataclass(frozen=True)
class Usage:
    """Token counts as the model's service bills them."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_create: int = 0
    cache_create_5m: int = 0
    cache_create_1h: int = 0

    @property
    def context(self) -> int:
        """Tokens that the model read for this message."""
        return self.input + self.cache_read + self.cache_create

    def plus(self, other: Usage) -> Usage:
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other))))


@dataclass(frozen=True)
class Message:
    """One answer of a model as one transcript line tells it; `sidechain` where a subagent gave it.

    Lines with the same `key` are one message. None: the line is one of its own.
    """

    time: datetime
    model: str
    sidechain: bool
    usage: Usage
    key: str | None = None


@dataclass
class Session:
    """What earlier lines of a file said that later ones need."""

    sidechain: bool
    ident: str = ""
    model: str = "unknown"


@dataclass
class Reading:
    """Lines that were no message although they should have been, counted while a transcript is read."""

    unreadable: int = 0  # no JSON
    timeless: int = 0  # usage without a time
    files: int = 0
    silent: list[Path] = field(default_factory=list)  # files without a single message


def messages(paths: Iterable[Path], reading: Reading) -> Iterator[Message]:
    """Every message line of the files, in file order, one line in memory at a time; each file once."""
    for path in dict.fromkeys(paths):
        session, any_message = Session(sidechain=path.parent.name == "subagents"), False
        reading.files += 1
        for record in _records(path, reading):
            found = _read(record, session, reading)
            if found is not None:
                any_message = True
                yield found
        if not any_message:
            reading.silent.append(path)


def _records(path: Path, reading: Reading) -> Iterator[Record]:
    with open(path, "rb") as stream:
        while line := stream.readline(MAX_LINE):
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE)
                reading.unreadable += 1
                continue
            try:
                record = parse_json(line)
            except ValueError:
                reading.unreadable += bool(line.strip())
                continue
            if isinstance(record, dict):
                yield record


def _read(record: Record, session: Session, reading: Reading) -> Message | None:
    for adapter in ADAPTERS:
        try:
            found = adapter(record, session)
        except ValueError:  # usage, but no time that can be read
            reading.timeless += 1
            return None
        if found is not None:
            return found
    return None


# Claude Code: ~/.claude/projects/<folder>/<session>.jsonl, subagents in <session>/subagents/*.jsonl.


def claude_code(record: Record, session: Session) -> Message | None:
    """A message is streamed as several records that share message id and request id; a resumed session repeats them."""
    if record.get("type") != "assistant":
        return None
    message = record.get("message")
    if not isinstance(message, dict) or not isinstance(message.get("usage"), dict):
        return None
    if message.get("model") == "<synthetic>":
        return None
    usage, ident = message["usage"], message.get("id")
    parts = usage.get("cache_creation")
    life = parts if isinstance(parts, dict) else {}
    counts = Usage(
        _count(usage, "input_tokens"), _count(usage, "output_tokens"), _count(usage, "cache_read_input_tokens"),
        _count(usage, "cache_creation_input_tokens"), _count(life, "ephemeral_5m_input_tokens"),
        _count(life, "ephemeral_1h_input_tokens"),
    )  # fmt: skip
    side = session.sidechain or bool(record.get("isSidechain"))
    key = f"{ident}\0{record.get('requestId') or ''}" if ident else None
    return Message(_time(record), str(message.get("model") or "unknown"), side, counts, key)


# Codex: ~/.codex/sessions/YYYY/MM/DD/rollout-*.jsonl.


def codex(record: Record, session: Session) -> Message | None:
    """A token_count event tells an answer's use and the session's total; the same total again is no new answer."""
    kind, payload = record.get("type"), record.get("payload")
    if not isinstance(payload, dict):
        return None
    if kind == "session_meta":
        source = payload.get("source")
        session.ident = str(payload.get("id") or "")
        session.sidechain |= isinstance(source, dict) and "subagent" in source
    elif kind == "turn_context":
        session.model = str(payload.get("model") or session.model)
    if kind != "event_msg" or payload.get("type") != "token_count":
        return None
    info = payload.get("info")
    last = info.get("last_token_usage") if isinstance(info, dict) else None
    if not isinstance(last, dict):
        return None
    cached = _count(last, "cached_input_tokens")
    counts = Usage(max(0, _count(last, "input_tokens") - cached), _count(last, "output_tokens"), cached)
    total = info.get("total_token_usage") if isinstance(info, dict) else None
    key = f"{session.ident}\0{json.dumps(total, sort_keys=True)}" if session.ident and total else None
    return Message(_time(record), session.model, session.sidechain, counts, key)


# Any other: one JSON object a line with a time and a `usage`, the names of either of the two big services.


def plain(record: Record, session: Session) -> Message | None:
    """`{"timestamp": ..., "usage": {...}}`; `model`, `id` and `sidechain` may be absent."""
    usage = record.get("usage")
    if not isinstance(usage, dict) or "type" in record:
        return None
    details = usage.get("prompt_tokens_details")
    inside = _count(details, "cached_tokens") if isinstance(details, dict) else 0
    counts = Usage(
        _count(usage, "input_tokens") or max(0, _count(usage, "prompt_tokens") - inside),
        _count(usage, "output_tokens") or _count(usage, "completion_tokens"),
        _count(usage, "cache_read_input_tokens") or inside,
        _count(usage, "cache_creation_input_tokens"),
    )
    key = str(record["id"]) if record.get("id") else None
    side = session.sidechain or bool(record.get("sidechain"))
    return Message(_time(record), str(record.get("model") or "unknown"), side, counts, key)


ADAPTERS: tuple[Callable[[Record, Session], Message | None], ...] = (claude_code, codex, plain)


def _count(source: Mapping[str, Any], name: str) -> int:
    value = source.get(name)
    return value if type(value) is int and 0 < value <= MAX_COUNT else 0


def _time(record: Record) -> datetime:
    """Raises ValueError where the record has no time."""
    stamp = record.get("timestamp") or record.get("ts")
    if not isinstance(stamp, str):
        raise ValueError("no time")
    return parse_time(stamp)


def parse_time(text: str) -> datetime:
    """An ISO-8601 time as an aware datetime in UTC; a time without a zone is taken as UTC."""
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time.astimezone(timezone.utc)


# Where they are.


def project_folder(cwd: Path, home: Path | None = None) -> Path:
    """Where Claude Code keeps the transcripts of a working directory.

    Its name is the absolute path with every character but letters and digits replaced by `-`. `home` is the agent's
    configuration folder (default: $CLAUDE_CONFIG_DIR or ~/.claude).
    """
    root = home or Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")
    names = dict.fromkeys(_NOT_NAME.sub("-", str(path)) for path in (Path(os.path.abspath(cwd)), cwd.resolve()))
    folders = [root / "projects" / name for name in names]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def transcripts_in(folder: Path) -> list[Path]:
    """Transcripts of a project folder, subagents' included."""
    return sorted({*folder.glob("*.jsonl"), *folder.glob("subagents/*.jsonl"), *folder.glob("*/subagents/*.jsonl")})


def codex_sessions(cwd: Path, since: datetime, home: Path | None = None) -> list[Path]:
    """Codex sessions that were begun in `cwd` and written to after `since`; only first lines are read."""
    root = home or Path(os.environ.get("CODEX_HOME") or Path.home() / ".codex")
    places = {str(Path(os.path.abspath(cwd))), str(cwd.resolve())}
    files = [path for name in ("sessions", "archived_sessions") for path in (root / name).rglob("rollout-*.jsonl")]
    recent = [path for path in sorted(files) if path.stat().st_mtime >= since.timestamp()]
    return [path for path in recent if _begun_in(path) in places]


def _begun_in(path: Path) -> str | None:
    first = next(_records(path, Reading()), {})
    payload = first.get("payload")
    return payload.get("cwd") if first.get("type") == "session_meta" and isinstance(payload, dict) else None


def with_subagents(transcript: Path) -> list[Path]:
    """A session's transcript and those of its subagents. Raises InputError where it does not exist."""
    if not transcript.is_file():
        raise InputError(f"{transcript}: no such transcript; expected a .jsonl file")
    return [transcript, *sorted(transcript.with_suffix("").glob("subagents/*.jsonl"))]
