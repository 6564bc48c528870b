"""`realism_screen`: which synthetic pairs look pasted rather than seen by the camera.

A forest learns, from real parts and from deliberately crude pastes onto them, how a change that a camera saw differs
from a patch with a hard edge, a foreign grain or a foreign colour. A pair is flagged where it looks less real than
nearly all real defects do (each judged by trees that never saw its board), where nothing visible changed, or where it
is three times as far from every real part, in the trunk's space, as any real part is from those of other boards. A
flag is a question to a person.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from deft_aoi.base.console import guarded
from deft_aoi.base.errors import InputError
from deft_aoi.base.files import atomic_write_json
from deft_aoi.base.rows import PASS, read_rows, write_rows
from deft_aoi.base.threads import one_thread
from deft_aoi.engine.embedding import embed
from deft_aoi.engine.features.table import in_parallel
from deft_aoi.engine.images import Pair, decode, make_pair
from deft_aoi.synthetic.realism_crude import COLOUR, HARD, KINDS, NOISE, paste
from deft_aoi.synthetic.realism_looks import Edge, Mask, Memory, changed, edge, looks

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

RESULT, LIMITS = "realism.csv", "limits.json"
FAR, SEAM, GRAIN, NOTHING = "far from every real part", "hard seam", "grain differs", "no visible change"
TINT = "colour differs"
REASONS = {HARD: SEAM, NOISE: GRAIN, COLOUR: TINT}
FEWEST = 12  # real defects, below which nothing is known of how they look
# Of real defects that may lie over the limit where trees judge them that saw fewer boards than the final ones; of
# unseen ones fewer than one in twenty do then (benchmarks/realism.py).
STRANGEST = 0.08
_FEW = 4.0  # real defects: with so many the limit is as high as can be, with five times as many what they show
_FARTHER = 3.0  # times as far as any real part is from those of other boards: another picture, no defect
_FARTHEST = 0.45  # cosine distance in the trunk's space that a new board's own parts may have
_PASTES = 60  # of each kind that the forest learns from
_TREES, _LEAF = 150, 3
_SEED, _REAL, _FOLDS = 7, "real", 5
_LARGEST = 160  # pixels of a picture's longer side as it is looked at

Files = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Part:
    """One part: its pictures and their goldens, the patch that differs, and the number of its board (its folder), -1
    for none of the real ones'."""

    name: str
    pairs: Sequence[Pair]
    mask: Mask | None
    board: int = -1


@dataclass(frozen=True)
class Judge:
    """What was learned: the forest, the squares of real parts, and the score above which a pair is flagged."""

    forest: RandomForestClassifier
    memory: Memory
    limit: float

    def scores(self, parts: Sequence[Part]) -> list[tuple[float, str] | None]:
        """(how little it looks real, the kind of paste that it looks most like) of each part; None without a change."""
        told = [part for part in parts if part.mask is not None]
        if not told:
            return [None for _ in parts]
        table = np.array([_looks(part, self.memory) for part in told])
        shares = self.forest.predict_proba(table)
        found = iter(_judged(shares, list(self.forest.classes_)))
        return [None if part.mask is None else next(found) for part in parts]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="realism_screen", description=__doc__)
    columns = "CSV with name, label, light, test, golden: one row a picture"
    parser.add_argument("--pairs", type=Path, required=True, help=f"synthetic pairs: {columns}")
    parser.add_argument("--real", type=Path, required=True, help="the same of real parts, good and defective")
    parser.add_argument("--output", type=Path, required=True, help="folder for realism.csv and limits.json")
    args = parser.parse_args(argv)
    table, limits = screen(_read(args.pairs), _read(args.real))
    write_rows(args.output / RESULT, table)
    atomic_write_json(args.output / LIMITS, limits)
    print(f"{int((table['flags'] != '').sum())} of {len(table)} pairs flagged")
    return 0


def _read(csv: Path) -> pd.DataFrame:
    return read_rows(csv, required=("name", "label", "light", "test", "golden"))


