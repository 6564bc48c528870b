"""Readers under random and half-right input: whatever comes in, one line of ours comes out.

DEFT_FUZZ_EXAMPLES sets how many examples each reader gets; benchmarks/fuzz.py runs them for minutes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attacks import Attacker
from deft_aoi.agent import tokens
from deft_aoi.base import safe_paths
from deft_aoi.base.credentials import read_env_file
from deft_aoi.base.errors import DeftError
from deft_aoi.base.paths import RunPaths
from deft_aoi.base.rows import COLUMNS, check_labels, read_pool, read_rows
from deft_aoi.kpi.scored import read_scored
from deft_aoi.kpi.target import parse_target
from deft_aoi.record import journal, order, state
from deft_aoi.record.run import Plan
from deft_aoi.report import narrative
from deft_aoi.spec.tree import load_spec, optics, override
from small_workspace import spec as small_spec

KIND = "fuzz"
EXAMPLES = int(os.environ.get("DEFT_FUZZ_EXAMPLES", "150"))
FUZZED = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False, database=None
)

odd_text = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", "PASS", "pass", " ", "../x", "/etc", "a\0b", "=1", "nan", "inf", "1e999", "-1", "\u202e", "x" * 300]
    ),
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), odd_text, st.sampled_from([10**400, -(10**400), 2**63])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(odd_text, inner, max_size=4), max_leaves=12
)


def quietly(attacker: Attacker, read: Callable[[], Any]) -> None:
    """One example; counted once a reader, since hypothesis may repeat it."""
    try:
        read()
        attacker.tally["harmless"] += 1
    except DeftError:
        attacker.tally["refused"] += 1


@pytest.fixture
def counted(attacker: Attacker) -> Any:
    yield attacker
    for outcome, times in list(attacker.tally.items()):
        attacker.properties.append(("attack", f"{KIND}|{outcome}|{times}"))


cells = st.one_of(odd_text, st.sampled_from(["K1/test", "C0", "0.5", "bridge"]))
tables = st.builds(
    lambda header, rows, sep, end, quote: (
        sep.join(header) + end + "".join(sep.join(quote(c) for c in r) + end for r in rows)
    ),
    st.lists(st.one_of(st.sampled_from([*COLUMNS[:6], "siamese_score", "light"]), odd_text), max_size=8),
    st.lists(st.lists(cells, max_size=8), max_size=6),
    st.sampled_from([",", ",", ",", ";", "\t"]),
    st.sampled_from(["\n", "\n", "\r\n", "\r"]),
    st.sampled_from([lambda c: c, lambda c: '"' + c.replace('"', '""') + '"']),
)
regular = st.builds(
    lambda rows: "input_path,golden_path,label,object_name,siamese_score\n" + "".join(",".join(r) + "\n" for r in rows),
    st.lists(st.lists(cells, min_size=5, max_size=5), min_size=1, max_size=6),
)


@FUZZED
@given(
    data=st.one_of(
        st.binary(max_size=400),
        tables.map(lambda t: t.encode("utf-8", "replace")),
        regular.map(lambda t: t.encode("utf-8", "replace")),
    )
)
def test_csv(counted: Attacker, tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = place(tmp_path_factory)
    csv = folder / "rows.csv"
    csv.write_bytes(data)

    def rows() -> None:
        found = read_rows(csv)
        check_labels(found, csv)
        safe_paths.check_cells(found, csv, folder, folder)

    quietly(counted, rows)
    quietly(counted, lambda: read_scored(csv))
    quietly(counted, lambda: read_pool(csv, folder, ("a",), ".png"))


def broken_specs() -> st.SearchStrategy[bytes]:
    keys = [
        "task",
        "model",
        "dataset",
        "train",
        "dataset.classify",
        "dataset.classify.input_map",
        "train.seed",
        "results_dir",
        "dataset.classify.image_ext",
        "dataset.classify.image_width",
        "train.num_epochs",
        "model.backbone",
    ]

    def changed(key: str, value: Any) -> bytes:
        tree: dict[str, Any] = json.loads(json.dumps(small_spec()))
        *parents, last = key.split(".")
        node = tree
        for part in parents:
            node = node[part]
        node[last] = value
        try:
            return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
        except Exception:  # what YAML cannot write is not what we test
            return b""

    return st.builds(changed, st.sampled_from(keys), values)


yaml_text = st.text(alphabet=st.sampled_from("abc:-?[]{}&*!|>'\"%@`#, \n\t0123456789.~<\\"), max_size=80)


@FUZZED
@given(data=st.one_of(st.binary(max_size=200), yaml_text.map(str.encode), broken_specs()), word=yaml_text)
def test_spec(counted: Attacker, tmp_path_factory: pytest.TempPathFactory, data: bytes, word: str) -> None:
    folder = place(tmp_path_factory)
    path = folder / "spec.yaml"
    path.write_bytes(data)

    def read() -> None:
        found = load_spec(path)
        optics(found, path)
        safe_paths.check_spec_paths(found, folder, str(path))

    quietly(counted, read)
    quietly(counted, lambda: override({}, [f"train.num_epochs={word}", f"{word}=1"]))


words = st.lists(
    st.sampled_from(
        [
            "FAR",
            "<",
            "<=",
            "0.1%",
            "at",
            "recall",
            "=",
            "100%",
            ",",
            "and",
            "escapes",
            "1e9",
            "-3",
            "%",
            "cost",
            "nan",
            ";",
            "AUROC",
            ">",
            "0.9",
            "command",
            "x.py",
            "on",
            "board",
            "99.5%",
            "per",
        ]
    ),
    max_size=14,
)


@FUZZED
@given(text=st.one_of(st.text(max_size=80), words.map(" ".join)))
def test_kpi_target(counted: Attacker, text: str) -> None:
    quietly(counted, lambda: parse_target(text))


def line(**changes: Any) -> dict[str, Any]:
    made = {
        "seq": 1,
        "ts": "2026-01-01T00:00:00Z",
        "iter": "baseline",
        "stage": "train",
        "status": "ok",
        "summary": "s",
        "duration_sec": 1,
        "context_tokens": 0,
        "facts": {},
        "artifacts": [],
        "prev": "",
    }
    return made | changes


names = st.sampled_from(list(line()))
stages = st.sampled_from(order.STAGES)
lines = st.one_of(
    st.builds(lambda key, value: line(**{key: value}), names, values),
    st.builds(
        lambda seq, label, stage, status, facts: line(seq=seq, iter=label, stage=stage, status=status, facts=facts),
        st.integers(0, 9),
        st.sampled_from(["baseline", "iter1", "iter2", "iter0", "iterx"]),
        stages,
        st.sampled_from(["ok", "error"]),
        st.dictionaries(
            st.sampled_from(["met", "champion", "far_pct", "reason", "after", "decision", "stage", "code"]),
            values,
            max_size=4,
        ),
    ),
    st.builds(lambda key: {k: v for k, v in line().items() if k != key}, names),
    values,
)


def as_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")


@FUZZED
@given(
    records=st.lists(lines, max_size=5),
    tail=st.binary(max_size=30),
    damage=st.dictionaries(
        st.sampled_from(["version", "config", "iterations", "journal", "max_iterations", "kpi_target"]),
        values,
        max_size=2,
    ),
)
def test_journal_and_state(
    counted: Attacker, tmp_path_factory: pytest.TempPathFactory, records: list[Any], tail: bytes, damage: dict[str, Any]
) -> None:
    from deft_aoi.cli.commands.status import as_text
    from deft_aoi.loop.standing import standing

    paths = RunPaths(place(tmp_path_factory))
    paths.log.write_bytes(b"".join(as_json(record) + b"\n" for record in records) + tail)
    begun = state.initial(
        started_at="t", kpi_target="FAR < 1%", results_dir="r", max_iterations=2, config={"approval": "x"}
    )
    paths.state.write_bytes(as_json(begun | damage))

    def fold() -> None:
        entries = journal.read(paths.log)
        folded = state.fold(state.load(paths.state), entries)
        order.next_step(entries, folded["max_iterations"], preseeded=state.is_preseeded(folded, entries))

    quietly(counted, fold)
    quietly(counted, lambda: journal.next_seq(paths.log))
    quietly(counted, lambda: as_text(standing(paths)))
    quietly(counted, lambda: Plan.from_json(damage))


usage = st.dictionaries(
    st.sampled_from(["input_tokens", "output_tokens", "cache_creation", "cache_read_input_tokens"]), values, max_size=4
)
records = st.one_of(
    st.builds(
        lambda kind, stamp, message, ident: {"type": kind, "timestamp": stamp, "message": message, "requestId": ident},
        st.sampled_from(["assistant", "user", "event_msg"]),
        st.one_of(values, st.just("2026-01-01T00:00:00Z")),
        st.one_of(
            values,
            st.builds(lambda u, m, i: {"usage": u, "model": m, "id": i}, st.one_of(usage, values), values, values),
        ),
        values,
    ),
    st.builds(
        lambda kind, stamp, payload: {"type": kind, "timestamp": stamp, "payload": payload},
        st.sampled_from(["event_msg", "session_meta", "turn_context"]),
        st.just("2026-01-01T00:00:00Z"),
        st.one_of(values, st.builds(lambda t, i: {"type": t, "info": i}, st.just("token_count"), values)),
    ),
    values,
)


@FUZZED
@given(found=st.lists(records, max_size=5), tail=st.binary(max_size=40))
def test_transcript(counted: Attacker, tmp_path_factory: pytest.TempPathFactory, found: list[Any], tail: bytes) -> None:
    path = place(tmp_path_factory) / "session.jsonl"
    path.write_bytes(b"".join(as_json(record) + b"\n" for record in found) + tail)
    entries = [line(ts="2026-01-02T00:00:00Z"), line(seq=2, ts="2026-01-03T00:00:00Z")]
    quietly(counted, lambda: tokens.table(tokens.align([path], entries), entries))


told = st.dictionaries(
    st.sampled_from(["headline", "summary", "iterations", "recommendations", "caveats", "pictures", "schema_version"]),
    st.one_of(values, st.sampled_from(["{{far.best}}", "{{ x }}", "{{", "`a`", "3 %", "<b>"])),
    max_size=6,
)
FIGURES = {"far.best": {"text": "1%", "source": "kpi.json", "value": 0.01}}


@FUZZED
@given(data=st.one_of(st.binary(max_size=100), told.map(as_json)), text=st.text(max_size=60))
def test_narrative(counted: Attacker, tmp_path_factory: pytest.TempPathFactory, data: bytes, text: str) -> None:
    path = place(tmp_path_factory) / "narrative.json"
    path.write_bytes(data)
    quietly(counted, lambda: narrative.load(path))
    for words in (text, f"{{{{{text}}}}}", f"`{text}` {{{{far.best}}}}"):
        quietly(counted, lambda words=words: narrative.tell(words, FIGURES))


@FUZZED
@given(data=st.one_of(st.binary(max_size=100), st.text(max_size=80).map(lambda t: t.encode("utf-8", "replace"))))
def test_env_file(counted: Attacker, tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = place(tmp_path_factory) / ".env"
    path.write_bytes(data)
    quietly(counted, lambda: read_env_file(path))


@FUZZED
@given(text=st.text(max_size=40))
def test_a_path_is_inside_or_refused(counted: Attacker, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = place(tmp_path_factory).resolve()

    def read() -> None:
        assert safe_paths.inside(root, text, "path").is_relative_to(root)

    quietly(counted, read)


PLACES: dict[str, Path] = {}


def place(factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of this process."""
    if "fuzz" not in PLACES or not PLACES["fuzz"].is_dir():
        PLACES["fuzz"] = factory.mktemp("fuzz").resolve()
    return PLACES["fuzz"]
