"""What long work says of itself, what a killed Pre-Flight keeps, and a refusal that waits for no picture."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet

from deft_aoi.base import console, progress
from deft_aoi.base.errors import Refusals
from deft_aoi.data import fingerprints
from deft_aoi.preflight import check_data, preflight
from small_workspace import make_workspace

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEFT_CACHE_DIR", str(tmp_path / "cache"))
    return make_workspace(tmp_path / "ws")


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Progress("labels", 3, "image") as shown:
        for _ in range(3):
            shown.update()
    assert capsys.readouterr() == ("", "")


def test_long_work_says_how_long_it_takes_then_a_line_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 4))  # seconds: one question at the start, one for each update
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    with progress.Progress("labels", 2000, "image") as shown:
        for _ in range(6):
            shown.update(300)
    assert (
        capsys.readouterr().err
        == "labels: 300 of 2,000 images, about 23 s left\nlabels: 1,200 of 2,000 images, about 11 s left\n"
        "labels: 1,800 images in 28 s, done\n"
    )


KILLED = """
import sys
from deft_aoi.engine.features import table
table._FLUSH_SECONDS = 0
from deft_aoi.cli import main
sys.exit(main.main(sys.argv[1:]))
"""


def test_a_killed_preflight_goes_on_where_it_was(workspace: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, "preflight", "--workspace", str(workspace), "--max-iterations", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts"), "DEFT_CACHE_DIR": str(tmp_path / "cache")}
    begun = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (before := shards(tmp_path)) and begun.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    begun.send_signal(signal.SIGKILL)
    assert begun.wait() == -signal.SIGKILL, "finished before it could be killed"
    assert before
    before = shards(tmp_path)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    keys = Counter(key for keys in shards(tmp_path).values() for key in keys)
    assert set(keys.values()) == {1}, "a pair was measured twice"
    assert len(keys) > sum(map(len, before.values()))


def shards(folder: Path) -> dict[str, list[bytes]]:
    """Keys of every shard of pairs."""
    return {
        path.name: parquet.read_table(path, columns=["key"])["key"].to_pylist()
        for path in (folder / "cache/vectors").glob("pairs-*/*.parquet")
    }


def test_a_refusal_waits_for_no_picture(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv = workspace / "kpi/testing_set.csv"
    rows = pd.read_csv(csv, dtype=str, keep_default_na=False)
    rows.assign(label=rows["label"].replace("PASS", "pass")).to_csv(csv, index=False)
    opened: list[bytes] = []
    monkeypatch.setattr(fingerprints, "fingerprint", opened.append)
    monkeypatch.setattr(check_data, "BESIDE_SECONDS", 0.0)
    with pytest.raises(Refusals):
        preflight.preflight({"workspace": str(workspace), "max_iterations": 1})
    assert opened == []


def test_progress_is_shown_at_once_and_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    with console.brief("test", []):
        for number in range(2 * console.LIMIT):
            console.aside(f"labels: {number}")
        assert capsys.readouterr().err.endswith(f"labels: {2 * console.LIMIT - 1}\n")
        print("done")
    assert capsys.readouterr().out == "done\n"
