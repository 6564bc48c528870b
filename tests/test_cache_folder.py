"""The cache's folder, its size limit, and `deft cache`."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from deft_aoi.base import cache_folder
from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import SKILL_ROOT
from deft_aoi.engine.cache import Store, content_key

HOUR = 3600.0


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DEFT_CACHE_DIR", "DEFT_HOME", "XDG_CACHE_HOME", "DEFT_CACHE_GB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".cache/deft-aoi"


def fill(number: int, hours_ago: float, size: int = 1000) -> Path:
    """One shard of that many bytes and a little more, last used so long ago."""
    store = Store("test", {"version": number}, size // 4)
    store.put(content_key(b"key"), np.zeros(size // 4, np.float32))
    store.flush()
    (shard,) = store.folder.glob("*.parquet")
    used = time.time() - hours_ago * HOUR
    os.utime(shard, (used, used))
    return shard


def test_the_folder_follows_the_launchers_rule(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder.cache_root() == root
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder.cache_root() == Path("/xdg/deft-aoi")
    monkeypatch.setenv("DEFT_HOME", "/home")
    assert cache_folder.cache_root() == Path("/home")
    monkeypatch.setenv("DEFT_CACHE_DIR", "/shared")
    assert cache_folder.cache_root() == Path("/shared")


def test_only_a_folder_that_was_asked_for_is_open_to_others(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder.kind_folder("doubt").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("DEFT_CACHE_DIR", str(root / "shared"))
    assert cache_folder.kind_folder("doubt").stat().st_mode & 0o055 == 0o055


def test_the_least_recently_used_leaves_first(root: Path) -> None:
    oldest, newest, middle = (fill(number, hours) for number, hours in ((1, 30), (2, 2), (3, 10)))
    room = newest.stat().st_size + middle.stat().st_size
    assert [item.path for item in cache_folder.trim(room)] == [oldest]
    assert [item.path for item in cache_folder.trim(0)] == [middle, newest]


def test_reading_counts_as_use(root: Path) -> None:
    first, second = fill(1, 30), fill(2, 20)
    assert Store("test", {"version": 1}, 250).get(content_key(b"key")) is not None
    assert [item.path for item in cache_folder.items()] == [second, first]


def test_what_was_used_within_the_hour_stays(root: Path) -> None:
    shard = fill(1, 0.5)
    assert cache_folder.trim(0) == []
    assert shard.is_file()


def test_a_write_trims_the_cache_by_itself(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fill(1, 30)
    (root / ".trimmed").unlink()
    monkeypatch.setenv("DEFT_CACHE_GB", "0.000001")
    new = fill(2, 0)
    assert not old.exists()
    assert new.is_file()


@pytest.mark.parametrize("text", ["0", "-1", "much", "nan", "inf"])
def test_a_limit_that_is_no_size(text: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFT_CACHE_GB", text)
    with pytest.raises(InputError, match=f"DEFT_CACHE_GB={text}: expected gigabytes as a positive number"):
        cache_folder.limit_bytes()


def deft(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SKILL_ROOT / "scripts/deft", "cache", *words], capture_output=True, text=True, check=False)


def test_the_command_shows_and_clears(root: Path) -> None:
    shard = fill(1, 30)
    (cache_folder.kind_folder("doubt") / "one.npy").write_bytes(b"1234")
    (root / "env-of-the-launcher").mkdir()
    found = json.loads(deft("--json").stdout)
    sizes = {line["kind"]: line["bytes"] for line in found["kinds"]}
    assert sizes == {"vectors": shard.stat().st_size, "pixels": 0, "fingerprints": 0, "doubt": 4}
    assert found["folder"] == str(root)
    assert "5 GB" in deft().stdout
    assert json.loads(deft("--clear", "doubt", "--json").stdout)["dropped_bytes"] == 4
    assert shard.is_file()
    assert deft("--clear").returncode == 0
    assert not shard.exists()
    assert (root / "env-of-the-launcher").is_dir()


def test_a_kind_that_is_none(root: Path) -> None:
    done = deft("--clear", "everything")
    assert done.returncode == 2
    assert "invalid choice: 'everything'" in done.stderr
