"""Which engine does the work, and why: asked for, named by the checkpoint, or the one that this machine is good for."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from safetensors import SafetensorError, safe_open

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import SKILL_ROOT

FEATURES, NET, AUTO = "features", "net", "auto"
TAO = "tao"  # not ours: what every platform but `local` runs
ENGINES = (FEATURES, NET)
CHOICES = (*ENGINES, AUTO)
METADATA_KEY = "deft"
NET_NAME = "deft-aoi net"
RESUME_FILE = "resume.safetensors"  # in the output folder of a training that the net engine can go on with


def choose(asked: str) -> tuple[str, str]:
    """(engine, reason) for training. Raises InputError when `net` is asked for and torch is missing."""
    if asked == FEATURES:
        return FEATURES, "asked for"
    if importlib.util.find_spec("torch") is None:
        if asked == AUTO:
            return FEATURES, "auto: this Python has no torch"
        raise InputError(torch_missing())
    gpu = gpu_name()
    if asked == AUTO:
        return (NET, f"auto: {gpu}") if gpu else (FEATURES, "auto: torch sees no GPU")
    return NET, f"asked for; {gpu or 'no GPU, so a small network on the CPU'}"


def torch_missing() -> str:
    return (
        f"engine net needs torch, which {sys.executable} lacks; type: export DEFT_EXTRAS=net (the next deft call "
        f"installs it), or pip install '{SKILL_ROOT}[net]' into the environment that DEFT_PYTHON names"
    )


def gpu_name() -> str | None:
    """Name of the first GPU that torch can use; None where there is none."""
    import torch

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None


def engine_of(checkpoint: Path) -> str:
    """The engine that wrote a checkpoint; `features`, whose reader explains, where that cannot be determined."""
    try:
        with safe_open(checkpoint, "numpy") as opened:
            facts = json.loads((opened.metadata() or {}).get(METADATA_KEY, "{}"))
    except (SafetensorError, OSError, ValueError):
        return FEATURES
    return NET if facts.get("engine") == NET_NAME else FEATURES
