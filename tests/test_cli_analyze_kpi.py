"""analyze_kpi.py as a user runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import inside

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/analyze_kpi.py"
ROWS = "label,siamese_score\nPASS,0.25\nPASS,0.5\nshort,0.4\nopen,0.9\n"


def run(folder: Path, *arguments: str) -> inside.Done:
    return inside.script("analyze_kpi", *arguments, cwd=folder)


def test_prints_the_line_of_the_contract_and_writes_beside_the_csv(tmp_path: Path) -> None:
    (tmp_path / "inference.csv").write_text(ROWS)
    done = run(tmp_path, "inference.csv")
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert re.fullmatch(
        r"100% recall threshold: 0\.25 \(FAR=50%, precision=0\.6667, recall=1\.0000, f1=0\.8000\)", first
    )
    assert (tmp_path / "kpi_analysis/kpi.json").is_file()


def test_other_column_names_and_folder(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("truth,s\nOK,0.25\nshort,0.4\n")
    done = run(tmp_path, "scores.csv", "--output-dir", "o", "--label-column", "truth", "--score-column", "s",
               "--pass-label", "OK", "--bins", "7")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "FAR=0%" in done.stdout
    summary = (tmp_path / "o/summary.txt").read_text()
    assert summary.startswith(done.stdout.rstrip()), "a pipe shows the beginning of what the file says"
    (whole,) = re.findall(r"all of them in (\S+)", done.stderr)
    assert Path(whole).read_text() == f"{summary}wrote o\n"
    Path(whole).unlink()


def test_a_target_gets_its_verdict(tmp_path: Path) -> None:
    (tmp_path / "inference.csv").write_text(ROWS)
    done = run(tmp_path, "inference.csv", "--kpi-target", "FAR <= 50% at recall = 100%")
    assert done.returncode == 0, done.stderr
    assert "verdict NOT PROVABLE" in done.stdout
    assert run(tmp_path, "inference.csv", "--kpi-target", "FAR < 0.1").returncode == 2


def test_refusals_are_one_line_and_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "nan.csv").write_text(ROWS.replace("0.5", "nan"))
    for name, says in (("nan.csv", "line 3"), ("absent.csv", "no such CSV")):
        done = run(tmp_path, name, "--output-dir", "o")
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("analyze_kpi: ")
        assert says in done.stderr
    assert not (tmp_path / "o").exists()


def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "inference.csv").write_text(ROWS)
    command = [sys.executable, SCRIPT, "inference.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("100% recall threshold: 0.25 ")
    done = subprocess.run([*command, "--output-dir"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
