"""One tiny line and one unbroken run for all tests of faults."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import faulty


@pytest.fixture(autouse=True)
def null_engine(null_engine_here: None) -> None:
    """Faults happen to journal, state and jobs; what is learned does not matter here."""


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faulty.line(tmp_path_factory.mktemp("line") / "ws")


@pytest.fixture(scope="session")
def unbroken(workspace: Path) -> tuple[Path, list[float]]:
    """A complete run of one iteration, each step of it by another process, and their seconds."""
    run = faulty.begin(workspace, 0)
    return run, faulty.finish(run)


@pytest.fixture
def spoilable(unbroken: tuple[Path, list[float]], tmp_path: Path) -> Iterator[Path]:
    """The complete run, to be spoiled: it is put back afterwards, since its journal names its own place."""
    run, kept = unbroken[0], tmp_path / "kept"
    shutil.copytree(run, kept, symlinks=True)
    yield run
    shutil.rmtree(run)
    shutil.copytree(kept, run, symlinks=True)
