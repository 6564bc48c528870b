"""What Pre-Flight looks at, read from disk once: spec, image pins and every CSV, with the hash of what was read.

Checks take their data from here and open none of these files again, so what is hashed is what was checked.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from deft_aoi.base.errors import DeftError, InputError
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import (
    POOL_REQUIRED,
    REQUIRED,
    csv_bytes,
    no_pool,
    pad_columns,
    parse_as_tao,
    pool_rows,
    read_rows,
)
from deft_aoi.base.versions import images
from deft_aoi.data.sets import ACCEPTANCE, KPI, POOL, SETS, SYNTHETIC, TRAINING, VALIDATION, RowSet, pregen_set, set_of
from deft_aoi.spec.tree import Optics, Spec, optics, parse_spec, spec_bytes

OPTIONAL = (POOL, ACCEPTANCE)


@dataclass(frozen=True)
class Table:
    """One CSV as it was read: its bytes and their SHA-256, its rows as they are written or why there are none."""

    name: str  # of the set
    csv: Path
    sha256: str
    content: bytes = field(repr=False)
    read: pd.DataFrame | DeftError = field(repr=False)

    @property
    def rows(self) -> pd.DataFrame:
        """Rows as the file has them, every cell as text. Raises InputError where it cannot be read."""
        if isinstance(self.read, DeftError):
            raise self.read
        return self.read

    def as_tao(self, columns: Sequence[str]) -> pd.DataFrame:
        """The same bytes as TAO's loader would take them."""
        return parse_as_tao(self.csv, self.content, columns)


@dataclass(frozen=True)
class Inputs:
    """Spec, CSVs (by the name of their set; pool and acceptance set only where they are there) and image pins.

    A file that is absent or damaged does not raise before it is asked for, so that one Pre-Flight names every fault.
    """

    workspace: Workspace
    read_spec: tuple[Spec, list[str]] | DeftError
    spec_sha256: str
    tables: Mapping[str, Table]
    images: Mapping[str, str]

    @property
    def spec(self) -> Spec:
        """The spec without keys and values that TAO refuses, so that every other check can be made. Raises InputError
        where there is none."""
        return self._spec[0]

    @property
    def spec_problems(self) -> list[str]:
        """What TAO refuses of the spec, one line each. Raises InputError where there is none."""
        return self._spec[1]

    @property
    def _spec(self) -> tuple[Spec, list[str]]:
        if isinstance(self.read_spec, DeftError):
            raise self.read_spec
        return self.read_spec

    @cached_property
    def optics(self) -> Optics:
        return optics(self.spec, self.workspace.spec)

    @cached_property
    def pool(self) -> pd.DataFrame:
        """Rows of the mining pool as :func:`deft_aoi.base.rows.pool_rows` gives them; none without one."""
        if POOL not in self.tables:
            return no_pool()
        table = self.tables[POOL]
        return pool_rows(table.rows, table.csv, self.workspace.root, self.optics.lights, self.optics.ext)

    def sha256(self, path: Path) -> str:
        """SHA-256 of the spec or of a CSV, as it was read."""
        if path == self.workspace.spec:
            return self.spec_sha256
        return next(table.sha256 for table in self.tables.values() if table.csv == path)

    def row_sets(self) -> list[RowSet]:
        """The sets that are there, in the order of SETS. Raises InputError for one that cannot be read."""
        return [one for name in SETS if (one := self._set(name)) is not None]

    def readable_sets(self) -> list[RowSet]:
        """:meth:`row_sets` without those that cannot be read."""
        found = []
        for name in SETS:
            with contextlib.suppress(DeftError):
                found += [one] if (one := self._set(name)) else []
        return found

    def _set(self, name: str) -> RowSet | None:
        if name == SYNTHETIC:
            return pregen_set(self.workspace, self.optics)
        if name not in self.tables:
            return None
        if name == POOL:
            return set_of(POOL, self.tables[POOL].csv, self.pool, self.workspace.root, self.optics)
        table = self.tables[name]
        return set_of(name, table.csv, pad_columns(table.rows), self.workspace.images, self.optics)


def csv_paths(workspace: Workspace) -> dict[str, Path]:
    """The CSV of each set that a run may read, whether it is there or not."""
    return {
        TRAINING: workspace.training_csv, VALIDATION: workspace.validation_csv, KPI: workspace.kpi_csv,
        POOL: workspace.pool_csv, ACCEPTANCE: workspace.acceptance_csv,
    }  # fmt: skip


def read_inputs(workspace: Workspace) -> Inputs:
    """Open spec and CSVs, each once. Raises InputError only for an image name of the environment that is none."""
    tables = {
        name: read_table(name, path)
        for name, path in csv_paths(workspace).items()
        if name not in OPTIONAL or path.is_file()
    }
    digest = ""
    spec: tuple[Spec, list[str]] | DeftError
    try:
        content = spec_bytes(workspace.spec)
        digest = _sha256(content)
        spec = parse_spec(content, workspace.spec)
    except InputError as error:
        spec = error
    return Inputs(workspace, spec, digest, tables, images())


def read_table(name: str, csv: Path) -> Table:
    """Read one CSV; what is wrong with it is raised when its rows are asked for."""
    required = POOL_REQUIRED if name == POOL else REQUIRED
    content, digest = b"", ""
    read: pd.DataFrame | DeftError
    try:
        if csv.is_file():
            content = csv_bytes(csv)
            digest = _sha256(content)
        read = read_rows(csv, required=required, content=content if digest else None)
    except InputError as error:
        read = error
    return Table(name, csv, digest, content, read)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
