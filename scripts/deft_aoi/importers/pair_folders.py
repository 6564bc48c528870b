"""Any folders of inspected and golden images as a workspace, split so that no board is in two splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from deft_aoi.base.csv_text import line_of
from deft_aoi.base.errors import InputError
from deft_aoi.base.names import means_good, names_nothing
from deft_aoi.base.rows import PASS, normalise_label, read_rows
from deft_aoi.data.pairs import (
    SUFFIXES,
    Pair,
    Skipped,
    check_ext,
    depth_of,
    label_from_name,
    list_images,
    match_pairs,
)
from deft_aoi.data.workspace_files import SPLITS, count_labels, new_workspace
from deft_aoi.importers.sets import write_sets
from deft_aoi.importers.split import SHARES, deal, flat_shares

LABEL_COLUMNS = ("image", "label")


@dataclass(frozen=True)
class PairsSummary:
    """What was written: rows by label for each split, boards, the files that took no part.

    `full_scale`: the value that became 255 where pictures had more than 8 bits; 0 where none had.
    """

    workspace: Path
    labels: dict[str, dict[str, int]]
    boards: int
    skipped: tuple[Skipped, ...]
    full_scale: int = 0


@dataclass(frozen=True)
class Notes:
    """What a labels CSV says of an object name: label, golden's object name and board (each may be absent)."""

    label: Mapping[str, str]
    golden: Mapping[str, str]
    board: Mapping[str, str]


def import_pairs(
    ng: Path, ok: Path, workspace: Path, *, passes: Path | None = None, labels: Path | None = None,
    lights: Sequence[str] = ("SolderLight",), ext: str = ".jpg", size: int = 224,
    shares: Sequence[int] = SHARES, seed: int = 0,
) -> PairsSummary:  # fmt: skip
    """Write a workspace from images of inspected parts and of their goldens.

    `ng` holds inspected parts, `ok` the golden of each under the same name; `passes` holds inspected parts that are
    good. A label comes from the name (`PCB+bridge_00000.png`) or from the CSV `labels` (columns image, label, and
    where wanted golden, board); the CSV wins, and may call images of `ng` PASS. Boards (from the CSV, else every
    object for itself) are dealt to train, validation, KPI and pool by `shares`, label by label, in an order that
    depends on board name and `seed` only. Unusable files are skipped and listed.
    Raises InputError where folders, names or labels collide, or a split lacks PASS rows or defects.
    """
    check_ext(ext)
    _check(lights, size, shares, seed)
    notes = read_notes(labels, lights) if labels else Notes({}, {}, {})
    goldens = list_images(ok, "golden folder")
    found, skipped = _match(list_images(ng, "NG folder"), goldens, lights, notes, None)
    if passes is not None:
        good, more = _match(list_images(passes, "PASS folder"), goldens, lights, notes, PASS)
        _check_shared_names(found, good, passes)
        found, skipped = found + good, skipped + more
    unused = sorted(notes.label.keys() - {pair.name for pair in found} - {_object(s.file, lights) for s in skipped})
    if unused:
        raise InputError(f"{labels}: {len(unused)} images are in no folder, the first {unused[0]!r}")
    _check_classes(found, passes)
    unit = {pair.name: notes.board.get(pair.name, pair.name) for pair in found}
    home = deal(found, unit, flat_shares(shares), seed)
    with new_workspace(workspace) as stage:
        done = write_sets(stage, found, home, lights=lights, ext=ext, size=size, boards=notes.board)
    boards = len({unit[pair.name] for pair in done.pairs})
    target = workspace.expanduser().resolve()
    return PairsSummary(target, count_labels(done.tables), boards, (*skipped, *done.unreadable), depth_of(found))


def read_notes(path: Path, lights: Sequence[str]) -> Notes:
    """Read a labels CSV: `image` (file name, with or without light and extension), `label`, and maybe golden, board.

    A word for a good part (`OK`, `Pass`, `良品`) is PASS, as it is in a file's name. Raises InputError with the line
    number for an empty label, one that names nothing, and an image named twice.
    """
    rows = read_rows(path, required=LABEL_COLUMNS)
    labels: dict[str, str] = {}
    goldens: dict[str, str] = {}
    boards: dict[str, str] = {}
    for number, row in enumerate(rows.to_dict("records")):
        line, name = line_of(path, number), _object(row["image"], lights)
        label = PASS if means_good(row["label"]) else normalise_label(row["label"])
        if not name or not label or names_nothing(label):
            found = f"image {row['image']!r}, label {row['label']!r}"
            raise InputError(f"{path}, line {line}: {found}; expected a file name and PASS or a defect's name")
        if labels.get(name, label) != label:
            raise InputError(f"{path}, line {line}: {name} already has the label {labels[name]!r}, here {label!r}")
        labels[name] = label
        if golden := row.get("golden", ""):
            goldens[name] = _object(golden, lights)
        if board := row.get("board", ""):
            boards[name] = board
    return Notes(labels, goldens, boards)


def _match(
    tests: dict[str, Path], goldens: dict[str, Path], lights: Sequence[str], notes: Notes, fixed: str | None
) -> tuple[list[Pair], list[Skipped]]:
    def label_of(name: str) -> str | None:
        return notes.label.get(name) or fixed or label_from_name(name)

    return match_pairs(tests, goldens, lights, label_of, lambda name: notes.golden.get(name, name))


def _object(file: str, lights: Sequence[str]) -> str:
    """Object name of a file name: no folder, no image extension, no light."""
    name = PurePath(file.strip().replace("\\", "/")).name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return next((name[: -len(light) - 1] for light in lights if name.endswith(f"_{light}")), name)


def _check_shared_names(ng: Sequence[Pair], good: Sequence[Pair], folder: Path) -> None:
    both = sorted({pair.name for pair in ng} & {pair.name for pair in good})
    if both:
        raise InputError(f"{folder}: {len(both)} names are also in the NG folder, the first {both[0]!r}; rename them")


def _check_classes(pairs: Sequence[Pair], passes: Path | None) -> None:
    kinds = {pair.label == PASS for pair in pairs}
    if kinds == {True, False}:
        return
    if not kinds:
        raise InputError("no pair is usable; expected the same file names in --ng and --ok, as PCB+bridge_00000.png")
    if kinds == {True}:
        raise InputError("no defects among the pairs; name them as in PCB+bridge_00000.png or pass --labels CSV")
    hint = f"{passes} gave none" if passes else "pass --pass DIR with good inspected images, named as their goldens"
    raise InputError(f"no PASS rows: a model needs good parts too, and KPI measures false calls on them; {hint}")


def _check(lights: Sequence[str], size: int, shares: Sequence[int], seed: int) -> None:
    if not lights or len(set(lights)) != len(lights) or not all(lights):
        raise InputError(f"--light {' '.join(lights)}: expected different names")
    if size < 16:
        raise InputError(f"--size {size}: expected at least 16")
    if len(shares) != len(SPLITS) or min(shares) <= 0:
        raise InputError(f"--shares {','.join(map(str, shares))}: expected four whole numbers from 1, as 10,15,35,40")
    if seed < 0:
        raise InputError(f"--seed {seed}: expected a whole number from 0")
