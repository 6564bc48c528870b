"""Scores of parts by a TAO model: pictures go into the workspace for a while, inference runs where the run does."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deft_aoi.base.errors import InputError
from deft_aoi.base.paths import RunPaths
from deft_aoi.base.rows import SCORE, read_rows, scores_of
from deft_aoi.data.pairs import Pair, convert_pairs
from deft_aoi.data.workspace_files import rows_frame
from deft_aoi.loop.part_decisions import Ready
from deft_aoi.loop.score import UNLABELLED, infer
from deft_aoi.spec.tree import Optics

BATCH = 1000  # parts of one inference: a start costs more than these
_FOLDER = "scored"


def score_elsewhere(
    ready: Sequence[Ready], *, model_file: Path, model: Mapping[str, Any], view: Optics
) -> list[float | None]:
    """Score of each part by the hand-off spec; None where its picture could not be written.

    The pictures are copied byte for byte where the spec has their format. Raises InputError where inference fails: what
    was decided before stays.
    """
    with _staging(model_file) as folder:
        pairs = [
            Pair(f"p{number}", UNLABELLED, tuple((light, one.files[light], path) for light, path in one.golden.files))
            for number, one in enumerate(ready)
        ]
        done, _ = convert_pairs(pairs, lambda pair: (folder / "test", folder / "golden"), view.ext)
        if not done:
            return [None] * len(ready)
        rows = rows_frame(
            [
                {"input_path": "test", "golden_path": "golden", "label": UNLABELLED, "object_name": pair.name}
                for pair in done
            ]
        )
        csv = infer(model_file, dict(model), rows, folder, folder)
        scored = read_rows(csv, required=("object_name", SCORE))
        found = dict(zip(scored["object_name"], scores_of(csv, scored[SCORE]), strict=True))
        lost = [pair.name for pair in done if pair.name not in found]
        if lost:
            raise InputError(f"{csv}: {len(lost)} of {len(done)} parts have no score; type the command again")
        return [found.get(pair.name) for pair in pairs]


@contextlib.contextmanager
def _staging(model_file: Path) -> Iterator[Path]:
    """A folder in the run, which every platform sees; removed unless inference failed in it."""
    home = RunPaths(model_file.resolve().parent)
    if not home.state.is_file():
        raise InputError(f"{model_file}: a TAO model runs where its run does; leave it in its folder")
    folder = home.root / _FOLDER / uuid.uuid4().hex[:12]
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)