@one_thread()
def screen(pairs: pd.DataFrame, real: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float | int | None]]:
    """One row for each pair (name, label, score, distance, seam, grain, flags) and the limits that real parts gave."""
    near, own = _distances(pairs, real)
    known = read_parts(real)
    defects = set(real.loc[real["label"] != PASS, "name"].astype(str))
    judge = learn(known, defects)
    limits: dict[str, float | int | None] = {
        "real_parts": len(known),
        "real_defects": len(defects),
        "distance": max(_FARTHEST, _FARTHER * max(own.values())) if len(own) >= FEWEST else None,
        "score": judge.limit if judge else None,
    }
    labels = pairs.drop_duplicates("name").set_index("name")["label"]

    def work(chunk: Sequence[tuple[str, Files]]) -> list[dict[str, str]]:
        parts = [_part(name, files) for name, files in chunk]
        scores = judge.scores(parts) if judge else [None for _ in parts]
        return [_row(part, score, near.get(part.name), limits) for part, score in zip(parts, scores)]

    rows = [row for part in in_parallel(work, _groups(pairs), "pairs") for row in part]
    table = pd.DataFrame(rows, dtype=str)
    table.insert(1, "label", [str(labels[name]) for name in table["name"]])
    return table, limits


def _row(
    part: Part, score: tuple[float, str] | None, distance: float | None, limits: Mapping[str, float | int | None]
) -> dict[str, str]:
    found = edge(part.pairs, part.mask) if part.mask is not None else None
    return {
        "name": part.name, "score": _text(score[0] if score else None), "distance": _text(distance),
        "seam": _text(found.seam if found else None), "grain": _text(found.grain if found else None),
        "flags": "; ".join(_flags(found, score, distance, limits)),
    }  # fmt: skip


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _flags(
    found: Edge | None, score: tuple[float, str] | None, distance: float | None, limits: Mapping[str, float | None]
) -> list[str]:
    if found is None:
        return [NOTHING]
    far, limit = limits["distance"], limits["score"]
    flags = [FAR] if distance is not None and far is not None and distance > far else []
    return flags + ([REASONS[score[1]]] if score is not None and limit is not None and score[0] > limit else [])


def learn(known: Sequence[Part], defects: set[str]) -> Judge | None:
    """The judge of these real parts, of which `defects` are the names of the defective ones; None for too few.

    Its limit is the score that at most `STRANGEST` of real defects exceed, and higher the fewer they are: the kinds
    and lots that they do not show look stranger than they do.
    """
    real = [part for part in known if part.name in defects and part.mask is not None]
    good = [part for part in known if part.name not in defects]
    if len(real) < FEWEST or len(good) < 2:
        return None
    rng = np.random.default_rng(_SEED)
    memory = Memory([(p.board, p.pairs, p.mask if p.name in defects else None) for p in known], rng)
    seen = [*real, *(part for part in good if part.mask is not None)]
    kinds = [_REAL] * len(seen)
    for kind in KINDS:
        made = [part for part in pastes(kind, good, _PASTES, rng) if part.mask is not None]
        seen += made
        kinds += [kind] * len(made)
    table, answers = np.array([_looks(part, memory) for part in seen]), np.array(kinds)
    scores = _unseen_scores(table, answers, np.array([part.board for part in seen]))[: len(real)]
    place = min(math.ceil((len(scores) + 1) * (1 - STRANGEST)), len(scores))
    limit = float(np.sort(scores)[place - 1])
    forest = _forest().fit(table, answers)
    return Judge(forest, memory, limit + (1 - limit) * min(1.0, (_FEW / len(scores)) ** 2))


def _forest() -> RandomForestClassifier:
    from sklearn.ensemble import RandomForestClassifier  # takes seconds to import

    return RandomForestClassifier(_TREES, min_samples_leaf=_LEAF, class_weight="balanced", random_state=_SEED, n_jobs=1)


