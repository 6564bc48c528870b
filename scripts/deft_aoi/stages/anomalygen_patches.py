"""Mode `patches` of stage `anomalygen`: pairs made from the run's own PASS rows, on this host and without a GPU."""

from __future__ import annotations

import shutil
from collections import Counter

import pandas as pd

from deft_aoi.base.errors import HardStop
from deft_aoi.base.files import atomic_write_json, move_aside, sha256_file
from deft_aoi.base.paths import iter_number
from deft_aoi.base.rows import PASS, write_rows
from deft_aoi.base.safe_yaml import parse_json
from deft_aoi.data.workspace_files import rows_frame
from deft_aoi.record.facts import Generated
from deft_aoi.record.run import Run
from deft_aoi.stages import realism_task
from deft_aoi.stages.anomalygen_inline import PAIRS, ROWS, source_rows
from deft_aoi.stages.routing import PATCHES
from deft_aoi.stages.stage import StageResult
from deft_aoi.synthetic.patch_pairs import GOLDEN, LABEL, TEST, Made, make_patches, provenance

MODE = PATCHES
PROVENANCE = "patches.csv"
_FOLDERS = {TEST: "ng", GOLDEN: "ok", "mask": "mask"}


def good_rows(run: Run, label: str) -> pd.DataFrame:
    """PASS rows trained on so far, paths relative to the workspace, without the boards that judge."""
    rows = source_rows(run, label)
    return rows[rows["label"] == PASS].reset_index(drop=True)


def stage(run: Run, label: str) -> None:
    """Write pictures, masks, rows and provenance of this iteration's pairs, whole or not at all.

    Raises HardStop `no_patches` where no PASS row gives one.
    """
    home = run.paths.anomalygen(label)
    if (home / PAIRS).is_file():
        return
    rows, images = good_rows(run, label), run.paths.dataset(label) / "images"
    partial = images.with_name("images.partial")
    shutil.rmtree(partial, ignore_errors=True)
    folders = {side: partial / f"synthetic_{label}_{name}" for side, name in _FOLDERS.items()}
    for folder in folders.values():
        folder.mkdir(parents=True)
    seed = (run.plan.seed, iter_number(label))
    made = make_patches(rows, run.plan.num_sdg, seed, run.workspace.root, run.optics, folders)
    if not made:
        raise HardStop(
            "no_patches",
            f"none of {len(rows)} PASS rows gives a pair: every image is too plain for a patch that shows",
            evidence=str(run.paths.root),
            remedy="approve a new plan with --synthetic off, or train on PASS rows with some structure",
        )
    if images.exists():
        move_aside(images)
    partial.rename(images)
    place = images.relative_to(run.workspace.root).as_posix()
    write_rows(
        home / ROWS, _rows(made, rows, {side: f"{place}/{folder.name}" for side, folder in folders.items()}, label)
    )
    write_rows(home / PROVENANCE, provenance(made, rows))
    files = {path.relative_to(images).as_posix(): sha256_file(path) for path in sorted(images.rglob("*.*"))}
    counts = dict(sorted(Counter(f"{one.side}+{LABEL}" for one in made).items()))
    atomic_write_json(home / PAIRS, {"by_type": counts, "files": files})


def _rows(made: list[Made], rows: pd.DataFrame, places: dict[str, str], label: str) -> pd.DataFrame:
    """Rows of the pairs: the source row's own words, so that its board counts as one board with it."""
    return rows_frame(
        [
            {
                **{str(name): str(value) for name, value in rows.iloc[one.source].items()},
                "input_path": places[TEST], "golden_path": places[GOLDEN], "label": LABEL, "object_name": one.name,
                "project": "synthetic",
                "description": f"patch in the {one.side} of {rows['object_name'].iloc[one.source]}, {label}",
            }
            for one in made
        ]
    )  # fmt: skip


def collect(run: Run, label: str) -> StageResult:
    home = run.paths.anomalygen(label)
    made = parse_json((home / PAIRS).read_bytes())["by_type"]
    asked, got = run.plan.num_sdg, sum(made.values())
    facts = Generated(
        MODE, got, MODE, requested={LABEL: asked}, allocated={LABEL: got}, generated={LABEL: got}, by_side=made,
        rows_csv=home / ROWS, provenance_csv=home / PROVENANCE, realism=realism_task.facts(home),
    )  # fmt: skip
    changed = made.get(f"{GOLDEN}+{LABEL}", 0)
    summary = f"{got} of {asked} patched pairs made from PASS rows, {changed} of them with the golden changed"
    return StageResult(summary, facts, tuple(home / name for name in (ROWS, PROVENANCE, PAIRS)))
