"""Token use of an agent, attributed to the journal lines of a run in bounded memory."""

from __future__ import annotations

import bisect
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from deft_aoi.agent.transcripts import Message, Reading, Usage, messages, parse_time

NO_USE = Usage()
_CACHE_KIB = 16_384
_TABLE = """create table message (
    key blob primary key, at integer, slot integer, side integer, model text,
    input integer, output integer, cache_read integer, cache_create integer, m5 integer, h1 integer
) without rowid"""
# The last record of a message counts: streamed ones grow, and a resumed session repeats old ones.
_INSERT = """insert into message values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (key) do update set
    at = excluded.at, slot = excluded.slot, side = excluded.side, model = excluded.model, input = excluded.input,
    output = excluded.output, cache_read = excluded.cache_read, cache_create = excluded.cache_create,
    m5 = excluded.m5, h1 = excluded.h1 where excluded.at >= message.at"""
_TOTALS = """select slot, side, count(*), sum(input), sum(output), sum(cache_read), sum(cache_create), sum(m5), sum(h1)
    from message group by slot, side"""
_LAST = "select slot, max(at), input + cache_read + cache_create from message where side = 0 group by slot"
_MODELS = "select distinct slot, model from message where side = 0 order by model"


@dataclass(frozen=True)
class TokenUse:
    """Use of one journal line; `usage`, `n_messages`, `models` and `context_size_end` are the main agent's."""

    seq: int
    n_messages: int = 0
    usage: Usage = NO_USE
    context_size_end: int = 0
    models: tuple[str, ...] = ()
    side_messages: int = 0
    side_usage: Usage = NO_USE

    def to_json(self) -> dict[str, Any]:
        """The journal's `tokens` field; subagents stand apart under `sidechain`."""
        record = {"n_messages": self.n_messages, **asdict(self.usage)}
        record |= {"context_size_end": self.context_size_end, "models": list(self.models)}
        if self.side_messages:
            record["sidechain"] = {"n_messages": self.side_messages, **asdict(self.side_usage)}
        return record

    def plus(self, other: TokenUse) -> TokenUse:
        """Both together, under this one's `seq`."""
        return TokenUse(
            self.seq, self.n_messages + other.n_messages, self.usage.plus(other.usage),
            max(self.context_size_end, other.context_size_end), tuple(sorted({*self.models, *other.models})),
            self.side_messages + other.side_messages, self.side_usage.plus(other.side_usage),
        )  # fmt: skip


@dataclass(frozen=True)
class Aligned:
    """Use by journal line, in line order, and what belongs to none: before the first line and after the last."""

    uses: tuple[TokenUse, ...] = ()
    before: TokenUse = TokenUse(0)
    after: TokenUse = TokenUse(0)
    reading: Reading = field(default_factory=Reading)

    @property
    def messages(self) -> int:
        """Distinct messages read, whether they belong to a line or not."""
        return sum(use.n_messages + use.side_messages for use in (*self.uses, self.before, self.after))


def align(paths: Iterable[Path], entries: Sequence[Mapping[str, Any]]) -> Aligned:
    """Read the transcripts and attribute every message once.

    A line's interval is (time of the line before, its own time]; the first line's begins `duration_sec` earlier.
    Messages are kept in a temporary database on disk, so that memory does not grow with their number.
    """
    reading = Reading()
    if not entries:
        return Aligned(reading=reading)
    with sqlite3.connect("") as store:  # "": a private file that is gone with the connection
        store.execute(f"pragma cache_size = -{_CACHE_KIB}")
        store.execute("pragma journal_mode = off")
        store.execute(_TABLE)
        store.executemany(_INSERT, _rows(messages(paths, reading), entries))
        by_slot = _by_slot(store)
    lines = {slot: use for slot, use in by_slot.items() if 0 <= slot < len(entries)}
    uses = tuple(_numbered(entries[slot]["seq"], lines[slot]) for slot in sorted(lines))
    nothing = TokenUse(0)
    return Aligned(uses, by_slot.get(-1, nothing), by_slot.get(len(entries), nothing), reading)


