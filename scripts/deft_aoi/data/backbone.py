"""Stage the backbone's weights into a folder: from a file, from the hub's cache on this machine, or from the hub."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path

from deft_aoi.errors import InputError
from deft_aoi.fsio import atomic_write, sha256_file

WEIGHT_SUFFIXES = (".pth", ".ckpt", ".safetensors")


def stage_backbone(
    folder: Path, *, repo_id: str, filename: str, stage_name: str, source: Path | None = None, force: bool = False
) -> Path:
    """Put the weights at `folder/stage_name` and return that path; what is staged already stays unless `force`.

    Raises InputError where no source can be had, or the copy differs from its source.
    """
    if Path(stage_name).name != stage_name or Path(stage_name).suffix not in WEIGHT_SUFFIXES:
        raise InputError(f"--stage-name {stage_name}: expected a file name with {', '.join(WEIGHT_SUFFIXES)}")
    target = folder / stage_name
    if target.is_file() and target.stat().st_size and not force:
        return target
    found = source or cached(repo_id, filename) or download(repo_id, filename)
    if not found.is_file() or not found.stat().st_size:
        raise InputError(f"{found}: no such weights file, or empty; expected the backbone's weights")
    with open(found, "rb") as stream:
        atomic_write(target, lambda out: shutil.copyfileobj(stream, out, 1 << 20))
    if sha256_file(target) != sha256_file(found):
        target.unlink()
        raise InputError(f"{target}: differs from {found} after the copy; check the disk and type the command again")
    return target


def hub_cache() -> Path:
    """The Hugging Face hub's cache folder on this machine."""
    if home := os.environ.get("HF_HUB_CACHE"):
        return Path(home)
    return Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface") / "hub"


def cached(repo_id: str, filename: str) -> Path | None:
    """The newest snapshot of a file in the hub's cache, if there is one; no network."""
    snapshots = hub_cache() / f"models--{repo_id.replace('/', '--')}" / "snapshots"
    found = [path for path in snapshots.glob(f"*/{filename}") if path.is_file()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def download(repo_id: str, filename: str) -> Path:
    """Fetch a file with huggingface_hub where it is installed; it reads HF_TOKEN itself.

    Raises InputError with one clear line where it is not installed or the hub says no.
    """
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        raise InputError(
            f"{filename} of {repo_id} is not on this machine and huggingface_hub is not installed; download it from "
            f"https://huggingface.co/{repo_id} and pass --source FILE"
        ) from None
    try:
        return Path(hub.hf_hub_download(repo_id, filename))
    except Exception as error:
        raise InputError(
            f"{filename} of {repo_id}: the hub said {type(error).__name__}; check the network and HF_TOKEN, or pass "
            "--source FILE"
        ) from error
