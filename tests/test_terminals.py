"""base.console: whatever a terminal lacks or a reader does, the exit code is the command's; nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deft_aoi.base.files import atomic_write_text
from small_workspace import make_workspace

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
SAY = """
import sys
from deft_aoi.base.console import brief, guarded, steady
def work():
    print("[iter 1/2 · train] FAR 6.34% → 3.11% (target ≤ 0.5%) 良品 é \\udcff")
    print("多" * 5, file=sys.stderr)
    return 75
with steady(), brief("x", []):
    code = guarded("x", work)
sys.exit(code)
"""


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *map(str, words)], env=os.environ | {"PYTHONPATH": str(SCRIPTS)} | environment,
        capture_output=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("charset", ["ascii", "iso-8859-1", "euc-jp", "cp932", "koi8-r", "gb2312", "utf-8"])
def test_no_character_changes_the_exit_code(charset: str) -> None:
    done = run("-c", SAY, PYTHONIOENCODING=charset)
    assert done.returncode == 75, done.stderr
    said = done.stdout.decode(charset)
    assert "FAR 6.34% " in said
    assert ("→" in said) or ("->" in said)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("close", ["true |", ">/dev/full", "2>/dev/full", ">&-", "2>&-"])
def test_no_lost_reader_changes_the_exit_code(close: str, tmp_path: Path) -> None:
    script = tmp_path / "say.py"
    script.write_text(SAY, encoding="utf-8")
    command = f"'{sys.executable}' '{script}'"
    line = f"{{ {command}; echo $? >'{tmp_path}/code'; }} | true" if close == "true |" else f"{command} {close}"
    shell = line if close == "true |" else f"{line}; echo $? >'{tmp_path}/code'"
    subprocess.run(["sh", "-c", shell], env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, capture_output=True, check=False)
    for _ in range(200):
        if (tmp_path / "code").is_file() and (tmp_path / "code").read_text():
            break
        time.sleep(0.05)
    assert (tmp_path / "code").read_text() == "75\n"


def test_a_command_speaks_in_every_charset(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "良品 é", counts=(16, 16, 16, 16))
    for charset in ("ascii", "cp932"):
        done = run("-m", "deft_aoi.cli.main", "doctor", "--workspace", root, PYTHONIOENCODING=charset)
        assert done.returncode == 0, done.stderr
        assert b"nothing blocks a run" in done.stdout


def test_long_outputs_of_earlier_days_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "output"
    folder.mkdir()
    old, other, young = (folder / name for name in ("deft-status-abcd1234.txt", "notes.txt", "deft-x-abcd1235.txt"))
    for path in (old, other, young):
        path.write_text("x")
    os.utime(old, (1, 1))
    os.utime(other, (1, 1))
    many = "from deft_aoi.base.console import brief\nwith brief('x', []):\n    [print(n) for n in range(40)]"
    assert run("-c", many, DEFT_CACHE_DIR=str(tmp_path)).returncode == 0
    assert not old.exists()
    assert other.exists()
    assert len(list(folder.glob("deft-x-*.txt"))) == 2


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o027, 0o640)])
def test_files_have_the_mode_that_the_callers_umask_asks_for(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        atomic_write_text(tmp_path / "deft_state.json", "{}")
    finally:
        os.umask(before)
    assert (tmp_path / "deft_state.json").stat().st_mode & 0o777 == mode