def from_the_first(aligned: Aligned, first: int) -> Aligned:
    """The same with what came before the first line (number `first`) counted to it, as NVIDIA's script does: for
    transcripts that were named, which are the run's own."""
    if not aligned.uses or not aligned.before.n_messages + aligned.before.side_messages:
        return aligned  # transcripts without any message of the run are somebody else's
    known = next((use for use in aligned.uses if use.seq == first), TokenUse(first))
    others = tuple(use for use in aligned.uses if use.seq != first)
    return Aligned((known.plus(aligned.before), *others), TokenUse(0), aligned.after, aligned.reading)


def _rows(found: Iterable[Message], entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    ends: list[datetime] = []
    for entry in entries:
        end = parse_time(entry["ts"])
        ends.append(max(end, ends[-1]) if ends else end)
    start = ends[0] - timedelta(seconds=int(entries[0]["duration_sec"]) + 1)
    for number, one in enumerate(found):
        slot = bisect.bisect_left(ends, one.time) if start < one.time else -1
        key = hashlib.blake2b((one.key or f"#{number}").encode("utf-8", "surrogatepass"), digest_size=16).digest()
        u = one.usage
        counts = (u.input, u.output, u.cache_read, u.cache_create, u.cache_create_5m, u.cache_create_1h)
        yield (key, round(one.time.timestamp() * 1e6), slot, int(one.sidechain), _whole(one.model), *counts)


def _whole(text: str) -> str:
    """`text` without half characters, which no database takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _by_slot(store: sqlite3.Connection) -> dict[int, TokenUse]:
    models: dict[int, list[str]] = {}
    for slot, model in store.execute(_MODELS):
        models.setdefault(slot, []).append(model)
    context = {slot: size for slot, _, size in store.execute(_LAST)}
    found: dict[int, TokenUse] = {}
    for slot, side, count, *sums in store.execute(_TOTALS):
        usage = Usage(*sums)
        part = (
            TokenUse(0, side_messages=count, side_usage=usage)
            if side
            else TokenUse(0, count, usage, context[slot], tuple(models[slot]))
        )
        found[slot] = found[slot].plus(part) if slot in found else part
    return found


def _numbered(seq: int, use: TokenUse) -> TokenUse:
    return TokenUse(seq).plus(use)


# What a person reads.


def table(aligned: Aligned, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Use by stage over all iterations, subagents apart, and the total; each line's own use is in the journal."""
    stage_of = {entry["seq"]: entry["stage"] for entry in entries}
    by_stage: dict[str, TokenUse] = {}
    for use in aligned.uses:
        stage = stage_of[use.seq]
        by_stage[stage] = by_stage[stage].plus(use) if stage in by_stage else use
    if not by_stage:
        return []
    first, *rest = by_stage.values()
    for use in rest:
        first = first.plus(use)
    head = f"{'stage':<14}{'messages':>9}{'input':>11}{'output':>9}{'cache read':>13}{'subagents':>11}"
    return [head, *(_row(stage, use) for stage, use in by_stage.items()), _row("total", first)]


def _row(name: str, use: TokenUse) -> str:
    usage, side = use.usage, use.side_usage.context + use.side_usage.output
    return (
        f"{name:<14}{use.n_messages:>9}{usage.input + usage.cache_create:>11,}{usage.output:>9,}"
        f"{usage.cache_read:>13,}{side:>11,}"
    )


def left_out(aligned: Aligned) -> list[str]:
    """What could not be attributed, in one line; nothing where all was."""
    reading = aligned.reading
    parts = [
        f"{use.n_messages + use.side_messages} messages {where} ({_tokens(use):,} tokens)"
        for use, where in ((aligned.before, "before the first stage"), (aligned.after, "after the last"))
        if use.n_messages or use.side_messages
    ]
    parts += [f"{reading.unreadable} lines that are no JSON"] if reading.unreadable else []
    parts += [f"{reading.timeless} answers without a time"] if reading.timeless else []
    parts += [f"{len(reading.silent)} of {reading.files} files without a message"] if reading.silent else []
    return [f"not attributed: {', '.join(parts)}"] if parts else []


def _tokens(use: TokenUse) -> int:
    return use.usage.context + use.usage.output + use.side_usage.context + use.side_usage.output
