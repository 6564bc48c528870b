"""Counts every attempt of the suite, from all processes, and prints the table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from attacks import PROPERTY, Attacker, copy_of, table
from small_workspace import LIGHTS, SIZE, make_workspace

COUNTS: Counter[tuple[str, str]] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, value in report.user_properties if report.when == "teardown" else ():
        if name == PROPERTY:
            kind, outcome, times = str(value).split("|")
            COUNTS[kind, outcome] += int(times)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if COUNTS:
        terminalreporter.section("attacks")
        terminalreporter.write_line(table(COUNTS))


@pytest.fixture
def attacker(request: pytest.FixtureRequest) -> Attacker:
    """Its kind is the module's `KIND`."""
    return Attacker(request.module.KIND, request.node.user_properties)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("attack") / "base", counts=(24, 24, 32, 40))


@pytest.fixture
def workspace(pristine: Path, tmp_path: Path) -> Path:
    return copy_of(pristine, tmp_path / "ws")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder next to the workspace with the images of a part named C0, and a file that nobody may read."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for light in LIGHTS:
        cv2.imwrite(str(folder / f"C0_{light}.png"), np.full((SIZE, SIZE, 3), 77, np.uint8))
    (folder / "secret.txt").write_text("CANARY: outside\n- [x\n")
    return folder
