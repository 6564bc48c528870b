"""`synth_pool/source_embeddings.parquet`: the source pool of a pre-generated run, embedded once, read each iteration.

One row a picture of the real and the synthetic rows: `filepath` and `embedding` as TAO's data services write them, and
what they carry along (light, label, object_name, input_path, origin, content). The manifest holds the file's hash. A
file that is not what the manifest says is a hard stop; one that is gone is made again and must be the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.errors import HardStop, InputError
from deft_aoi.base.files import atomic_write_json, sha256_file
from deft_aoi.base.rows import image_paths, read_parquet
from deft_aoi.data.fingerprints import fingerprints
from deft_aoi.executors.base import Task
from deft_aoi.record.run import Run
from deft_aoi.stages import mining_tasks as heavy
from deft_aoi.synthetic.pregenerated import MANIFEST, SOURCE_POOL, read_manifest
from deft_aoi.synthetic.pregenerated import MODE as PREGEN

FILE, NAME = "source_embeddings.parquet", "embed_source"
_CARRIED = ("label", "object_name", "input_path", "origin")


def used(run: Run) -> bool:
    """Whether this run has embedded its source pool; one of 7.0.x that is carried on embeds when it mines."""
    if run.plan.synthetic != PREGEN:
        return False
    try:
        return _record(run) is not None
    except InputError:
        return False


def path(run: Run) -> Path:
    return run.paths.synth_pool / FILE


def _record(run: Run) -> dict[str, Any] | None:
    """What the manifest says of the file; None before it was made, or where another encoder made it."""
    found: dict[str, Any] | None = read_manifest(run.paths.synth_pool / MANIFEST).get("embeddings")
    return found if found is not None and found["encoder"] == run.plan.encoder else None


def due(run: Run) -> bool:
    """Whether the pool must be embedded: it never was, or its file is gone."""
    return _record(run) is None or not path(run).is_file()


def task(run: Run) -> Task:
    """Embed every picture of the staged source pool that can be read."""
    rows = read_parquet(run.paths.synth_pool / f"{SOURCE_POOL}.parquet", {"input_path": "text", "object_name": "text"})
    frames = []
    for light in run.optics.lights:
        files = image_paths(rows, "input_path", run.workspace.root, light, run.optics.ext)
        frame = rows[list(_CARRIED)].assign(light=light)
        frame.insert(0, "filepath", files)
        frame["content"] = _contents(files)
        frames.append(frame[frame["content"] != ""])
    table = pd.concat(frames, ignore_index=True).drop_duplicates("filepath", ignore_index=True)
    return heavy.embedding(run, run.paths.synth_pool, NAME, table, run.plan.encoder)


def seal(run: Run) -> dict[str, Any]:
    """Note the new file's hash in the manifest, or check the file against it; returns what the manifest says.

    Raises HardStop `source_embeddings_changed`.
    """
    before = read_manifest(run.paths.synth_pool / MANIFEST).get("embeddings")
    made = heavy.embeddings(run.paths.synth_pool, NAME)
    if due(run):
        digest = sha256_file(made)
        if before is not None and before["encoder"] == run.plan.encoder and before["sha256"] != digest:
            raise _changed(run, "is gone, and the pool's pictures give another one now")
        path(run).unlink(missing_ok=True)
        os.link(made, path(run))
        images = len(read_parquet(made, {"filepath": "text"}, only=True))
        found = {"file": FILE, "sha256": digest, "encoder": run.plan.encoder, "images": images}
        manifest = read_manifest(run.paths.synth_pool / MANIFEST) | {"embeddings": found}
        atomic_write_json(run.paths.synth_pool / MANIFEST, manifest)
        return found
    return verify(run)


def verify(run: Run) -> dict[str, Any]:
    """What the manifest says of the file, after it was hashed again. Raises HardStop `source_embeddings_changed`."""
    found = _record(run)
    if found is None or not path(run).is_file():
        raise _changed(run, "is gone")
    if sha256_file(path(run)) != found["sha256"]:
        raise _changed(run, "is not what this run embedded")
    return found


def _changed(run: Run, how: str) -> HardStop:
    return HardStop(
        "source_embeddings_changed",
        f"{path(run)} {how}; neighbours of earlier iterations would no longer be what they were",
        evidence=str(run.paths.synth_pool / MANIFEST),
        remedy="put the file back as it was, or start a new run; then: deft resolve --reason TEXT",
    )


def unknown(run: Run, files: Sequence[str]) -> list[str]:
    """Of picture files those that the file does not hold as they are now: rows that the pool has got since."""
    verify(run)
    rows = read_parquet(path(run), {"filepath": "text", "content": "text"}, only=True)
    known = dict(zip(rows["filepath"], rows["content"]))
    distinct = list(dict.fromkeys(files))
    return [name for name, content in zip(distinct, _contents(distinct)) if known.get(name) != content or not content]


def _contents(files: Sequence[str]) -> list[str]:
    """Content hash of each picture; empty where it cannot be read."""
    prints = fingerprints(files)
    return [key.hex() for key in prints.keys()]  # noqa: SIM118, no dict
