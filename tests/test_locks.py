"""base.files: a file system without locks is found by Pre-Flight and named by whoever needs a lock."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from deft_aoi.base.errors import InputError, Refusals
from deft_aoi.base.files import check_locks, locked
from deft_aoi.executors.local import LOCK, alive
from deft_aoi.preflight.preflight import preflight
from small_workspace import make_workspace

WITHOUT = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def refuse(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("code", WITHOUT)
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    (tmp_path / LOCK).touch()
    refuse(monkeypatch, code)
    says = rf"^{tmp_path}: its file system gives no file locks \(No locks available\).*local disk"
    with pytest.raises(InputError, match=says):
        check_locks(tmp_path / "results/not/there")
    with pytest.raises(InputError, match=says), locked(tmp_path / "x.lock"):
        pass
    with pytest.raises(InputError, match=says):
        alive(tmp_path)


def test_preflight_tries_a_lock_and_names_folder_and_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_workspace(tmp_path / "ws", counts=(16, 16, 16, 16))
    check_locks(root / "results")
    refuse(monkeypatch, errno.ENOLCK)
    with pytest.raises(Refusals) as caught:
        preflight({"workspace": str(root), "max_iterations": 1})
    assert [text for text in caught.value.problems if "gives no file locks" in text and str(root) in text]


def test_a_lock_that_is_held_is_no_missing_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "a.lock"), pytest.raises(BlockingIOError), locked(tmp_path / "a.lock", wait=False):
        pass
    assert not list(tmp_path.glob("*.tmp"))
