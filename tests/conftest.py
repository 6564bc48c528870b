"""What every test gets: this interpreter behind `scripts/deft`, our package for child processes, steady hypothesis,
a lane, a time limit, and the loops that many tests look at."""

from __future__ import annotations

import os

# As many test processes as cores run at a time, so each takes one; the embedded engine asks for one BLAS thread itself.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import lanes
from inside import jobs_by
from null_jobs import NullExecutor
from real_loops import Loop, shared_loop

ROOT = Path(__file__).resolve().parents[1]

os.environ["DEFT_PYTHON"] = sys.executable
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "scripts"), *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ.setdefault("MPLBACKEND", "Agg")
# Approvals that tests give stay out of this user's home.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="deft-state-")
# Every loop of one session shares a cache, as loops of one user do; nothing of an earlier session is in it.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="deft-cache-")
    os.environ["DEFT_CACHE_DIR"] = _cache.name
os.environ.pop("DEFT_LAUNCHER", None)  # the same words whether `scripts/deft test` or pytest was typed
os.environ[lanes.MARK] = str(os.getpid())

settings.register_profile("deft", deadline=None, database=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("deft")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its lane and its limit; the slow lanes come first, so that no core is idle at the end."""
    for item in items:
        lane = lanes.lane_of(item.path, nightly=item.get_closest_marker("nightly") is not None)
        item.add_marker(lane)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(lanes.LIMITS[lane]))
    items.sort(key=lambda item: lanes.place_of(item.path))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that runs out of time leaves no process behind."""
    started = lanes.now()
    try:
        return (yield)
    except BaseException as error:
        if "Timeout" in str(error):
            lanes.kill_children(since=started)
        raise


@pytest.fixture(scope="session")
def knn_loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """The real loop by policy `knn+label`."""
    return shared_loop(tmp_path_factory, "knn")


@pytest.fixture(scope="session")
def weakness_loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """The real loop by the policy that labelled pools get: what other platforms are held against."""
    return shared_loop(tmp_path_factory, "weakness")


@pytest.fixture(scope="session")
def pregen_loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """The real loop of `deft demo`, with pre-generated pairs: as a user runs it."""
    return shared_loop(tmp_path_factory, "demo")


@pytest.fixture(scope="session")
def null_loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """One iteration of the null engine on this machine."""
    return shared_loop(tmp_path_factory, "null")


@pytest.fixture
def null_engine_here() -> Iterator[None]:
    """Local jobs of this process are answered by the null engine."""
    with jobs_by(NullExecutor):
        yield


@pytest.fixture(scope="module")
def null_engine_in_module() -> Iterator[None]:
    """The same for all tests of a file and what they share."""
    with jobs_by(NullExecutor):
        yield
