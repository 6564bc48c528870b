"""A user's own evaluator: a file of the workspace that is run on one scored CSV and prints a JSON object."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import sha256_file
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.kpi.target import Contract

TIMEOUT_SECONDS = 600
_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


def evaluator_file(root: Path, name: str) -> Path:
    """The file behind a command clause; raises InputError unless it is a file inside the workspace, named relatively.

    Files below `augmentation/` may change during a run, so none of them can be approved.
    """
    path = (root / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(root) or Path(name).parts[0] in ("augmentation", "results"):
        raise InputError(f"kpi target: evaluator {name}: expected a path relative to {root}, as kpi/evaluate.py")
    if not path.is_file():
        raise InputError(f"kpi target: evaluator {path}: no such file")
    if path.suffix != ".py" and not os.access(path, os.X_OK):
        raise InputError(f"kpi target: evaluator {path}: not executable; type: chmod +x {path}")
    return path


def measure(
    contract: Contract, root: Path, csv: Path, threshold: float, approved: Mapping[str, str]
) -> dict[str, float]:
    """Numbers that the contract's commands give for a scored CSV at a threshold, `<name>_bound` too where given.

    Each file must still have the bytes in `approved` (path relative to the workspace: sha256). Raises InputError where
    it has not, fails, or prints no JSON object with a finite number of that name.
    """
    found: dict[str, float] = {}
    for bound in contract.commands:
        path = evaluator_file(root, bound.file)
        if approved.get(bound.file) != sha256_file(path):
            raise InputError(f"{path}: changed since the Summary was approved; put it back, or start a new run")
        printed = _run(path, root, csv, threshold)
        if not _is_number(printed.get(bound.name)):
            raise InputError(
                f"{path}: {bound.name} is {printed.get(bound.name)!r}; expected a finite number in its JSON"
            )
        found[bound.name] = float(printed[bound.name])  # type: ignore[arg-type]
        if _is_number(limit := printed.get(f"{bound.name}_bound")):
            found[f"{bound.name}_bound"] = float(limit)  # type: ignore[arg-type]
    return found


def _run(path: Path, root: Path, csv: Path, threshold: float) -> dict[str, object]:
    """`FILE CSV THRESHOLD` in the workspace, without any secret of the environment."""
    command = [*([sys.executable] if path.suffix == ".py" else []), str(path), str(csv), repr(threshold)]
    clean = {name: value for name, value in os.environ.items() if not any(word in name.upper() for word in _SECRET)}
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=clean,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{path}: could not be run ({error})") from error
    said = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode != 0:
        raise InputError(f"{path}: exit {done.returncode}: {said}")
    try:
        printed = parse_json(done.stdout)
    except ValueError as error:
        raise InputError(f'{path}: printed no JSON ({error}); expected one object, as {{"line_cost": 1.5}}') from error
    if not isinstance(printed, dict):
        raise InputError(f"{path}: printed {type(printed).__name__}; expected a JSON object")
    return printed


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False
