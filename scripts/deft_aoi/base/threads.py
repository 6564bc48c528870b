"""How many threads a piece of arithmetic gets."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrix products inside run on one thread: small ones would only wait for each other, and burn CPU in it."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn, takes a moment to import

    with threadpool_limits(1):
        yield


def calm_threads() -> None:
    """Settings that must be made before NumPy is imported; what the caller has set stays."""
    # One thread in matrix products: their order of summation must not depend on the machine's load.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    calm_waiting()


def calm_waiting() -> None:
    """Waiting threads of OpenMP give their core away: spinning ones slow a shared CPU down twenty times, and a search
    of a few milliseconds costs a hundred. To be called before a package that has such threads is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def calm_collector() -> None:
    """Collect garbage less often: what the packages bring, and a table here and there, is no garbage."""
    gc.set_threshold(50_000, 20, 20)
