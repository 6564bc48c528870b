"""record.facts: each stage's record survives the journal, says what is wrong with a line, and has a schema."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import jsonschema
import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.record.facts import RECORDS, Analysed, Merged, Mined, Routed, Trained, schema
from deft_aoi.record.locations import PATH_FACTS, Places

WHERE = "loop_log.jsonl, line 3"


def test_a_record_survives_the_way_to_disk_and_back() -> None:
    places = Places(Path("/ws/results/run_1"), Path("/ws"))
    left = Merged(Path("/ws/results/run_1/iter1/dataset/a.csv"), Path("/ws/results/run_1/iter1/dataset/p.csv"), rows=7)
    line = json.loads(json.dumps(places.portable(left.to_json())))
    assert line["combined_training_csv"] == "iter1/dataset/a.csv"
    assert Merged.from_json(places.located(line), WHERE) == left


def test_keys_of_another_version_are_left_out_and_missing_ones_have_defaults() -> None:
    found = Trained.from_json({"checkpoints": {"best_val": "a", "latest": "b"}, "new": 1}, WHERE)
    assert found == Trained({"best_val": "a", "latest": "b"})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "'mining_mined_parquet'"),
        ({"mining_mined_parquet": 3}, "mining_mined_parquet is 3; expected Path"),
        ({"mining_mined_parquet": "m", "mining_mined_count": "many"}, "mining_mined_count is 'many'; expected int"),
        ({"mining_mined_parquet": "m", "mining_mined_count": True}, "mining_mined_count is True; expected int"),
    ],
)
def test_what_is_wrong_with_a_line_is_named(record: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match="line 3") as error:
        Mined.from_json(record, WHERE)
    assert message in str(error.value)


def test_every_path_is_made_relative_on_disk() -> None:
    for kind in RECORDS:
        named = {entry.name for entry in fields(kind) if "Path" in str(entry.type)}
        assert named <= PATH_FACTS, kind.STAGE


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.STAGE)
def test_schemas_are_valid_and_know_what_is_needed(kind: type) -> None:
    found = schema(kind)
    jsonschema.Draft202012Validator.check_schema(found)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({}, found)


def test_schemas_accept_what_stages_write() -> None:
    for left in (
        Analysed(Path("/g.parquet"), causes={"label": {"weak": 1, "wrong": 0}}, rca_target_defects=("bridge",)),
        Routed(Path("/m.parquet"), mining_labels=("PASS",), coverage=({"label": "PASS"},)),
    ):
        jsonschema.validate(left.to_json(), schema(type(left)))
