"""Token use of an agent, read from its transcripts and attributed to the journal lines of a run."""

from __future__ import annotations

import bisect
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from deft_aoi.errors import InputError

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
        return Usage(*(a + b for a, b in zip(_numbers(self), _numbers(other))))


@dataclass(frozen=True)
class Message:
    """One answer of a model; `sidechain` where a subagent gave it."""

    time: datetime
    model: str
    sidechain: bool
    usage: Usage


@dataclass(frozen=True)
class TokenUse:
    """Use of one journal line; `usage`, `n_messages`, `models` and `context_size_end` are the main agent's."""

    seq: int
    n_messages: int
    usage: Usage
    context_size_end: int
    models: tuple[str, ...]
    side_messages: int
    side_usage: Usage

    def to_json(self) -> dict[str, Any]:
        """The journal's `tokens` field; subagents stand apart under `sidechain`."""
        record = {"n_messages": self.n_messages, **asdict(self.usage)}
        record |= {"context_size_end": self.context_size_end, "models": list(self.models)}
        if self.side_messages:
            record["sidechain"] = {"n_messages": self.side_messages, **asdict(self.side_usage)}
        return record


@dataclass
class Transcripts:
    """Messages of several transcripts, and how many of their lines were no JSON."""

    messages: list[Message] = field(default_factory=list)
    unreadable_lines: int = 0


def project_folder(cwd: Path, home: Path | None = None) -> Path:
    """Where the agent keeps the transcripts of a working directory.

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


def with_subagents(transcript: Path) -> list[Path]:
    """A session's transcript and those of its subagents. Raises InputError where it does not exist."""
    if not transcript.is_file():
        raise InputError(f"{transcript}: no such transcript; expected a .jsonl file")
    return [transcript, *sorted(transcript.with_suffix("").glob("subagents/*.jsonl"))]


def read_messages(paths: Iterable[Path]) -> Transcripts:
    """Every message once, in time order.

    A message is streamed as several records, and a resumed session repeats those of the one before: records with the
    same message id and request id are one message, and its last record counts.
    """
    result = Transcripts()
    latest: dict[tuple[str, str], Message] = {}
    for path in dict.fromkeys(paths):
        side = path.parent.name == "subagents"
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                record = json.loads(line)
            except ValueError:
                result.unreadable_lines += 1
                continue
            if (message := _message(record, side)) is not None:
                key = _key(record) or (str(path), str(number))
                if key not in latest or message.time >= latest[key].time:
                    latest[key] = message
    result.messages = sorted(latest.values(), key=lambda message: message.time)
    return result


def attribute(messages: Sequence[Message], entries: Sequence[Mapping[str, Any]]) -> list[TokenUse]:
    """Token use of each journal line that any message belongs to, in line order.

    A line's interval is (time of the line before, its own time]; the first line's begins `duration_sec` earlier.
    Messages before the first and after the last line belong to none.
    """
    if not entries:
        return []
    ends: list[datetime] = []
    for entry in entries:
        end = parse_time(entry["ts"])
        ends.append(max(end, ends[-1]) if ends else end)
    start = ends[0] - timedelta(seconds=int(entries[0]["duration_sec"]) + 1)
    groups: dict[int, list[Message]] = {}
    for message in messages:
        index = bisect.bisect_left(ends, message.time)
        if start < message.time and index < len(ends):
            groups.setdefault(index, []).append(message)
    return [_use(entries[index]["seq"], groups[index]) for index in sorted(groups)]


def parse_time(text: str) -> datetime:
    """An ISO-8601 time as an aware datetime in UTC; a time without a zone is taken as UTC."""
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time.astimezone(timezone.utc)


def _use(seq: int, messages: Sequence[Message]) -> TokenUse:
    main = [message for message in messages if not message.sidechain]
    side = [message for message in messages if message.sidechain]
    context = main[-1].usage.context if main else 0
    models = tuple(sorted({message.model for message in main}))
    return TokenUse(seq, len(main), _total(main), context, models, len(side), _total(side))


def _total(messages: Iterable[Message]) -> Usage:
    total = Usage()
    for message in messages:
        total = total.plus(message.usage)
    return total


def _numbers(usage: Usage) -> tuple[int, ...]:
    return tuple(asdict(usage).values())


def _key(record: Mapping[str, Any]) -> tuple[str, str] | None:
    message_id = record["message"].get("id")
    return (str(message_id), str(record.get("requestId") or "")) if message_id else None


def _message(record: Any, side: bool) -> Message | None:
    """A record of a model's answer with its usage; None for any other record."""
    if not isinstance(record, dict) or record.get("type") != "assistant":
        return None
    message, stamp = record.get("message"), record.get("timestamp")
    if not isinstance(message, dict) or not isinstance(message.get("usage"), dict) or not isinstance(stamp, str):
        return None
    if message.get("model") == "<synthetic>":
        return None
    try:
        time = parse_time(stamp)
    except ValueError:
        return None
    model = str(message.get("model") or "unknown")
    return Message(time, model, side or bool(record.get("isSidechain")), _usage(message["usage"]))


def _usage(usage: Mapping[str, Any]) -> Usage:
    def count(source: Mapping[str, Any], name: str) -> int:
        value = source.get(name)
        return value if type(value) is int and value > 0 else 0

    parts = usage.get("cache_creation")
    by_life = parts if isinstance(parts, dict) else {}
    return Usage(
        count(usage, "input_tokens"), count(usage, "output_tokens"), count(usage, "cache_read_input_tokens"),
        count(usage, "cache_creation_input_tokens"), count(by_life, "ephemeral_5m_input_tokens"),
        count(by_life, "ephemeral_1h_input_tokens"),
    )  # fmt: skip
