"""What every test gets: this interpreter behind `scripts/deft`, our package for child processes, steady hypothesis."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from hypothesis import settings

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

settings.register_profile("deft", deadline=None, database=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("deft")
