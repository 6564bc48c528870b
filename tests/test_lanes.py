"""The lanes name files that are there, and a test that runs out of time leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lanes

ROOT = Path(__file__).resolve().parents[1]
HANGS = """
import subprocess, time
import pytest

@pytest.mark.timeout(5)
def test_hangs(tmp_path):
    subprocess.run(["sh", "-c", "setsid sleep 600 >/dev/null & echo $! >pid"], check=True)
    time.sleep(600)
"""


def test_every_file_of_a_lane_is_there_and_every_marker_is_a_lane() -> None:
    assert [name for name in lanes.FILES if not (lanes.TESTS / name).is_file()] == []
    assert set(lanes.FILES.values()) <= set(lanes.LIMITS)
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert [lane for lane in lanes.LIMITS if f'\n    "{lane}: ' not in pyproject] == []


def test_a_lane_comes_from_the_file_or_from_nightly() -> None:
    assert lanes.lane_of(lanes.TESTS / "e2e/test_loop.py") == "loop"
    assert lanes.lane_of(lanes.TESTS / "test_journal.py") == "unit"
    assert lanes.lane_of(lanes.TESTS / "e2e/test_loop.py", nightly=True) == "nightly"


@pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="needs /proc to find the processes of a test")
def test_a_test_out_of_time_takes_its_detached_processes_with_it(tmp_path: Path) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGS)
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT / 'tests'}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", "test_hangs.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "Timeout" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="needs /proc to find the processes of a test")
def test_what_was_started_before_the_test_goes_on() -> None:
    with subprocess.Popen(["sleep", "600"]) as before:
        time.sleep(0.05)
        started = lanes.now()
        with subprocess.Popen(["sleep", "600"], start_new_session=True) as during:
            lanes.kill_children(since=started)
            assert during.wait(20) == -signal.SIGKILL
        assert before.poll() is None
        before.kill()


def gone(pid: int) -> bool:
    """Whether a process has ended, a zombie that nobody has waited for included."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False
