"""What starting a stage imports: heavy packages only where they are used, since every command is its own process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deft_aoi.base.paths import SKILL_ROOT

HEAVY = ("faiss", "jsonschema", "matplotlib", "onnxruntime", "scipy", "sklearn")
STAGES = ("train", "evaluate", "rca", "routing", "anomalygen", "mining", "merge", "finish")


@pytest.mark.parametrize("module", [*(f"deft_aoi.stages.{name}" for name in STAGES), "deft_aoi.preflight.preflight"])
def test_no_heavy_package_is_imported_before_it_is_used(module: str) -> None:
    text = f"import sys, {module}; print(*sorted({set(HEAVY)!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=SKILL_ROOT / "scripts", capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
