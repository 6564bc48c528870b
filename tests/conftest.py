"""What every test gets: this interpreter behind `scripts/deft`, our package for child processes, steady hypothesis."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

os.environ["DEFT_PYTHON"] = sys.executable
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "scripts"), *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile("deft", deadline=None, database=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("deft")
