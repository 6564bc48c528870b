"""How the set-up runs an installer, counts its bytes and tidies up after it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deft_aoi.cli import setup_steps
from deft_aoi.cli.setup_meters import FolderMeter, LineMeter, PipMeter, UvMeter
from deft_aoi.cli.setup_plan import Plan, StepError, left_out, make_plan
from deft_aoi.cli.setup_trim import KEPT, trim
from test_launcher import ANSWER, call, copy_of_the_skill

ROOT = Path(__file__).resolve().parents[1]
CLI = ROOT / "scripts/deft_aoi/cli"


def test_bars_of_uv_are_added_up_and_stay_out_of_the_log() -> None:
    meter = UvMeter()
    meter.feed(b"Resolved 2 packages in 9ms\r\n\x1b[37m\xe2\xa0\x8b\x1b[0m \x1b[2mPreparing packages...\x1b[0m (0/2)\r")
    meter.feed(b"\x1b[2mpandas \x1b[0m \x1b[32m---\x1b[30m\x1b[2m---\x1b[0m\x1b[0m 512.00 KiB/1.00 MiB    ")
    meter.feed(b"\x1b[2mhf-xet \x1b[0m \x1b[32m\x1b[0m------ 0 B/2.00 MiB\r\x1b[2K")
    assert meter.count() == (512 * 1024, 3 * 1024 * 1024)
    meter.feed(b"pandas ------ 1.00 MiB/1.00 MiB\r\x1b[2KInstalled 2 packages in 8ms\r\n")
    meter.end()
    assert meter.count()[0] == 1024 * 1024
    assert meter.lines == ["Resolved 2 packages in 9ms", "Installed 2 packages in 8ms"]


def test_pips_announcements_are_the_total_and_its_files_what_is_done(tmp_path: Path) -> None:
    meter = PipMeter(tmp_path)
    meter.feed(b"Collecting a\n  Downloading a-1-py3-none-any.whl.metadata (5.9 kB)\n")
    assert meter.count() == (0, 0)
    meter.feed(b"Downloading a-1-py3-none-any.whl (1.5 MB)\nUsing cached b-1-py3-none-any.whl (20 kB)\n")
    (tmp_path / "pip-unpack-x").mkdir()
    (tmp_path / "pip-unpack-x/a-1-py3-none-any.whl").write_bytes(bytes(700_000))
    assert meter.count() == (700_000, 1_520_000)


def test_an_installer_that_counts_on_a_terminal_only_gets_one(tmp_path: Path) -> None:
    plan = Plan(tmp_path, tmp_path / "env-x", (), tmp_path / "none", 0)
    code = "import os, sys; print(sys.stdout.isatty(), sys.stderr.isatty()); sys.exit(3)"
    with open(tmp_path / "lock", "ab") as lock:
        for meter, seen in ((UvMeter(), "True True"), (LineMeter(), "False False")):
            with pytest.raises(StepError, match=seen):
                setup_steps.run_step(plan, lock.fileno(), "trying", [sys.executable, "-c", code], meter=meter)
    assert plan.log.read_text().splitlines()[1::2] == ["True True", "False False"]


def test_a_line_says_how_many_bytes_of_how_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(25_000_000))
    progress = setup_steps.Progress("unpacking packages")
    progress.live = True
    progress.done, progress.total = FolderMeter(tmp_path, 100_000_000).count()
    assert progress.text(7) == f"deft: unpacking packages [{'#' * 6}{'.' * 18}] 25.0 of 100.0 MB (7 s)"
    progress.live = False
    assert progress.text(7) == "deft: unpacking packages: 25.0 of 100.0 MB (7 s)"


def test_unused_parts_are_removed_and_the_installers_cache_keeps_its_files(tmp_path: Path) -> None:
    site, cache = tmp_path / "site-packages", tmp_path / "cache"
    gone = (
        "pandas/tests/io/test_csv.py", "pyarrow/include/arrow/api.h", "pyarrow/libarrow_flight.so.2600",
        "pyarrow/_flight.cpython-311-x86_64-linux-gnu.so", "pyarrow/libarrow_python.so",
        "pyarrow/libarrow_python.so.2600.1.0", "fontTools/misc/bezierTools.c", "fontTools/ttLib/sfnt.py",
        "onnxruntime/capi/libonnxruntime.so.1.32.0",
    )  # fmt: skip
    kept = (
        "pandas/testing.py", "pyarrow/lib.cpython-311-x86_64-linux-gnu.so", "pyarrow/libarrow_python.so.2600",
        "pyarrow/libarrow.so.2600", "fontTools/misc/textTools.py", "numpy/testing/__init__.py", "mine/tests/a.py",
        *(f"{name}/_natype.py" for name in KEPT), "onnxruntime/capi/onnxruntime_pybind11_state.so",
    )  # fmt: skip
    for name in (*gone, *kept):
        for folder in (cache, site):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text(name)
        os.link(cache / name, site / name)
    trim(site)
    assert {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()} == set(kept)
    assert all((cache / name).read_text() == name for name in gone)


def test_the_set_up_needs_the_standard_library_and_modules_that_the_launcher_hashes() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); import deft_aoi.cli.bootstrap; "
        "print(*(getattr(m, '__file__', None) for m in list(sys.modules.values()) "
        "if m.__name__.startswith('deft_aoi') and getattr(m, '__file__', None)))\n"
        "print(*{m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names - {'deft_aoi', '__main__'})"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True, check=True)
    ours, others = done.stdout.split("\n")[:2]
    files = {Path(name) for name in ours.split() if Path(name).name != "__init__.py"}
    assert files == {CLI / "bootstrap.py", *CLI.glob("setup_*.py")}
    assert others == ""


def test_a_change_of_any_part_of_the_set_up_is_noticed(tmp_path: Path) -> None:
    launcher = copy_of_the_skill(tmp_path / "skill")
    home = tmp_path / "home"
    made = home / make_plan(home, test=False).env.name
    (made / "bin").mkdir(parents=True)
    (made / ".complete").touch()
    (made / "bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (made / "bin/python").chmod(0o755)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def notes_after_a_call() -> int:
        done = call(launcher, "--version", cwd=tmp_path, DEFT_PYTHON="", DEFT_HOME=str(home), DEFT_EXTRAS="", PATH=path)
        assert (done.returncode, done.stdout) == (0, ANSWER), done.stderr
        return len(list((home / "ready").iterdir()))

    assert [notes_after_a_call(), notes_after_a_call()] == [1, 1]
    with open(tmp_path / "skill/scripts/deft_aoi/cli/setup_trim.py", "a", encoding="utf-8") as stream:
        stream.write("# changed\n")
    assert notes_after_a_call() == 2


def test_what_is_left_out_is_pinned_but_not_in_the_base() -> None:
    pins = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    locked = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert left_out() <= pins, "a name that nothing asks for any more"
    assert not left_out() & locked
