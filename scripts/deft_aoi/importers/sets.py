"""The shared writer of dealt pairs: images, tables, spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import PASS, pad_columns, write_rows
from deft_aoi.data.pairs import Pair, Skipped, convert_pairs
from deft_aoi.data.workspace_files import SPLITS, baseline_spec, check_tables, rows_frame, write_workspace
from deft_aoi.importers.split import ACCEPTANCE

_BATCH = 16


@dataclass(frozen=True)
class Written:
    """Tables by set, the pairs in them, and pairs whose images could not be read."""

    tables: dict[str, pd.DataFrame]
    pairs: tuple[Pair, ...]
    unreadable: tuple[Skipped, ...]


def write_sets(
    stage: Workspace, pairs: Sequence[Pair], home: Mapping[str, str], *, lights: Sequence[str], ext: str, size: int,
    boards: Mapping[str, str], components: Mapping[str, str] | None = None,
) -> Written:  # fmt: skip
    """Write every pair into the set that `home` names. Raises InputError where a set lacks good parts or defects."""
    folder = dict.fromkeys((*SPLITS, ACCEPTANCE), stage.images / "pairs") | {"pool": stage.pool_dir / "images"}
    done, unreadable = convert_pairs(
        pairs, lambda pair: (folder[home[pair.name]] / "test", folder[home[pair.name]] / "golden"), ext
    )
    names = [*SPLITS, *([ACCEPTANCE] if ACCEPTANCE in home.values() else [])]
    tables = {name: _rows(done, home, name, boards, components or {}) for name in names}
    check_tables(tables)
    batch = min(_BATCH, *map(len, tables.values()))  # TAO and our engines refuse a set smaller than a batch
    write_workspace(stage, tables, baseline_spec(lights=lights, ext=ext, size=size, batch_size=batch))
    if ACCEPTANCE in tables:
        write_rows(stage.acceptance_csv, pad_columns(tables[ACCEPTANCE]))
    return Written(tables, tuple(done), tuple(unreadable))


def _rows(
    pairs: Sequence[Pair], home: Mapping[str, str], split: str, boards: Mapping[str, str], components: Mapping[str, str]
) -> pd.DataFrame:
    folder = "images" if split == "pool" else "pairs"
    return rows_frame(
        [
            {
                "input_path": f"{folder}/test", "golden_path": f"{folder}/golden", "label": pair.label,
                "object_name": pair.name, "project": "pairs", "boardname": boards.get(pair.name, ""),
                "mpass_mfail": "MPASS" if pair.label == PASS else "MFAIL", "is_valid": "1",
                "comp_name": components.get(pair.name, ""),
            }
            for pair in pairs
            if home[pair.name] == split
        ]
    )  # fmt: skip
