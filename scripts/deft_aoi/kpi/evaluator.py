"""A user's own evaluator, run on one scored CSV: a file of the workspace that prints a JSON object, or the command of a
metric contract that writes one; or an artifact of somebody else's that is waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deft_aoi.base.errors import InputError, NotYet
from deft_aoi.base.files import atomic_write_json, sha256_file
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.kpi.metric_contract import Result, checked_result, is_number
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
        printed = _printed(path, _run(path, root, (str(csv), repr(threshold))))
        if not is_number(printed.get(bound.name)):
            raise InputError(
                f"{path}: {bound.name} is {printed.get(bound.name)!r}; expected a finite number in its JSON"
            )
        found[bound.name] = float(printed[bound.name])  # type: ignore[arg-type]
        if is_number(limit := printed.get(f"{bound.name}_bound")):
            found[f"{bound.name}_bound"] = float(limit)  # type: ignore[arg-type]
    return found


def contract_files(contract: Contract) -> list[Path]:
    """Files that a metric contract's command is made of: the program, and those of its arguments that are files.

    Raises InputError where the program is not there.
    """
    evaluator = contract.evaluator
    if evaluator is None or evaluator.kind != "command":
        return []
    path = Path(evaluator.path)
    if not path.is_file():
        raise InputError(f"metric contract: evaluator {path}: no such file")
    if path.suffix != ".py" and not os.access(path, os.X_OK):
        raise InputError(f"metric contract: evaluator {path}: not executable; type: chmod +x {path}")
    return [path, *(Path(word) for word in evaluator.args if word.startswith("/") and Path(word).is_file())]


def named(path: Path, root: Path) -> str:
    """The name under which an approval lists a file: from the workspace where it is in it, else absolute."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def evaluated(
    contract: Contract, root: Path, csv: Path, label: str, output: Path, approved: Mapping[str, str]
) -> Result:
    """What a metric contract's evaluator says of a scored CSV; its result is kept in `output`.

    Raises InputError where a file is not the approved one, the command fails or its result does not fit the contract,
    and NotYet while an artifact is not there.
    """
    evaluator = contract.evaluator
    assert evaluator is not None
    if evaluator.kind == "artifact":
        path = Path(evaluator.template.replace("{iter_label}", label))
        if not path.is_file():
            raise NotYet(f"waits for {path} from {evaluator.producer}")
        if path.stat().st_mtime < csv.stat().st_mtime:
            raise NotYet(f"waits for {path} from {evaluator.producer}: the one there is older than the scores {csv}")
        content = path.read_bytes()
    else:
        for file in contract_files(contract):
            if approved.get(named(file, root)) != sha256_file(file):
                raise InputError(f"{file}: changed since the Summary was approved; put it back, or start a new run")
        path = Path(evaluator.path)
        output.unlink(missing_ok=True)
        _run(path, root, (*evaluator.args, "--inference-csv", str(csv), "--output-json", str(output)))
        if not output.is_file():
            raise InputError(f"{path}: ended well and wrote no {output}")
        content = output.read_bytes()
    result = checked_result(content, contract, str(path if evaluator.kind == "artifact" else output))
    atomic_write_json(output, dict(result.record))
    return result


def _run(path: Path, root: Path, words: Sequence[str]) -> str:
    """Standard output of `FILE WORDS` in the workspace, without any secret of the environment."""
    command = [*([sys.executable] if path.suffix == ".py" else []), str(path), *words]
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
    return done.stdout


def _printed(path: Path, text: str) -> dict[str, object]:
    try:
        printed = parse_json(text)
    except ValueError as error:
        raise InputError(f'{path}: printed no JSON ({error}); expected one object, as {{"line_cost": 1.5}}') from error
    if not isinstance(printed, dict):
        raise InputError(f"{path}: printed {type(printed).__name__}; expected a JSON object")
    return printed
