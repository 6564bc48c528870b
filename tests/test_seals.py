"""Heads of the journal's chain in a second place and signed: a forger without file and key is found out."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import inside
from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import RunPaths
from deft_aoi.loop.verify import heads, seal_problems
from deft_aoi.preflight.check_machine import seal_findings
from deft_aoi.record import journal, seals

signs = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen on this machine")


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    paths = RunPaths(tmp_path / "ws/results/run_20260101_000000")
    paths.root.mkdir(parents=True)
    return paths


def key(folder: Path, phrase: str = "") -> Path:
    path = folder / "seal_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", phrase, "-f", str(path)], check=True)
    return path


def stage(run: RunPaths, name: str, **facts: object) -> str:
    """Write one line and seal it; returns what went wrong."""
    entry = journal.append(
        run.log, iter_label="baseline", stage=name, status="ok", summary="done", duration_sec=1, facts=facts
    )
    return seals.keep(run, run.root.parents[1], entry, heads(journal.read(run.log))[-1])


def forge(run: RunPaths) -> None:
    entries = journal.read(run.log)
    entries[-1]["facts"]["far_pct"] = 0.0
    run.log.write_bytes(b"".join(journal.chain(entries)))


def problems(run: RunPaths, *seal: object) -> str:
    done = inside.deft("verify", "--results-dir", run.root, "--seal", *seal, check=None)
    return done.stdout + done.stderr


def test_a_second_place_names_the_forgery(run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "elsewhere.txt"
    file.write_text("2026-01-01T00:00:00Z run_20250101_000000 line 1 baseline/train chain " + "f" * 64 + "\n")
    monkeypatch.setenv(seals.FILE, str(file))
    assert (stage(run, "train"), stage(run, "evaluate", far_pct=3.0)) == ("", "")
    noted = seals.noted_heads(file.read_text(), run.root.name)
    assert noted == heads(journal.read(run.log))  # the line of another run is none of them
    assert seal_problems(journal.read(run.log), noted) == []
    forge(run)
    assert f"head {noted[-1]} was noted elsewhere and is none of this chain" in problems(run, file)


@signs
def test_a_key_names_the_forgery(run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = f"{key(tmp_path)}.pub"
    monkeypatch.setenv(seals.KEY, str(tmp_path / "seal_key"))
    assert (stage(run, "train"), stage(run, "evaluate", far_pct=3.0)) == ("", "")
    signed, off = seals.signed_heads(run, Path(public))
    assert (signed, off) == (heads(journal.read(run.log)), [])
    forge(run)
    assert f"head {signed[-1]} was noted elsewhere" in problems(run, public)
    text = run.seals / "00002.txt"
    text.write_text(text.read_text().replace(signed[-1], heads(journal.read(run.log))[-1]))
    assert "seals/00002.txt: not signed by" in problems(run, public)
    shutil.rmtree(run.seals)  # a forger who drops the seals is left with lines that nobody signed
    assert "lines 1 to 2 are not covered by any signature" in problems(run, public)


@signs
def test_a_crash_before_the_seal_is_made_good(run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = Path(f"{key(tmp_path)}.pub")
    assert stage(run, "train") == ""
    monkeypatch.setenv(seals.KEY, str(tmp_path / "seal_key"))
    (entry,) = journal.read(run.log)
    for _ in range(2):  # the second time it is there
        assert seals.keep(run, run.root.parents[1], entry, heads([entry])[0]) == ""
    assert seals.signed_heads(run, public) == (heads([entry]), [])


@signs
def test_a_key_with_a_passphrase_blocks_before_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(seals.KEY, str(key(tmp_path, "secret words")))
    (found,) = seal_findings(tmp_path / "ws")
    assert (found.level, "without a passphrase" in found.text, "secret words" in found.text) == ("block", True, False)


def test_places_that_cannot_serve_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = tmp_path / "ws"
    workspace.mkdir()
    assert seal_findings(workspace) == []
    for value, words in (("inside", "outside the workspace"), ("away/heads.txt", "no such folder")):
        monkeypatch.setenv(seals.FILE, str((workspace if value == "inside" else tmp_path) / value))
        (found,) = seal_findings(workspace)
        assert (found.level, words in found.text) == ("block", True)
    monkeypatch.setenv(seals.FILE, str(tmp_path / "heads.txt"))
    assert [one.level for one in seal_findings(workspace)] == ["note"]
    monkeypatch.setenv(seals.KEY, str(tmp_path / "none"))
    with pytest.raises(InputError, match="no such file; to make a key"):
        seals.Seals.asked(workspace)
