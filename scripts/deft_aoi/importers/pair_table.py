"""Two folders of NG and golden images as one ChangeNet table with converted images next to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json
from deft_aoi.base.names import means_good, names_nothing
from deft_aoi.base.rows import PASS, normalise_label, write_rows
from deft_aoi.data.pairs import check_ext, convert_pairs, depth_of, label_from_name, list_images, match_pairs
from deft_aoi.data.workspace_files import rows_frame

UNNAMED = "ng"
SUMMARY = "ingest_summary.json"


def prepare_pairs(
    inputs: Path, goldens: Path, output: Path, *, label: str | None = None, images_dir: Path | None = None,
    subdir: str = "sdg", lights: Sequence[str] = ("SolderLight",), ext: str = ".jpg",
) -> dict[str, Any]:  # fmt: skip
    """Write `output` (14 columns) and the images `<images_dir>/<subdir>_{ng,ok}/<name>_<light><ext>`.

    The table's paths are relative to `images_dir` (default: images next to `output`); `label` overrules the names, and
    a name without a label is `ng`.
    Returns what ingest_summary.json next to `output` holds: rows, by_label, skipped files with reasons. Raises
    InputError where the table or one of the images exists already, or no pair is usable.
    """
    check_ext(ext)
    fixed = None if label is None else PASS if means_good(label) else normalise_label(label)
    if fixed == "" or (fixed and names_nothing(fixed)):
        raise InputError(f"--label {label!r}: expected PASS or the name of a defect")
    images = images_dir or output.parent / "images"
    folders = (images / f"{subdir}_ng", images / f"{subdir}_ok")
    found, skipped = match_pairs(
        list_images(inputs, "--input-dir"), list_images(goldens, "--golden-dir"), lights,
        lambda name: fixed or label_from_name(name) or UNNAMED,
    )  # fmt: skip
    if not found:
        raise InputError(f"{inputs}: no usable pair, the first: {skipped[0].file} ({skipped[0].reason})")
    planned = [output, *(folder / f"{p.name}_{light}{ext}" for p in found for light in lights for folder in folders)]
    if there := next((path for path in planned if path.exists()), None):
        raise InputError(f"{there}: already there and would be overwritten; choose another --output or --subdir")
    pairs, unreadable = convert_pairs(found, lambda _: folders, ext)
    if not pairs:
        raise InputError(f"{inputs}: no readable pair, the first: {unreadable[0].file} ({unreadable[0].reason})")
    rows = rows_frame(
        [
            {
                "input_path": folders[0].name, "golden_path": folders[1].name, "label": pair.label,
                "object_name": pair.name, "project": subdir,
            }
            for pair in pairs
        ]
    )  # fmt: skip
    write_rows(output, rows)
    summary = {
        "csv": str(output), "images_dir": str(images), "rows": len(pairs), "lights": list(lights), "ext": ext,
        "full_scale": depth_of(found),
        "by_label": dict(sorted(Counter(pair.label for pair in pairs).items())),
        "skipped": [asdict(entry) for entry in [*skipped, *unreadable]],
    }  # fmt: skip
    atomic_write_json(output.parent / SUMMARY, summary)
    return summary
