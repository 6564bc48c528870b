"""One file from a Hugging Face hub: into the folder where it stays, resumed after a cut, compared with its checksum."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from deft_aoi.base import air_gap
from deft_aoi.base.errors import InputError
from deft_aoi.base.files import sha256_file, sync_folder
from deft_aoi.weights.reach import why_unreachable

_SHA256 = re.compile(r"[0-9a-f]{64}")


def hub_cache() -> Path:
    """The Hugging Face hub's cache folder on this machine."""
    if home := os.environ.get("HF_HUB_CACHE"):
        return Path(home)
    return Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface") / "hub"


def cached(repo_id: str, filename: str) -> Path | None:
    """The newest snapshot of a file in the hub's cache, if there is one; no network.

    Raises InputError where its bytes are not those that the cache's own name for them promises.
    """
    snapshots = hub_cache() / f"models--{repo_id.replace('/', '--')}" / "snapshots"
    found = [path for path in snapshots.glob(f"*/{filename}") if path.is_file()]
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if newest is not None and not _is(newest, newest.resolve().name):
        raise InputError(f"{newest.resolve()}: not the bytes that the hub's cache promises; remove it and try again")
    return newest


def is_offline() -> bool:
    """Whether the environment forbids asking a hub."""
    return air_gap.declared() or os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")


def fetch(repo_id: str, filename: str, target: Path, token: str | None, *, offline: bool = False) -> None:
    """Download to `target`; a partial file next to it is continued. `token` is sent to the hub only.

    Raises InputError with one line: offline, not installed, refused, not there, cut off (type again), other bytes than
    promised.
    """
    if offline or is_offline():
        raise InputError(
            f"{filename} of {repo_id} is not on this machine, and nothing is downloaded here (air gap or offline); "
            f"bring the file and pass --source FILE, or put it at {target}"
        )
    try:
        hub = importlib.import_module("huggingface_hub")
        download = importlib.import_module("huggingface_hub.file_download")
    except ImportError:
        raise InputError(
            f"{filename} of {repo_id} is not on this machine and huggingface_hub is not installed; download it from "
            f"https://huggingface.co/{repo_id} and pass --source FILE"
        ) from None
    hub.utils.logging.set_verbosity_error()  # its warnings carry signed addresses
    if not sys.stderr.isatty():
        hub.utils.disable_progress_bars()
    part: Path | None = None
    try:
        url = hub.hf_hub_url(repo_id, filename)
        about = hub.get_hf_file_metadata(url, token=token or False)
        part = target.with_name(f".{target.name}.{str(about.etag)[:16]}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        for old in part.parent.glob(f".{target.name}.*.part"):
            if old != part or (about.size is not None and old.stat().st_size > about.size):
                old.unlink()  # of another version of the file
        headers = hub.utils.build_hf_headers(token=token or False)
        if urlparse(about.location).netloc != urlparse(url).netloc:
            headers.pop("authorization", None)
        with open(part, "ab") as stream:
            done = part.stat().st_size
            download.http_get(about.location, stream, resume_size=done, headers=headers, expected_size=about.size)
            stream.flush()
            os.fsync(stream.fileno())
    except Exception as error:
        raise InputError(_why(error, hub, repo_id, filename, token, part)) from None
    if not _is(part, str(about.etag)):
        part.unlink()
        raise InputError(
            f"{filename} of {repo_id}: the download differs from the hub's checksum; type the command again"
        )
    os.replace(part, target)
    sync_folder(target.parent)


def _is(path: Path, promised: str) -> bool:
    """Whether a file has the SHA-256 that a hub names for large files; true where the name is another kind of tag."""
    return not _SHA256.fullmatch(promised) or sha256_file(path) == promised


def _why(error: Exception, hub: Any, repo_id: str, filename: str, token: str | None, part: Path | None) -> str:
    """One line for a person; never the hub's own text, which may quote addresses or the token."""
    what, status = f"{filename} of {repo_id}", getattr(getattr(error, "response", None), "status_code", None)
    errors = hub.utils
    given = "HF_TOKEN was sent" if token else "no HF_TOKEN was found"
    if isinstance(error, errors.GatedRepoError):
        return f"{what}: the hub asks to accept its licence on https://huggingface.co/{repo_id} first ({given})"
    if status in (401, 403) or isinstance(error, errors.RepositoryNotFoundError):
        return f"{what}: the hub refuses ({status}; {given}); check the name and HF_TOKEN, or pass --source FILE"
    if isinstance(error, errors.EntryNotFoundError):
        return f"{what}: the repository has no such file; see https://huggingface.co/{repo_id}/tree/main"
    if part is not None and part.is_file() and part.stat().st_size:
        size = part.stat().st_size
        return f"{what}: cut off after {size:,} bytes ({type(error).__name__}); type the command again to go on there"
    return f"{what}: the hub cannot be reached: {why_unreachable(error)}, or pass --source FILE"
