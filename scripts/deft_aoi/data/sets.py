"""Every set of rows that a workspace has, with the files of each row: what an audit looks at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from deft_aoi.base.csv_text import line_of
from deft_aoi.base.files import sha256_file
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import PASS, image_paths, normalise_label, pad_columns
from deft_aoi.data.fingerprints import fingerprints
from deft_aoi.data.pairs import label_from_name, list_images, match_pairs
from deft_aoi.spec.tree import Optics

TRAINING, VALIDATION, KPI, ACCEPTANCE, POOL, SYNTHETIC = SETS = (
    "training", "validation", "kpi", "acceptance", "pool", "synthetic",
)  # fmt: skip
JUDGES = (VALIDATION, KPI, ACCEPTANCE)  # sets that must share nothing with any other


@dataclass(frozen=True)
class RowSet:
    """Rows of one set. `files[n]` and `goldens[n]` hold one path a row for light n of `lights`; `root` is what the
    rows' paths start from."""

    name: str
    csv: Path
    rows: pd.DataFrame
    root: Path
    lights: tuple[str, ...]
    files: tuple[list[str], ...]
    goldens: tuple[list[str], ...]

    @property
    def labels(self) -> list[str]:
        return [normalise_label(label) for label in self.rows["label"]]

    def label(self, row: int) -> str:
        return normalise_label(str(self.rows["label"].iloc[row]))

    @property
    def boards(self) -> list[str]:
        return list(self.rows["boardname"])

    def line(self, row: int) -> int:
        """Line of the CSV as an editor counts it; the number of the pair for synthetic pairs."""
        return line_of(self.csv, row) if self.name != SYNTHETIC else row + 1

    def title(self, row: int) -> str:
        """`<input_path>/<object_name>`, as the CSV spells it."""
        return f"{self.rows['input_path'].iloc[row]}/{self.rows['object_name'].iloc[row]}"


def set_of(name: str, csv: Path, rows: pd.DataFrame, root: Path, optics: Optics) -> RowSet:
    """The rows of a CSV as a set, with the files that they name below `root`."""
    files, goldens = (
        tuple(image_paths(rows, column, root, light, optics.ext) for light in optics.lights)
        for column in ("input_path", "golden_path")
    )
    return RowSet(name, csv, rows, root, optics.lights, files, goldens)


def pregen_set(workspace: Workspace, optics: Optics) -> RowSet | None:
    """Pre-generated NG/OK pairs as they are in the workspace; None without a usable one."""
    if not (workspace.pregen_ng.is_dir() and workspace.pregen_ok.is_dir()):
        return None
    tests = list_images(workspace.pregen_ng, "pre-generated NG", workspace.root)
    goldens = list_images(workspace.pregen_ok, "pre-generated OK", workspace.root)
    pairs = [p for p in match_pairs(tests, goldens, optics.lights, label_from_name)[0] if p.label != PASS]
    if not pairs:
        return None
    rows = pd.DataFrame({"object_name": [pair.name for pair in pairs], "label": [pair.label for pair in pairs]})
    homes = [path.relative_to(workspace.root).as_posix() for path in (workspace.pregen_ng, workspace.pregen_ok)]
    rows = pad_columns(rows.assign(input_path=homes[0], golden_path=homes[1]))
    by_light = list(zip(*(pair.files for pair in pairs), strict=True))
    files, others = (tuple([str(entry[n]) for entry in light] for light in by_light) for n in (1, 2))
    return RowSet(SYNTHETIC, workspace.pregen_ng, rows, workspace.root, optics.lights, files, others)


def image_digest(one: RowSet, root: Path, *, known: bool) -> str:
    """One hash of all test and golden images of a set, by their paths below `root`. `known`: a file whose size and time
    of change are as before is not read again; else every byte is."""
    names = sorted({name for light in (*one.files, *one.goldens) for name in light})
    keys = [key.hex() for key in fingerprints(names).keys()] if known else [_sha(Path(name)) for name in names]  # noqa: SIM118
    lines = [f"{key}  {Path(name).relative_to(root).as_posix()}" for key, name in zip(keys, names, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _sha(path: Path) -> str:
    return sha256_file(path) if path.is_file() else ""
