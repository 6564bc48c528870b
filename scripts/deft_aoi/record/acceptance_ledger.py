"""The ledger of a workspace's sealed acceptance set: every opening is on disk before its scores are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write, locked, sha256_file, sync_folder, utc_now
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.base.rows import IDENTITY, read_rows
from deft_aoi.record import journal
from deft_aoi.record.order import ACCEPTANCE

Opening = dict[str, Any]
_KEY = ("run", "checkpoint_sha256", "threshold", "csv_sha256")


@dataclass(frozen=True)
class Sealed:
    """An acceptance set as it was read: the SHA-256 of its CSV and its rows."""

    sha256: str
    rows: pd.DataFrame

    @classmethod
    def at(cls, csv: Path) -> Sealed:
        return cls(sha256_file(csv), read_rows(csv))


def openings(workspace: Workspace, known: Mapping[Path, Sequence[journal.Entry]] | None = None) -> list[Opening]:
    """Every opening of this workspace, oldest first: the ledger's, and those of journals that it lacks. `known` are
    journals, by their file, that the caller has read."""
    found = {_key(one): one for one in _ledger(workspace)}
    for folder in workspace.runs():
        log = RunPaths(folder).log
        for entry in known[log] if known and log in known else journal.read(log):
            facts = entry.get("facts", {})
            if entry["stage"] == ACCEPTANCE and entry["status"] == "ok":
                one = {name: facts[name] for name in _KEY} | {"ts": entry["ts"]}
                found.setdefault(_key(one), one)
    return sorted(found.values(), key=lambda one: str(one["ts"]))


def seen_before(workspace: Workspace, sealed: Sealed) -> int:
    """How many openings saw rows of the set."""
    return sum(_shares_rows(workspace, one, sealed) for one in openings(workspace))


def record(
    workspace: Workspace,
    csv: Path,
    opening: Mapping[str, Any],
    known: Mapping[Path, Sequence[journal.Entry]] | None = None,
) -> int:
    """Write an opening into the ledger, before any score exists; returns its place among those that saw rows of the
    set: 1 for one that nobody has opened before. The same model again is the same opening: it tells nothing new."""
    with locked(workspace.acceptance_ledger.with_suffix(".lock")):
        found = openings(workspace, known)
        keys = [_key(one) for one in found]
        if _key(opening) not in keys:
            copy = _copy(workspace, str(opening["csv_sha256"]))
            if not copy.is_file():
                atomic_write(copy, lambda stream: stream.write(csv.read_bytes()))
            line = json.dumps({**opening, "ts": utc_now()}, ensure_ascii=False) + "\n"
            with open(workspace.acceptance_ledger, "ab") as stream:
                stream.write(line.encode("utf-8"))
                stream.flush()
                os.fsync(stream.fileno())
            sync_folder(workspace.acceptance_ledger.parent)
        before = found[: keys.index(_key(opening))] if _key(opening) in keys else found
        sealed = Sealed.at(csv)
        return 1 + sum(_shares_rows(workspace, one, sealed) for one in before)


def opening_of(run_name: str, checkpoint: Path, threshold: float, csv: Path) -> Opening:
    """What makes an opening: which run, which frozen checkpoint and threshold, which set."""
    return {
        "run": run_name,
        "checkpoint_sha256": sha256_file(checkpoint),
        "threshold": threshold,
        "csv_sha256": sha256_file(csv),
    }


def _ledger(workspace: Workspace) -> list[Opening]:
    path = workspace.acceptance_ledger
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            one = json.loads(line)
            _key(one)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}, line {number}: no opening ({error}); put the file back from a backup") from error
        found.append(one)
    return found


def _key(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(one[name] for name in _KEY)


def _copy(workspace: Workspace, digest: str) -> Path:
    return workspace.results / "acceptance_sets" / f"{digest}.csv"


def _shares_rows(workspace: Workspace, one: Opening, sealed: Sealed) -> bool:
    """Whether an earlier opening saw a row of this set; where its rows are gone it counts."""
    if one["csv_sha256"] == sealed.sha256:
        return True
    earlier = _copy(workspace, str(one["csv_sha256"]))
    if not earlier.is_file():
        return True
    seen = [set(rows[list(IDENTITY)].itertuples(index=False, name=None)) for rows in (read_rows(earlier), sealed.rows)]
    return bool(seen[0] & seen[1])