def _unseen_scores(
    table: npt.NDArray[np.float64], answers: npt.NDArray[np.str_], boards: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Score of every part by a forest that saw none of its board: what a new board will get."""
    order = {board: place for place, board in enumerate(np.unique(boards))}
    folds = np.array([order[board] for board in boards]) % min(_FOLDS, len(order))
    if len(order) < 2:
        folds = np.arange(len(boards)) % _FOLDS
    scores = np.zeros(len(table))
    for fold in np.unique(folds):
        held = folds == fold
        forest = _forest().fit(table[~held], answers[~held])
        scores[held] = [score for score, _ in _judged(forest.predict_proba(table[held]), list(forest.classes_))]
    return scores


def pastes(kind: str, good: Sequence[Part], count: int, rng: np.random.Generator) -> list[Part]:
    """Crude pastes onto good parts, each of another part."""
    made: list[Part] = []
    for _ in range(count):
        base, other = (good[int(rng.integers(len(good)))] for _ in range(2))
        tests = paste(kind, [pair.test for pair in base.pairs], [pair.test for pair in other.pairs], rng)
        pairs = [Pair(t, p.golden, p.rows, p.columns, p.shift) for t, p in zip(tests, base.pairs)]
        made.append(Part(f"{kind}_{len(made):05d}", pairs, changed(pairs), base.board))
    return made


def _looks(part: Part, memory: Memory) -> list[float]:
    assert part.mask is not None
    return looks(part.pairs, part.mask, memory, part.board, np.random.default_rng(_SEED))


def _judged(shares: npt.NDArray[np.float64], classes: Sequence[str]) -> list[tuple[float, str]]:
    found = []
    for row in shares:
        by_kind = dict(zip(classes, np.nan_to_num(row)))
        found.append((1.0 - by_kind[_REAL], max(KINDS, key=lambda kind: by_kind.get(kind, 0.0))))
    return found


def _distances(pairs: pd.DataFrame, real: pd.DataFrame) -> tuple[dict[str, float], dict[str, float]]:
    """Cosine distance to the nearest real part under the light where it is largest: of pairs; of real parts, to the
    nearest of another board, where there is one."""
    boards = _boards(real)
    near: dict[str, float] = {}
    own: dict[str, float] = {}
    for light, group in pairs.groupby("light", sort=True):
        beside = real[real["light"] == light]
        vectors, known = _vectors(group), _vectors(beside)
        if not len(known) or not len(vectors):
            continue
        for names, table, skip, into in ((group["name"], vectors, False, near), (beside["name"], known, True, own)):
            similarity = table @ known.T
            if skip:
                number = np.array([boards[str(name)] for name in names])
                same = number[:, None] == number if len(set(number)) > 1 else np.eye(len(number), dtype=bool)
                similarity[same] = -1.0
            for name, value in zip(names, 1.0 - similarity.max(axis=1)):
                into[str(name)] = max(into.get(str(name), 0.0), float(value))
    return near, own


def _vectors(rows: pd.DataFrame) -> npt.NDArray[np.float32]:
    vectors = embed([str(path) for path in rows["test"]])
    lost = [path for path, vector in zip(rows["test"], vectors) if vector is None]
    if lost:
        raise InputError(f"{lost[0]}: no readable picture ({len(lost)} such)")
    table = np.stack([vector for vector in vectors if vector is not None]) if vectors else np.zeros((0, 1), np.float32)
    return np.asarray(table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9), np.float32)


def read_parts(rows: pd.DataFrame) -> list[Part]:
    """One part for each name, in order and numbered. Raises InputError where a picture cannot be read."""
    boards = _boards(rows)
    numbered = [(name, files, boards[name]) for name, files in _groups(rows)]
    work = lambda chunk: [_part(*one) for one in chunk]  # noqa: E731
    return [part for found in in_parallel(work, numbered, "real parts") for part in found]


def _boards(rows: pd.DataFrame) -> dict[str, int]:
    """Number of the folder of every part's picture: parts of one board lie together."""
    first = rows.drop_duplicates("name")
    numbers, _ = pd.factorize(first["test"].map(lambda path: str(Path(path).parent)))
    return {str(name): int(number) for name, number in zip(first["name"], numbers)}


def _groups(rows: pd.DataFrame) -> list[tuple[str, Files]]:
    """(name, (test, golden) of each light) of every part."""
    grouped = rows.groupby("name", sort=False)
    return [(str(name), list(zip(part["test"], part["golden"]))) for name, part in grouped]


def _part(name: str, files: Files, board: int = -1) -> Part:
    pairs = [_pair(test, golden) for test, golden in files]
    return Part(name, pairs, changed(pairs), board)


def _pair(test: str, golden: str) -> Pair:
    """In colour, and not larger than `_LARGEST`: hundreds of them are in memory at a time."""
    pictures = []
    for name in (test, golden):
        picture = decode(Path(name).read_bytes())
        if picture is None:
            raise InputError(f"{name}: no readable picture")
        pictures.append(picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2))
    height, width = pictures[0].shape[:2]
    share = min(1.0, _LARGEST / max(height, width))
    return make_pair(pictures[0], pictures[1], max(1, round(share * width)), max(1, round(share * height)))


if __name__ == "__main__":
    sys.exit(guarded("realism_screen", main))
