"""Scores that somebody else's inference made: matched row by row with the sets that this loop asks about."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from deft_aoi.base.errors import InputError, Refusals
from deft_aoi.base.paths import Workspace
from deft_aoi.base.rows import (
    IDENTITY,
    REQUIRED,
    SCORE,
    normalise_label,
    pad_columns,
    read_pool,
    read_rows,
    scores_of,
    split_image_path,
)  # fmt: skip
from deft_aoi.data.sets import KPI, POOL, VALIDATION
from deft_aoi.mining.select import BY_SCORE
from deft_aoi.record.run import Plan
from deft_aoi.spec.tree import Optics

UNLABELLED = "unlabelled"  # in what is handed out: TAO wants a label in each row
_SHOWN = 3
Key = tuple[str, str, str]


@dataclass(frozen=True)
class ScoreSet:
    """`rows`: the set with paths from the workspace. `written`: its keys as its own CSV writes them."""

    name: str
    csv: Path
    rows: pd.DataFrame
    written: tuple[Key, ...]


def needed_sets(plan: Plan, workspace: Workspace, seen: Optics) -> list[ScoreSet]:
    """The sets whose scores the plan needs of each model: KPI, and what gap analysis and mining look at."""
    found = [_judge(KPI, workspace.kpi_csv, workspace)]
    if plan.rca_source == VALIDATION:
        found.append(_judge(VALIDATION, workspace.validation_csv, workspace))
    if plan.policy in BY_SCORE:
        found.append(pool_set(workspace, seen))
    return found


def all_sets(workspace: Workspace, seen: Optics) -> list[ScoreSet]:
    """Every set that scores may be handed in for."""
    judges = [_judge(KPI, workspace.kpi_csv, workspace), _judge(VALIDATION, workspace.validation_csv, workspace)]
    return [*judges, pool_set(workspace, seen)]


def _judge(name: str, csv: Path, workspace: Workspace) -> ScoreSet:
    rows = pad_columns(read_rows(csv))
    written = tuple(_normal(key) for key in _identity(rows))
    prefix = workspace.images.relative_to(workspace.root).as_posix()
    for column in ("input_path", "golden_path"):
        rows[column] = [posixpath.normpath(f"{prefix}/{value}") for value in rows[column]]
    return ScoreSet(name, csv, rows, written)


def pool_set(workspace: Workspace, seen: Optics) -> ScoreSet:
    rows = read_pool(workspace.pool_csv, workspace.root, seen.lights, seen.ext)
    folder = workspace.pool_dir.relative_to(workspace.root).as_posix()
    written = tuple(
        (posixpath.relpath(first, folder), posixpath.relpath(second, folder), name)
        for first, second, name in _identity(rows)
    )
    return ScoreSet(POOL, workspace.pool_csv, rows, written)


def matched(
    files: Sequence[Path], sets: Sequence[ScoreSet], needed: Sequence[str], seen: Optics, root: Path
) -> pd.DataFrame:
    """One row for each scored part (identity from the workspace, label, score as written).

    A scored row may name its part as the set's own CSV does, from the workspace, or by an absolute path in it. Raises
    Refusals, by line, for rows of no set, rows that fit two, other labels, two scores of one part, no number, and for
    rows of a `needed` set that have no score.
    """
    names = _names(sets)
    labels = {key: label for one in sets for key, label in zip(_identity(one.rows), one.rows["label"], strict=True)}
    taken: dict[Key, str] = {}
    problems: list[str] = []
    for file in files:
        problems += _take(file, names, labels, taken, (seen, root))
    for one in sets:
        absent = [line for line, key in enumerate(_identity(one.rows), start=2) if key not in taken]
        if one.name in needed and absent:
            first = one.rows["object_name"][absent[0] - 2]
            problems.append(
                f"{one.csv}, line {absent[0]}: {first} has no score in {', '.join(map(str, files))} ({len(absent)} of "
                f"{len(one.rows)} rows of the {one.name} set); score them with the same checkpoint"
            )
    if problems:
        raise Refusals(problems)
    rows = [(*key, labels[key], score) for key, score in taken.items()]
    return pd.DataFrame(rows, columns=[*IDENTITY, "label", SCORE])


def rows_by_set(table: pd.DataFrame, sets: Sequence[ScoreSet]) -> dict[str, int]:
    """How many parts of each set have a score in `table`, which :func:`matched` made; sets without any are left out."""
    scored = set(_identity(table))
    counts = {one.name: len(scored & set(_identity(one.rows))) for one in sets}
    return {name: count for name, count in counts.items() if count}


def same_scores(table: pd.DataFrame, known: pd.DataFrame, sets: Sequence[ScoreSet]) -> list[str]:
    """Names of the sets whose every part has the same score in both tables: one model made both."""
    new, old = ({key: float(score) for key, score in zip(_identity(t), t[SCORE], strict=True)} for t in (table, known))
    parts = {one.name: set(_identity(one.rows)) for one in sets}
    return [name for name, keys in parts.items() if keys and all(k in new and new[k] == old.get(k) for k in keys)]


def _take(
    file: Path, names: Mapping[Key, set[Key]], labels: Mapping[Key, str], taken: dict[Key, str],
    where: tuple[Optics, Path],
) -> list[str]:  # fmt: skip
    """Put the scores of one file into `taken`; returns what is wrong with it, the first lines of each kind."""
    try:
        rows = read_rows(file, required=(*REQUIRED, SCORE))
        scores_of(file, rows[SCORE])
    except InputError as error:
        return [str(error)]
    wrong: dict[str, list[str]] = {}
    for line, (key, label, score) in enumerate(zip(_keys(rows, *where), rows["label"], rows[SCORE], strict=True), 2):
        fits = names.get(key, set())
        if not fits:
            wrong.setdefault("part", []).append(f"line {line}: {key[0]}/{key[2]} is in no KPI, validation or pool row")
            continue
        if len(fits) > 1:
            wrong.setdefault("two", []).append(
                f"line {line}: {key[0]}/{key[2]} fits rows of two sets; write paths from the workspace"
            )
            continue
        part = next(iter(fits))
        if labels[part] and label.strip() and normalise_label(label) != labels[part]:
            wrong.setdefault("label", []).append(
                f"line {line}: label {label!r} of {key[2]}, the set says {labels[part]!r}"
            )
        elif float(taken.get(part, score)) != float(score):
            wrong.setdefault("score", []).append(f"line {line}: {key[2]} has the scores {taken[part]} and {score}")
        taken.setdefault(part, score)
    return [f"{file}, {'; '.join(lines[:_SHOWN])} ({len(lines)} such rows)" for lines in wrong.values()]


def _names(sets: Sequence[ScoreSet]) -> dict[Key, set[Key]]:
    """Every way to name a part, with the parts that it may mean."""
    found: dict[Key, set[Key]] = {}
    for one in sets:
        for key, written in zip(_identity(one.rows), one.written, strict=True):
            found.setdefault(key, set()).add(key)
            found.setdefault(written, set()).add(key)
    return found


def _keys(rows: pd.DataFrame, seen: Optics, root: Path) -> Iterator[Key]:
    """Keys of a scored table, file names cut to folders and absolute paths made relative to the workspace."""
    tails = tuple(f"_{light}{seen.ext}" for light in seen.lights)
    for first, second, name in _identity(rows):
        folder, derived = split_image_path(first, tails)
        golden, _ = split_image_path(second, tails)
        inner = [
            str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path for path in (folder, golden)
        ]
        yield _normal((inner[0], inner[1], name or derived))


def _normal(key: Key) -> Key:
    return posixpath.normpath(key[0]), posixpath.normpath(key[1]), key[2]


def _identity(rows: pd.DataFrame) -> list[Key]:
    return list(rows[list(IDENTITY)].itertuples(index=False, name=None))
