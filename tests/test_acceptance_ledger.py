"""The ledger of the acceptance set: what counts as an opening, and what cannot make one forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import sha256_file
from deft_aoi.base.paths import Workspace
from deft_aoi.record import journal
from deft_aoi.record.acceptance_ledger import Opening, Sealed, opening_of, openings, record, seen_before


def workspace(root: Path, rows: tuple[str, ...] = ("C1", "C2")) -> tuple[Workspace, Path]:
    (root / "kpi").mkdir(exist_ok=True)
    (root / "results").mkdir(exist_ok=True)
    csv = root / "kpi/acceptance_set.csv"
    csv.write_text("input_path,golden_path,label,object_name\n" + "".join(f"in,gold,PASS,{name}\n" for name in rows))
    return Workspace.at(root), csv


def opened(root: Path, csv: Path, run: str, weights: bytes, threshold: float = 0.5) -> Opening:
    checkpoint = root / "model.pth"
    checkpoint.write_bytes(weights)
    return opening_of(run, checkpoint, threshold, csv)


def test_each_model_is_an_opening_and_the_same_model_again_is_not(tmp_path: Path) -> None:
    place, csv = workspace(tmp_path)
    first = opened(tmp_path, csv, "run_1", b"a")
    assert record(place, csv, first) == 1
    assert record(place, csv, first) == 1
    assert record(place, csv, opened(tmp_path, csv, "run_1", b"b")) == 2
    assert record(place, csv, opened(tmp_path, csv, "run_1", b"b", threshold=0.6)) == 3
    assert record(place, csv, opened(tmp_path, csv, "run_2", b"a")) == 4
    assert record(place, csv, first) == 1, "its number stays"
    assert seen_before(place, Sealed.at(csv)) == 4
    assert [one["run"] for one in openings(place)] == ["run_1", "run_1", "run_1", "run_2"]


def test_a_changed_set_with_a_row_in_common_is_no_new_set(tmp_path: Path) -> None:
    place, csv = workspace(tmp_path)
    record(place, csv, opened(tmp_path, csv, "run_1", b"a"))
    _, csv = workspace(tmp_path, ("C2", "C3"))
    assert record(place, csv, opened(tmp_path, csv, "run_2", b"b")) == 2
    _, csv = workspace(tmp_path, ("C8", "C9"))
    assert seen_before(place, Sealed.at(csv)) == 0
    assert record(place, csv, opened(tmp_path, csv, "run_3", b"b")) == 1


def test_a_deleted_ledger_is_made_good_by_the_journals(tmp_path: Path) -> None:
    place, csv = workspace(tmp_path)
    run = tmp_path / "results/run_20260101_000000"
    run.mkdir()
    made = opened(tmp_path, csv, run.name, b"a")
    record(place, csv, made)
    line = {
        "seq": 1, "ts": "2026-01-01T00:00:00Z", "iter": "iter1", "stage": "acceptance", "status": "ok", "summary": "x",
        "duration_sec": 0, "context_tokens": 0, "artifacts": [], "facts": made | {"opening": 1}, "prev": "",
    }  # fmt: skip
    (run / "loop_log.jsonl").write_bytes(b"".join(journal.chain([line])))
    assert seen_before(place, Sealed.at(csv)) == 1
    place.acceptance_ledger.unlink()
    assert seen_before(place, Sealed.at(csv)) == 1
    assert sha256_file(csv) == openings(place)[0]["csv_sha256"]


def test_rows_that_are_gone_count_as_seen_and_a_damaged_ledger_stops(tmp_path: Path) -> None:
    place, csv = workspace(tmp_path)
    other = opened(tmp_path, csv, "run_1", b"a") | {"csv_sha256": "0" * 64, "ts": "2026-01-01T00:00:00Z"}
    place.acceptance_ledger.write_text(json.dumps(other) + "\n")
    assert seen_before(place, Sealed.at(csv)) == 1
    place.acceptance_ledger.write_text("{}\n")
    with pytest.raises(InputError, match="line 1: no opening"):
        openings(place)
