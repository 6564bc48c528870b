"""validate_training_csv.py as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import inside
from test_leakage import workspace, write

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/validate_training_csv.py"


def run(*arguments: str | Path) -> inside.Done:
    return inside.script("validate_training_csv", *arguments)


def test_ok_and_leak(tmp_path: Path) -> None:
    root = workspace(tmp_path / "w")
    csv = write(tmp_path / "t.csv", "in,gold,PASS,a,B", "in,gold,open,b,B")
    done = run(
        "--csv", csv, "--workspace-root", root, "--validation-csv", write(tmp_path / "v.csv", "in,gold,PASS,c,V")
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok: 2 rows, ")
    held = write(tmp_path / "v.csv", "in/,gold,open,a,V")
    report = tmp_path / "r.json"
    done = run("--csv", csv, "--workspace-root", root, "--validation-csv", held, "--report-json", report)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("validate_training_csv: leakage: 1 rows of ")
    assert done.stderr.count("\n") == 1
    facts = json.loads(report.read_text())
    assert facts["ok"] is False
    assert facts["leaks"][0]["first_line"] == 2


def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    root = workspace(tmp_path / "w")
    flags = ["--csv", write(tmp_path / "t.csv", "in,gold,PASS,a,B", "in,gold,open,b,B"), "--workspace-root", root]
    done = subprocess.run([sys.executable, SCRIPT, *flags], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout[:12]) == (0, "", "ok: 2 rows, ")


def test_other_light_and_extension(tmp_path: Path) -> None:
    for folder in ("in", "gold"):
        (tmp_path / folder).mkdir()
        for light in ("White", "Red"):
            (tmp_path / folder / f"a_{light}.png").touch()
            (tmp_path / folder / f"b_{light}.png").touch()
    csv = write(tmp_path / "t.csv", "in,gold,PASS,a,B", "in,gold,open,b,B")
    flags = ("--csv", csv, "--workspace-root", tmp_path, "--light", "White", "--light", "Red", "--image-ext", ".png")
    assert run(*flags).returncode == 0
    (tmp_path / "gold/b_Red.png").unlink()
    done = run(*flags)
    assert done.returncode == 2
    assert "line 3: image gold/b_Red.png is missing" in done.stderr
