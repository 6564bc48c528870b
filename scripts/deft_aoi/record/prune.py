"""Drop checkpoints that nobody needs any more, and say so in the journal first."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import sync_folder
from deft_aoi.base.paths import iter_number
from deft_aoi.record.order import PRUNE, TRAIN
from deft_aoi.record.run import Run, add_line

UNSCORED, BEATEN = "unscored", "beaten"
POLICIES = {
    UNSCORED: "epochs of a finished training that are neither its lowest val_loss nor its latest: nobody scored them",
    BEATEN: "these, and all checkpoints of iterations that are neither the best model so far nor the newest training",
}


def unneeded(run: Run, policy: str) -> list[Path]:
    """Checkpoints that `policy` drops, sorted; only of trainings that the journal has as finished."""
    if policy not in POLICIES:
        raise InputError(f"policy {policy!r}: expected one of {', '.join(POLICIES)}")
    trained = {e["iter"]: e["facts"] for e in run.entries if e["stage"] == TRAIN and e["status"] == "ok"}
    needed = {(run.paths.root / name).resolve() for label in trained for name in _kept(run, trained, label, policy)}
    with contextlib.suppress(InputError):
        needed.add(run.champion()[1].best_ckpt_path.resolve())
    found = [path for label in trained for path in run.paths.train(label).glob("model_epoch_*.pth")]
    return sorted(path for path in found if path.resolve() not in needed and not path.is_symlink())


def _kept(run: Run, trained: dict[str, dict[str, Any]], label: str, policy: str) -> list[str]:
    newest = max(trained, key=iter_number)
    champion = ""
    with contextlib.suppress(InputError):
        champion = run.champion()[0]
    if policy == BEATEN and label not in (newest, champion):
        return []
    return list(trained[label].get("checkpoints", {}).values())


def prune(run: Run, policy: str) -> list[dict[str, Any]]:
    """Journal what goes, then delete it; a crash between the two leaves files that the next call drops.

    Returns path (relative to the run) and bytes of each. The caller holds the run's lock.
    """
    paths = unneeded(run, policy)
    gone = [(run.paths.relative(path), path.stat().st_size) for path in paths]
    records = [{"path": name, "bytes": size} for name, size in gone]
    if not gone:
        return []
    total = sum(size for _, size in gone)
    add_line(
        run,
        iter_label=run.entries[-1]["iter"],
        stage=PRUNE,
        status="ok",
        summary=f"dropped {len(gone)} checkpoints ({total / 1e9:.2f} GB) that are neither best nor latest: {policy}",
        duration_sec=0,
        facts={"policy": policy, "pruned": records, "bytes": total},
    )
    for path in paths:
        path.unlink(missing_ok=True)
        for link in path.parent.iterdir():
            if link.is_symlink() and os.readlink(link) == path.name:
                link.unlink()
    for folder in {path.parent for path in paths}:
        sync_folder(folder)
    return records
