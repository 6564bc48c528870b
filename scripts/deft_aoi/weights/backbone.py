"""Stage the backbone's weights into a folder: from a file, from the hub's cache on this machine, or from the hub."""

from __future__ import annotations

import shutil
from pathlib import Path

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write, sha256_file
from deft_aoi.weights.architecture import DINOV3_TYPES, dinov3_repo
from deft_aoi.weights.hub import cached, fetch

RADIO_SOURCE = ("nvidia/C-RADIOv2-B", "c_radio_v2_b.safetensors")
WEIGHT_SUFFIXES = (".pth", ".ckpt", ".safetensors")


def source_of(kind: str | None) -> tuple[str, str]:
    """(repository, staged name) of a backbone type; C-RADIOv2-B where none is named. Raises InputError for others."""
    if kind is None:
        return RADIO_SOURCE
    if kind not in DINOV3_TYPES:
        raise InputError(
            f"--backbone-type {kind}: expected one of {', '.join(DINOV3_TYPES)}; for other weights pass --repo-id and "
            "--stage-name, or --source FILE"
        )
    return dinov3_repo(kind), f"{kind}.safetensors"


def stage_backbone(
    folder: Path, *, repo_id: str, filename: str, stage_name: str, source: Path | None = None, force: bool = False,
    token: str | None = None, offline: bool = False,
) -> Path:  # fmt: skip
    """Put the weights at `folder/stage_name` and return that path; what is staged already stays unless `force`.

    `offline` (or AIR_GAPPED, HF_HUB_OFFLINE in the environment) takes what is on this machine only. Raises InputError
    where no source can be had, or the copy differs from its source.
    """
    if Path(stage_name).name != stage_name or Path(stage_name).suffix not in WEIGHT_SUFFIXES:
        raise InputError(f"--stage-name {stage_name}: expected a file name with {', '.join(WEIGHT_SUFFIXES)}")
    target = folder / stage_name
    if target.is_file() and target.stat().st_size and not force:
        return target
    found = source or cached(repo_id, filename)
    if found is None:
        fetch(repo_id, filename, target, token, offline=offline)
        return target
    if not found.is_file() or not found.stat().st_size:
        raise InputError(f"{found}: no such weights file, or empty; expected the backbone's weights")
    with open(found, "rb") as stream:
        atomic_write(target, lambda out: shutil.copyfileobj(stream, out, 1 << 20))
    if sha256_file(target) != sha256_file(found):
        target.unlink()
        raise InputError(f"{target}: differs from {found} after the copy; check the disk and type the command again")
    return target
