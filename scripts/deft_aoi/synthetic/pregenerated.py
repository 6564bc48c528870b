"""Pre-generated NG/OK pairs: staged once into the run, with the hash of every source file."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from deft_aoi.base.errors import HardStop, InputError
from deft_aoi.base.files import atomic_write_json, move_aside, sha256_file, sha256_json
from deft_aoi.base.paths import RunPaths, Workspace
from deft_aoi.base.rows import PASS, image_paths, read_pool, write_parquet, write_rows
from deft_aoi.base.safe_paths import inside
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.base.threads import cores
from deft_aoi.data.pairs import Pair, Skipped, convert_pairs, label_from_name, list_images, match_pairs
from deft_aoi.data.workspace_files import rows_frame
from deft_aoi.spec.tree import Optics

NG_FOLDER, OK_FOLDER = "images/synth_ng", "images/synth_ok"
MANIFEST, ROWS, SOURCE_POOL = "manifest.json", "sdg_rows.csv", "source_pool"
MODE = "pregen_ingest"


def stage_pregen(workspace: Workspace, paths: RunPaths, optics: Optics, *, force: bool = False) -> dict[str, Any]:
    """Convert the pairs of augmentation/anomalygen/{reconstructed_image,original_image} into `<run>/synth_pool`.

    Names are `<Texture>+<Anomaly>_<idx>[_<light>].<ext>`, the same in both folders. Files that cannot be used are
    listed in the manifest and skipped. Returns the manifest: mode, pairs, by_label, skipped, source (sha256 of every
    file and `digest` over them), lights, ext. The folder appears whole or not at all; when it is there already it is
    verified and returned, or staged again with `force`. Raises InputError where no pair is usable.
    """
    pool = paths.synth_pool
    if (pool / MANIFEST).is_file() and not force:
        return verify_pregen(workspace, paths)
    source = source_record(workspace)
    found, skipped = match_pairs(
        list_images(workspace.pregen_ng, "pre-generated NG", workspace.root),
        list_images(workspace.pregen_ok, "pre-generated OK", workspace.root),
        optics.lights, label_from_name,
    )  # fmt: skip
    skipped += [Skipped(pair.files[0][1].name, "named as a good part") for pair in found if pair.label == PASS]
    partial = pool.with_name(pool.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    targets = (partial / NG_FOLDER, partial / OK_FOLDER)
    pairs, unreadable = convert_pairs([p for p in found if p.label != PASS], lambda _: targets, optics.ext)
    skipped += unreadable
    if not pairs:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(
            f"{workspace.pregen_ng}: none of its files makes a usable pair, the first: {skipped[0].file} "
            f"({skipped[0].reason}); expected names like PCB+bridge_00000.png in it and in {workspace.pregen_ok}"
        )
    rows = synthetic_rows(pairs, workspace.root, pool)
    write_rows(partial / ROWS, rows)
    _write_source_pool(workspace, optics, rows, partial)
    manifest = {
        "mode": MODE, "pairs": len(pairs), "by_label": dict(sorted(Counter(pair.label for pair in pairs).items())),
        "lights": list(optics.lights), "ext": optics.ext, "skipped": [asdict(entry) for entry in skipped],
        "source": source,
    }  # fmt: skip
    atomic_write_json(partial / MANIFEST, manifest)
    if pool.exists():
        move_aside(pool)
    partial.rename(pool)
    return manifest


def verify_pregen(workspace: Workspace, paths: RunPaths) -> dict[str, Any]:
    """The staged manifest, after every source file was hashed again.

    Raises HardStop `pregen_changed` where a file was added, removed or changed since the staging, InputError where
    nothing is staged.
    """
    path = paths.synth_pool / MANIFEST
    if not path.is_file():
        raise InputError(f"{path}: no staged pairs; type prestage_pregen.py --workspace {workspace.root} --results-dir")
    manifest = read_manifest(path)
    before, now = manifest["source"]["files"], source_record(workspace)["files"]
    changed = [f"{name} added" for name in sorted(now.keys() - before.keys())]
    changed += [f"{name} removed" for name in sorted(before.keys() - now.keys())]
    changed += [f"{name} changed" for name in sorted(before.keys() & now.keys()) if before[name] != now[name]]
    if changed:
        raise HardStop(
            "pregen_changed",
            f"{workspace.anomalygen_dir}: {len(changed)} files differ from what this run staged ({changed[0]}); "
            "rows of earlier iterations would no longer be what they were",
            evidence=str(path),
            remedy="put the folder back as it was, or start a new run to use the new pairs",
        )
    return manifest


def read_manifest(path: Path) -> dict[str, Any]:
    """Raises InputError where the manifest is damaged or says nothing of its sources."""
    try:
        manifest = parse_json(path.read_bytes())
        whole = isinstance(manifest["source"]["files"], dict) and type(manifest["pairs"]) is int
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: damaged ({type(error).__name__}); stage again: prestage_pregen.py --force"
        ) from error
    if not whole:
        raise InputError(f"{path}: damaged (no files or no pairs); stage again: prestage_pregen.py --force")
    return dict(manifest)


def source_record(workspace: Workspace) -> dict[str, Any]:
    """sha256 of every file in the two source folders (`files`) and one digest over names and hashes."""
    listed = [
        path
        for folder in (workspace.pregen_ng, workspace.pregen_ok)
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.is_file()
    ]
    with ThreadPoolExecutor(cores()) as workers:
        hashes = list(workers.map(sha256_file, listed))
    files = {f"{path.parent.name}/{path.name}": digest for path, digest in zip(listed, hashes)}
    return {"digest": sha256_json(files), "files": files}


def synthetic_rows(pairs: Sequence[Pair], root: Path, pool: Path) -> pd.DataFrame:
    """ChangeNet rows of staged pairs, paths relative to the workspace `root`."""
    home = inside(root, pool.resolve(), "run directory").relative_to(root).as_posix()
    return rows_frame(
        [
            {
                "input_path": f"{home}/{NG_FOLDER}", "golden_path": f"{home}/{OK_FOLDER}", "label": pair.label,
                "object_name": pair.name, "project": "synthetic",
                "description": f"pre-generated {pair.files[0][1].name}",
            }
            for pair in pairs
        ]
    )  # fmt: skip


def _write_source_pool(workspace: Workspace, optics: Optics, synthetic: pd.DataFrame, folder: Path) -> None:
    """Real pool and synthetic rows in one table; `origin` says which is which, `filepath` is the first light's."""
    frames = [synthetic.assign(origin="synthetic")]
    if workspace.pool_csv.is_file():
        real = read_pool(workspace.pool_csv, workspace.root, optics.lights, optics.ext)
        frames.insert(0, real.assign(origin="real"))
    rows = pd.concat(frames, ignore_index=True).fillna("")
    rows["filepath"] = image_paths(rows, "input_path", workspace.root, optics.lights[0], optics.ext)
    write_rows(folder / f"{SOURCE_POOL}.csv", rows)
    write_parquet(folder / f"{SOURCE_POOL}.parquet", rows)
